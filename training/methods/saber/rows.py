"""Clips of the demo world and their masked references as latents, made once and kept in files."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ....backbones.wan.vae import WanVAE
from ....core.geometry import Geometry
from ....demo import captions, world
from ...engine.cache import PART, cached_rows
from ...masks.references import MaskedFrames, masked_frames

WHOLE = 9  # pictures of the whole scene that references are cut from

Tokenize = Callable[[list[str]], Tensor]


@dataclass(frozen=True)
class Kind:
    """Clips of one length.

    stride   pictures of the scene between two pictures of the clip; where they do not fill the scene, the clip starts
             at any multiple of it
    batch    clips in a step; a step holds one kind
    easy     to begin with: one steady toy each, every other reference left in place, where it can be copied; else every
             fourth part shows pairs and a quarter of the toys moves in itself
    patterns chances of the frames that are given, instead of the stage's (`batches.PATTERNS`)
    """

    name: str
    frames: int
    stride: int
    clips: int
    batch: int
    easy: bool = False
    patterns: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Latents:
    """N clips: latent (N, 16, F, h, w); last (N, 16, h, w), a latent frame that holds one picture still, the last of the latent
    frame before: a clip that ends in a given picture arrives there, and then rests; R references each (N, R, 16, h, w); keep (N, R, tokens) bool, the tokens
    their masks keep; coverage (N, F, h, w), the share of each latent cell that toys cover; tokens (N, 2, S) of the
    captions: with "toy", and with the toys' names."""

    latent: Tensor
    last: Tensor
    reference: Tensor
    keep: Tensor
    coverage: Tensor
    tokens: Tensor

    def to(self, device: torch.device) -> "Latents":
        return Latents(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True)
class Encoder:
    """What turns scenes into latents: the VAE, the words, and how references are cut."""

    vae: WanVAE
    tokenize: Tokenize
    how: MaskedFrames
    references: int
    size: int
    seed: int


def cached_latents(encoder: Encoder, kind: Kind, folder: Path) -> Latents:
    """`kind.clips` clips, read where this encoder made them before, else rendered and encoded."""
    made_by = _fingerprint(encoder, kind)
    return cached_rows(Latents, folder, kind.name, kind.clips, made_by, partial(_encode_part, encoder, kind))


def _fingerprint(encoder: Encoder, kind: Kind) -> str:
    weights = b"".join(value.cpu().numpy().tobytes() for value in encoder.vae.state_dict().values())
    numbers = (
        kind.frames,
        kind.stride,
        kind.easy,
        encoder.references,
        encoder.size,
        encoder.seed,
        encoder.how,
    )
    return f"{sha256(weights).hexdigest()} {numbers}"


@torch.no_grad()
def _encode_part(encoder: Encoder, kind: Kind, index: int) -> Latents:
    generator = Generator().manual_seed(encoder.seed + 10_000 * kind.frames + index)
    cast = _cast(kind, index, generator)
    starts = (world.LENGTH - 1) // kind.stride - (kind.frames - 1) + 1
    start = kind.stride * torch.randint(0, starts, (PART,), generator=generator)
    video, alpha = world.render_cast(cast, world.moments(kind.frames, kind.stride, start), encoder.size)
    frames = _references(encoder, cast, kind, generator)
    pictures, masks = (torch.stack(part, 1) for part in zip(*frames, strict=True))
    geometry = encoder.vae.geometry
    kept = F.max_pool2d(masks.flatten(0, 1), geometry.token).flatten(1).gt(0.5)
    still = video[:, :, [max(0, kind.frames - 1 - geometry.group)]].expand(
        -1, -1, geometry.pictures(2), -1, -1
    )
    return Latents(
        latent=encode_clips(encoder.vae, video),
        last=encode_clips(encoder.vae, still)[:, :, 1],
        reference=encode_clips(encoder.vae, pictures.flatten(0, 1).unsqueeze(2))[:, :, 0].unflatten(
            0, masks.shape[:2]
        ),
        keep=kept.unflatten(0, masks.shape[:2]),
        coverage=cell_coverage(alpha.sum(1, keepdim=True), geometry).half(),
        tokens=_tokens(encoder, cast, kind, generator),
    )


def _cast(kind: Kind, index: int, generator: Generator) -> world.Cast:
    if kind.easy:
        return world.sample_cast(PART, generator, dynamic_share=0.0)
    return world.sample_cast(PART, generator, duet=index % 4 == 3)


def _references(
    encoder: Encoder, cast: world.Cast, kind: Kind, generator: Generator
) -> list[tuple[Tensor, Tensor]]:
    """Masked frames of the whole scene, of each of its toys in turn: pictures (N, 3, H, W), masks (N, 1, H, W)."""
    scene, layers = world.render_cast(cast, WHOLE, encoder.size)
    in_place = replace(encoder.how, augmentation=None)
    return [
        masked_frames(
            scene,
            layers[:, turn % len(cast)].unsqueeze(1),
            generator,
            in_place if kind.easy and turn % 2 == 0 else encoder.how,
        )
        for turn in range(encoder.references)
    ]


def _tokens(encoder: Encoder, cast: world.Cast, kind: Kind, generator: Generator) -> Tensor:
    """(N, 2, S), anonymous and named; half of the clips say their stride. A picture has none."""
    told = (torch.rand(PART, generator=generator) < 0.5) & (kind.frames > 1)
    every = torch.ones(PART, dtype=torch.bool)
    # One length for all parts: they are joined.
    columns = []
    for named in (None, every):
        plain, tagged = (captions.captions(cast, named, stride) for stride in (None, kind.stride))
        columns.append([b if tell else a for a, b, tell in zip(plain, tagged, told.tolist(), strict=True)])
    tokens = encoder.tokenize([*columns[0], *columns[1], captions.LONGEST])[:-1]
    return tokens.unflatten(0, (2, PART)).movedim(0, 1).contiguous()


def encode_clips(vae: WanVAE, video: Tensor) -> Tensor:
    """Latents of clips (N, 3, F, H, W) in [-1, 1], in fp16 on the CPU."""
    chunk = 2 * vae.geometry.group
    with torch.autocast(vae.device.type, dtype=torch.bfloat16):
        parts = [vae.encode(part.to(vae.device), chunk=chunk) for part in video.split(PART)]
    return torch.cat([part.half().cpu() for part in parts])


def cell_coverage(alpha: Tensor, geometry: Geometry) -> Tensor:
    """alpha (N, 1, pictures, H, W) -> (N, F, h, w): the most any of a latent frame's pictures covers a cell."""
    cells = F.avg_pool3d(alpha, (1, geometry.stride, geometry.stride))[:, 0]
    return torch.cat([cells[:, :1], cells[:, 1:].unflatten(1, (-1, geometry.group)).amax(2)], dim=1)
