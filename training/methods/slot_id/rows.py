"""Clips of the demo world, each with reference videos of those who are in it, taken in other scenes, as latents."""

from dataclasses import dataclass, fields, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch
from torch import Generator, Tensor

from ....backbones.wan.vae import WanVAE
from ....core.reference_video import cover, make_reference_video
from ....core.slots import SlotsConfig
from ....demo import captions, world
from ...engine.cache import PART, cached_rows
from ..saber.rows import Tokenize, cell_coverage, encode_clips

DYNAMIC_SHARE = 0.75  # of the toys: who moves in itself is what a picture cannot show


@dataclass(frozen=True)
class Meetings:
    """N clips with K people each: latent (N, 16, F, h, w); coverage (N, F, h, w) of its cells by toys; tokens (N, 2, S) of the captions, with
    "toy" and with the toys' names; phrases (N, K, P), the tokens of each one's name; and of each one's reference video the latents clip (N, K, 16, f, s, s),
    cover (N, K, f, s/2, s/2), anchor (N, K, 16, 1, s, s) and anchor_cover (N, K, 1, s/2, s/2)."""

    latent: Tensor
    coverage: Tensor
    tokens: Tensor
    phrases: Tensor
    clip: Tensor
    cover: Tensor
    anchor: Tensor
    anchor_cover: Tensor


@dataclass(frozen=True)
class Meeting:
    """Which clips: one toy or a pair in each, how many, how many in a step; pictures `frames` and `stride` as `world.moments` takes them."""

    name: str
    people: int
    clips: int
    batch: int
    frames: int = 9
    stride: int = 12


def cached_meetings(
    vae: WanVAE, tokenize: Tokenize, slots: SlotsConfig, meeting: Meeting, size: int, seed: int, folder: Path
) -> Meetings:
    """The clips of a meeting, read where the same were made before, else rendered and encoded."""
    weights = b"".join(value.cpu().numpy().tobytes() for value in vae.state_dict().values())
    numbers = (replace(meeting, clips=0, batch=0), slots.frames, slots.size, size, seed, DYNAMIC_SHARE)
    made_by = f"{sha256(weights).hexdigest()} {numbers}"
    make = partial(_part, vae, tokenize, slots, meeting, size, seed)
    return cached_rows(Meetings, folder, meeting.name, meeting.clips, made_by, make)


@torch.no_grad()
def _part(
    vae: WanVAE, tokenize: Tokenize, slots: SlotsConfig, meeting: Meeting, size: int, seed: int, index: int
) -> Meetings:
    generator = Generator().manual_seed(seed + 100_000 * meeting.people + index)
    cast = world.sample_cast(PART, generator, meeting.people == 2, DYNAMIC_SHARE)
    video, alpha = world.render_cast(cast, world.moments(meeting.frames, meeting.stride), size)
    seen = [_reference_videos(vae, slots, toys, scenes, generator) for toys, scenes in cast]
    clip, shown, anchor, anchor_cover = (torch.stack(part, 1) for part in zip(*seen, strict=True))
    named = torch.ones(PART, dtype=torch.bool)
    tokens = tokenize([*captions.captions(cast), *captions.captions(cast, named), captions.LONGEST])[:-1]
    names = [name for toys, _ in cast for name in captions.names(toys)]
    phrases = tokenize([*names, captions.LONGEST])[:-1]
    return Meetings(
        latent=encode_clips(vae, video),
        coverage=cell_coverage(alpha.sum(1, keepdim=True), vae.geometry).half(),
        tokens=tokens.unflatten(0, (2, PART)).movedim(0, 1).contiguous(),
        phrases=phrases.unflatten(0, (len(cast), PART)).movedim(0, 1).contiguous(),
        clip=clip,
        cover=shown.half(),
        anchor=anchor,
        anchor_cover=anchor_cover.half(),
    )


def _reference_videos(
    vae: WanVAE, slots: SlotsConfig, toys: world.Identities, scenes: world.Scenes, generator: Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same toys filmed elsewhere for a whole scene, read as a user's clip is: latents and covers of clip and anchor."""
    elsewhere = world.other_scenes(scenes, generator)
    film, alpha = world.render(toys, elsewhere, slots.frames, slots.size)
    read = [
        make_reference_video((one / 2 + 0.5).movedim(0, -1), mask[0], slots.frames, slots.size, vae.geometry)
        for one, mask in zip(film, alpha, strict=True)
    ]
    pictures = torch.stack([one.pictures for one in read]).movedim(-1, 1) * 2 - 1
    masks = [one.masks for one in read]
    anchors = torch.stack([pictures[row, :, [one.anchor]] for row, one in enumerate(read)])
    covers = torch.stack([cover(mask, vae.geometry) for mask in masks])
    anchor_covers = torch.stack(
        [cover(mask[[one.anchor]], vae.geometry) for mask, one in zip(masks, read, strict=True)]
    )
    return encode_clips(vae, pictures), covers, encode_clips(vae, anchors), anchor_covers


def to_device(rows: Meetings, device: torch.device) -> Meetings:
    return Meetings(**{field.name: getattr(rows, field.name).to(device) for field in fields(rows)})
