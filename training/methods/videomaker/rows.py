"""Clips of the demo world, each with a photograph of its toy from another scene, as latents."""

from dataclasses import dataclass, fields
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ....backbones.wan.vae import WanVAE
from ....demo import captions, world
from ...engine.cache import PART, cached_rows
from ...masks.references import GROUND
from ..saber.rows import Tokenize, cell_coverage, encode_clips


@dataclass(frozen=True)
class Photographed:
    """N clips of one toy each: latent (N, 16, F, h, w); coverage (N, F, h, w) of its cells by the toy; tokens (N, 2, S) of the captions, with "toy"
    and with its name; reference (N, 16, h, w), the photograph, grey outside the toy; keep (N, tokens) bool, the tokens that hold some of it."""

    latent: Tensor
    coverage: Tensor
    tokens: Tensor
    reference: Tensor
    keep: Tensor

    def __getitem__(self, index: Tensor) -> "Photographed":
        return Photographed(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def to(self, device: torch.device) -> "Photographed":
        return Photographed(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True)
class Clips:
    """Which clips: how many, their pictures as `world.moments` takes them, their side in pixels."""

    count: int
    frames: int = 9
    stride: int = 12
    size: int = world.SIZE


def cached_photographed(
    vae: WanVAE, tokenize: Tokenize, clips: Clips, seed: int, folder: Path
) -> Photographed:
    """The clips, read where the same were made before, else rendered and encoded."""
    weights = b"".join(value.cpu().numpy().tobytes() for value in vae.state_dict().values())
    made_by = f"{sha256(weights).hexdigest()} {(clips.frames, clips.stride, clips.size, seed)}"
    make = partial(_part, vae, tokenize, clips, seed)
    return cached_rows(Photographed, folder, "photographed", clips.count, made_by, make)


@torch.no_grad()
def _part(vae: WanVAE, tokenize: Tokenize, clips: Clips, seed: int, index: int) -> Photographed:
    generator = Generator().manual_seed(seed + 300_000 + index)
    cast = world.sample_cast(PART, generator)
    ((toys, scenes),) = cast
    video, alpha = world.render_cast(cast, world.moments(clips.frames, clips.stride), clips.size)
    pictures, masks = photographs(toys, scenes, clips.size, generator)
    named = torch.ones(PART, dtype=torch.bool)
    said = [*captions.captions(cast), *captions.captions(cast, named)]
    return Photographed(
        latent=encode_clips(vae, video),
        coverage=cell_coverage(alpha, vae.geometry).half(),
        tokens=tokenize([*said, captions.LONGEST])[:-1].unflatten(0, (2, PART)).movedim(0, 1).contiguous(),
        reference=encode_clips(vae, pictures.unsqueeze(2))[:, :, 0].contiguous(),
        keep=F.max_pool2d(masks, vae.geometry.token).flatten(1).gt(0.5),
    )


def photographs(
    toys: world.Identities, scenes: world.Scenes, size: int, generator: Generator
) -> tuple[Tensor, Tensor]:
    """The same toys elsewhere, cut out: pictures (N, 3, H, W) in [-1, 1], grey outside, and masks (N, 1, H, W) of 0 and 1."""
    film, alpha = world.render(toys, world.other_scenes(scenes, generator), 1, size)
    mask = alpha[:, :, 0].gt(0.5).float()
    return torch.where(mask > 0.5, film[:, :, 0], GROUND), mask
