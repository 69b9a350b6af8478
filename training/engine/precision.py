"""Type in which training computes: bf16 beside weights of fp32, where the device has products of it."""

import torch


def computing_type(device: str | torch.device) -> torch.dtype:
    """Type of products: bf16, but fp32 on a CPU that emulates bf16, which takes twenty times as long
    [choice: training-precision]."""
    if torch.device(device).type == "cpu" and torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"):
        return torch.float32
    return torch.bfloat16


def mixed(device: str | torch.device) -> torch.autocast:
    """Autocast to `computing_type` on a device; nothing where that is fp32."""
    kind, dtype = torch.device(device).type, computing_type(device)
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
