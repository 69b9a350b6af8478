"""Question: what does reading an identity cost, against mean pooling of the same features, and against the
VAE before it?

A clip of 33 pictures of 256 x 256: 9 latent frames of 256 tokens. The encoder has the size for Wan 2.1 1.3B
and random weights. Peak memory is what a call adds to the process (Linux) or to the GPU.
"""

import gc
from collections.abc import Callable
from pathlib import Path

import torch
from results import paired_ratio, record
from rows import Ratio

from refvid.backbones.wan.geometry import WAN_2_1
from refvid.backbones.wan.slots import slots_1_3b
from refvid.backbones.wan.vae import WanVAE
from refvid.core.slots import SlotEncoder
from refvid.evidence.ablations.slot_baselines import MeanEncoder

CASE = "33 frames of 256 x 256, width 768"
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
PUBLISHED = 96  # base width of Wan's VAE


def peak(call: Callable[[], object]) -> float:
    """MiB that a call needs at its height, beyond what was there before it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        call()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    RESET.write_text("5")  # the highest resident size is counted anew
    before = _kibibytes("VmRSS")
    call()
    return (_kibibytes("VmHWM") - before) / 2**10


def _kibibytes(name: str) -> int:
    (line,) = (line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    clip, cover = torch.randn(1, 16, 9, 32, 32, device=device), torch.ones(1, 9, 16, 16, device=device)
    given = (clip, cover, clip[:, :, :1], cover[:, :1])
    slots, mean = (kind(slots_1_3b(), WAN_2_1.patch).to(device).eval() for kind in (SlotEncoder, MeanEncoder))
    record(
        "slots", f"{CASE}: slots / mean pooling", paired_ratio(lambda: slots(*given), lambda: mean(*given))
    )
    record(
        "slots",
        f"{CASE}: slots / mean pooling, peak memory",
        Ratio(peak(lambda: slots(*given)) / peak(lambda: mean(*given))),
    )
    vae, video = WanVAE(PUBLISHED).to(device).eval(), torch.randn(1, 3, 33, 256, 256, device=device)
    vae_ratio = paired_ratio(lambda: vae.encode(video), lambda: slots(*given), runs=1, warm=0)
    record("slots", f"{CASE}: Wan's VAE on the clip / slots", vae_ratio)


if __name__ == "__main__":
    main()
