"""Clips, each with a photograph of its subject from another scene, as latents."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from ....data.source import Footage
from ...engine.cache import PART, Rows
from ...engine.encode import ClipEncoder, cell_coverage, encode_clips, tokens_kept
from ...masks.references import GROUND
from .config import PhotographedClips


@dataclass(frozen=True)
class Photographed(Rows):
    """N clips of one subject each.

    latent     (N, 16, F, h, w)
    coverage   (N, F, h, w) of its cells by the subject
    tokens     (N, 2, S) of the captions: with a general word for the subject, and with its name
    reference  (N, 16, h, w): the photograph, grey outside the subject
    keep       (N, tokens) bool: the tokens that hold some of it
    """

    latent: Tensor
    coverage: Tensor
    tokens: Tensor
    reference: Tensor
    keep: Tensor


def cached_photographed(encoder: ClipEncoder, clips: PhotographedClips, seed: int = 0) -> Photographed:
    """Clips with photographs, read where the same were made before, else rendered and encoded."""
    numbers = (clips.frames, clips.stride, clips.size, seed)
    make = partial(_encode_part, encoder, clips, seed)
    return encoder.rows(Photographed, "photographed", clips.count, numbers, make)


@torch.no_grad()
def _encode_part(encoder: ClipEncoder, clips: PhotographedClips, seed: int, index: int) -> Photographed:
    generator = Generator().manual_seed(seed + 300_000 + index)
    footage = encoder.source.footage(PART, generator, length=clips.stride * (clips.frames - 1) + 1)
    video, alpha = footage.film(clips.size, clips.frames, clips.stride)
    pictures, masks = photographs(footage, clips.size, generator)
    return Photographed(
        latent=encode_clips(encoder.vae, video),
        coverage=cell_coverage(alpha, encoder.vae.geometry).half(),
        tokens=encoder.captions(footage.captions(), footage.captions(named=True)),
        reference=encode_clips(encoder.vae, pictures.unsqueeze(2))[:, :, 0].contiguous(),
        keep=tokens_kept(masks, encoder.vae.geometry),
    )


def photographs(footage: Footage, size: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Photographs of the first subject of each clip elsewhere, cut out: pictures (N, 3, H, W) in [-1, 1],
    grey outside, and masks (N, 1, H, W) of 0 and 1."""
    film, alpha = footage.elsewhere(0, size, 1, generator)
    mask = alpha[:, :, 0].gt(0.5).float()
    return torch.where(mask > 0.5, film[:, :, 0], GROUND), mask
