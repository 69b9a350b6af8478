"""Device and types of the tests marked `gpu`: a CUDA device; with REFVID_DRY=1 on the CPU, the
kernels in Triton's interpreter, at sizes that it can afford. To be imported before Triton is:
tests/conftest.py sees to it."""

import importlib.util
import os

import torch

DRY = os.environ.get("REFVID_DRY") == "1"
if DRY:  # Triton reads it where a kernel is defined
    os.environ["TRITON_INTERPRET"] = "1"
# What cuBLAS wants of those who ask torch for deterministic algorithms; read when it starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
DEVICE = torch.device("cpu" if DRY else "cuda")
TYPES = (
    (torch.float32,) if DRY else (torch.float32, torch.bfloat16, torch.float16)
)  # whole models run in them
COMPILER = "aot_eager" if DRY else "inductor"


def missing() -> str | None:
    """Why the tests marked `gpu` cannot run here and what to do about it, or None."""
    if importlib.util.find_spec("triton") is None:
        return "tests marked gpu need Triton: pip install triton==3.7.1 (Linux)"
    if DRY:
        return None
    if not torch.cuda.is_available():
        return (
            "tests marked gpu need a CUDA device, and torch sees none here; REFVID_DRY=1 runs them small on the "
            "CPU, in Triton's interpreter"
        )
    if os.environ.get("TRITON_INTERPRET") == "1":
        return "TRITON_INTERPRET=1 would keep the kernels off this GPU; unset it, or set REFVID_DRY=1"
    return None
