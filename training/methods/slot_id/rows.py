"""Clips, each with reference videos of those who are in it, taken in other scenes, as latents."""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Generator, Tensor

from ....backbones.wan.vae import WanVAE
from ....core.reference_video import cover, make_reference_video
from ....core.slots import SlotsConfig
from ....data.source import ClipSource, Footage
from ...engine.cache import PART, Rows
from ...engine.encode import ClipEncoder, cell_coverage, encode_clips
from .config import Meeting

MOVING = 0.75  # of the subjects change in themselves: that is what a picture cannot show


@dataclass(frozen=True)
class Meetings(Rows):
    """N clips with K people each.

    latent    (N, 16, F, h, w)
    coverage  (N, F, h, w) of its cells by subjects
    tokens    (N, 2, S) of the captions: with a general word for subjects, and with their names
    phrases   (N, K, P): the tokens of each one's name
    clip      (N, K, 16, f, s, s): each one's reference video
    cover     (N, K, f, s/2, s/2): the share of its tokens that shows the subject
    anchor, anchor_cover  (N, K, 16, 1, s, s), (N, K, 1, s/2, s/2): one of its pictures
    """

    latent: Tensor
    coverage: Tensor
    tokens: Tensor
    phrases: Tensor
    clip: Tensor
    cover: Tensor
    anchor: Tensor
    anchor_cover: Tensor


def cached_meetings(
    encoder: ClipEncoder, slots: SlotsConfig, meeting: Meeting, size: int, seed: int = 0
) -> Meetings:
    """Clips of a meeting, read where the same were made before, else rendered and encoded."""
    numbers = (replace(meeting, clips=0, batch=0), slots.frames, slots.size, size, seed, MOVING)
    make = partial(_encode_part, encoder, slots, meeting, size, seed)
    return encoder.rows(Meetings, meeting.name, meeting.clips, numbers, make)


def footage_of_part(source: ClipSource, meeting: Meeting, seed: int, index: int) -> tuple[Footage, Generator]:
    """Footage that a part's clips are taken from, and the generator that draws the rest of the part."""
    generator = Generator().manual_seed(seed + 100_000 * meeting.people + index)
    length = meeting.stride * (meeting.frames - 1) + 1
    return source.footage(PART, generator, meeting.people, MOVING, length), generator


@torch.no_grad()
def _encode_part(
    encoder: ClipEncoder, slots: SlotsConfig, meeting: Meeting, size: int, seed: int, index: int
) -> Meetings:
    footage, generator = footage_of_part(encoder.source, meeting, seed, index)
    video, alpha = footage.film(size, meeting.frames, meeting.stride)
    people = range(footage.subjects)
    videos = [_reference_videos(encoder.vae, slots, footage, person, generator) for person in people]
    clip, covers, anchor, anchor_covers = (torch.stack(part, 1) for part in zip(*videos, strict=True))
    # Names of all clips for the first person, then for the second: (K * N, P).
    phrases = encoder.tokens([name for person in people for name in footage.names(person)])
    return Meetings(
        latent=encode_clips(encoder.vae, video),
        coverage=cell_coverage(alpha.sum(1, keepdim=True), encoder.vae.geometry).half(),
        tokens=encoder.captions(footage.captions(), footage.captions(named=True)),
        phrases=phrases.unflatten(0, (len(people), PART)).movedim(0, 1).contiguous(),
        clip=clip,
        cover=covers.half(),
        anchor=anchor,
        anchor_cover=anchor_covers.half(),
    )


def _reference_videos(
    vae: WanVAE, slots: SlotsConfig, footage: Footage, subject: int, generator: Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Reference videos of a subject, filmed elsewhere and read as a user's clip is. -> latents and covers of
    clip and anchor, as `Meetings` has them, without the axis of people."""
    film, alpha = footage.elsewhere(subject, slots.size, slots.frames, generator)
    # A user's pictures are (f, H, W, 3) in [0, 1].
    videos = [
        make_reference_video((clip / 2 + 0.5).movedim(0, -1), mask[0], slots.frames, slots.size, vae.geometry)
        for clip, mask in zip(film, alpha, strict=True)
    ]
    pictures = torch.stack([video.pictures for video in videos]).movedim(-1, 1) * 2 - 1
    masks = [video.masks for video in videos]
    anchors = torch.stack([pictures[row, :, [video.anchor]] for row, video in enumerate(videos)])
    covers = torch.stack([cover(mask, vae.geometry) for mask in masks])
    anchor_covers = torch.stack(
        [cover(mask[[video.anchor]], vae.geometry) for mask, video in zip(masks, videos, strict=True)]
    )
    return encode_clips(vae, pictures), covers, encode_clips(vae, anchors), anchor_covers
