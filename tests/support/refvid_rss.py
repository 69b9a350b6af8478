"""Training step of a LoRA in a process of its own, which tells how much memory it took at most."""

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.files import DiTConfig
from refvid.backbones.wan.loading import load_dit, on_meta

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import sys
sys.path[:0] = [{support!r}]
from pathlib import Path
from refvid_folder import import_folder
import_folder("refvid", Path({root!r}))
import refvid_rss
refvid_rss.main({asked!r})
"""


def write_random_dit(path: Path, config: DiTConfig, dtype: torch.dtype = torch.bfloat16) -> None:
    """A DiT of random weights in original key names."""
    generator, state = torch.Generator().manual_seed(0), {}
    for name, wanted in on_meta(WanDiT, config).state_dict().items():
        one = "norm" in name and name.endswith("weight")
        noise = torch.empty(wanted.shape, dtype=dtype).normal_(generator=generator)
        state[name] = noise.mul_(0.02).add_(1.0 if one else 0.0)
    save_file(state, path, {"format": "pt"})


def measured(**asked) -> dict[str, float]:
    """Seconds, and peaks of resident bytes before the step and after, of `main` in a new process."""
    code = CODE.format(support=str(ROOT / "tests" / "support"), root=str(ROOT), asked=json.dumps(asked))
    # Large blocks go back to the system at once, as on a GPU nothing else takes their place.
    env = {
        **os.environ,
        "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
        "MALLOC_TRIM_THRESHOLD_": "0",
        "MALLOC_ARENA_MAX": "1",
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def main(text: str) -> None:
    """Load a file in bf16, or make a DiT of some sizes, and take `batches` of one step on a latent."""
    from refvid_alive import differentiate

    from refvid.training.engine.checkpointing import checkpoint_blocks
    from refvid.training.engine.lora import add_lora

    asked, began = json.loads(text), time.monotonic()
    if "path" in asked:
        dit = load_dit(asked["path"], torch.bfloat16)[0]
    else:
        torch.set_default_dtype(torch.bfloat16)
        dit = WanDiT(DiTConfig(**asked["config"]))
        torch.set_default_dtype(torch.float32)
    layers = add_lora(dit, asked["rank"], ("self_attn", "cross_attn"))
    if asked["checkpointing"] == "blocks":
        checkpoint_blocks(dit)
    optimiser = torch.optim.AdamW(layers.parameters(), fused=True)
    differentiate(dit, (1, 2, 2))  # gradients are there, and the libraries loaded
    before = peak()
    for _ in range(asked["batches"]):
        differentiate(dit, tuple(asked["latent"]))
    after = peak()
    optimiser.step()
    found = {"before": before, "after": after, "whole": peak(), "seconds": time.monotonic() - began}
    found["weights"] = sum(one.numel() * one.element_size() for one in dit.parameters())
    print(json.dumps(found | {"finite": all(bool(one.isfinite().all()) for one in layers.parameters())}))


def peak() -> int:
    """Most bytes of this process that were in memory at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def sizes(config: DiTConfig) -> dict[str, int | None]:
    """A DiT's sizes as `measured` takes them."""
    return asdict(config)
