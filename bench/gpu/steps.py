"""A step of a whole Wan DiT with random weights, with this pack's kernel and with torch's attention."""

from dataclasses import asdict

import torch
from torch import Tensor

from refvid.backbones.base import Tail, attend_all
from refvid.backbones.wan.dit import DiTConfig, WanDiT
from refvid.kernels.grouped import Attend, in_groups
from refvid.kernels.segment_attention import attention_over

from .device import Device
from .scenes import KINDS, Scene, groups_of

TEXT = 512  # tokens, as Wan pads every prompt
# How far two ways may be apart after all layers, relative to the result.
# Each call was held against float64 before.
APART = 0.1
# What torch's attention is called in a kind of scene, without the kernel.
STEPS = {"a strength each": "one bias per key", "a region each": "groups", "nothing masked": "removal"}


@torch.no_grad()
def compare_steps(
    device: Device, config: DiTConfig, grid: tuple[int, int, int], count: int, kind: str
) -> dict:
    """Times of a step by torch's attention and by ours, and their peak memory in MiB beside the weights."""
    device.settle()
    dit = random_dit(device, config).eval()
    scene = KINDS[kind](device, grid, count)
    frames, rows, columns = grid
    latent = device.normal(1, config.in_channels, frames, 2 * rows, 2 * columns)
    text = device.normal(1, TEXT, config.text_width)
    extra = scene.length - scene.video
    tokens = device.normal(1, extra, config.width)
    angles = device.normal(1, extra, dit.head_size // 2, dtype=torch.float32)
    bias = None if scene.bias is None else scene.bias[:, scene.video :]
    clock = torch.tensor([500.0], device=device.at)

    def step(attend: Attend) -> Tensor:
        return dit(latent, clock, text, tail=Tail(tokens, angles, bias, attend))

    ways = (torchs(scene), attention_over(scene.segments))
    other, mine = (step(way) for way in ways)
    apart = ((other.float() - mine.float()).norm() / other.float().norm()).item()
    found: dict = {"error": apart}
    if not apart <= APART:
        return {**found, "failed": f"ours is {apart:.1e} away from torch's: no speed is measured on that"}
    calls = [lambda way=way: step(way) for way in ways]
    found["peak"] = [device.peak(call) for call in calls]
    found["ratio"] = asdict(device.pair(*calls, least=3))
    return found


def torchs(scene: Scene) -> Attend:
    """Attention of the pack without its kernel: one call where a bias says everything, else groups."""
    seen = scene.segments
    whole = bool((seen.sees == 1).all() and (seen.of == 0).all())
    return attend_all if whole else in_groups(attend_all, groups_of(seen))


def random_dit(device: Device, config: DiTConfig) -> WanDiT:
    """Made on the device in bf16: 28 GB at 14B."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    torch.manual_seed(0)
    try:
        with device.at:
            return WanDiT(config)
    finally:
        torch.set_default_dtype(usual)
