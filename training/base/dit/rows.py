"""Clips and their masked references as latents, made once and kept in files."""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Generator, Tensor

from ....data.source import Footage
from ...engine.cache import PART, Rows
from ...engine.encode import ClipEncoder, cell_coverage, encode_clips, subjects_of_part, tokens_kept
from ...masks.references import masked_frames
from .config import ClipKind, DiTTraining

SCENE_PICTURES = 9  # of the whole scene, from which references are cut
_INSTRUCTED = 0.06  # of the general captions give way to an instruction [choice: edit-words]


@dataclass(frozen=True)
class MaskedClips(Rows):
    """N clips with R references each.

    latent     (N, 16, F, h, w)
    last       (N, 16, h, w): a latent frame that holds one picture still, the last of the latent frame
               before. A clip that ends in a given picture arrives there, and then rests
    reference  (N, R, 16, h, w)
    keep       (N, R, tokens) bool: the tokens their masks keep
    coverage   (N, F, h, w): the share of each latent cell that subjects cover
    tokens     (N, 2, S) of the captions: with a general word for subjects, and with their names
    """

    latent: Tensor
    last: Tensor
    reference: Tensor
    keep: Tensor
    coverage: Tensor
    tokens: Tensor


def cached_clips(encoder: ClipEncoder, kind: ClipKind, config: DiTTraining) -> MaskedClips:
    """Clips of a kind, `kind.clips` of them, read where the same were made before, else rendered and
    encoded."""
    numbers = (kind.frames, kind.stride, kind.easy, config.references, config.size, config.seed, config.how)
    make = partial(_encode_part, encoder, kind, config)
    return encoder.rows(MaskedClips, kind.name, kind.clips, numbers, make)


@torch.no_grad()
def _encode_part(encoder: ClipEncoder, kind: ClipKind, config: DiTTraining, index: int) -> MaskedClips:
    # By length and stride: kinds of one length show different subjects, and so do runs of other seeds.
    seed = 100_000_000 * config.seed + 1_000_000 * kind.stride + 10_000 * kind.frames + index
    generator = Generator().manual_seed(seed)
    footage = _footage(encoder, kind, index, generator)
    # Pictures 0, stride, 2 stride, … of the scene: at how many of them such a clip can begin.
    starts = (footage.length - 1) // kind.stride - (kind.frames - 1) + 1
    start = kind.stride * torch.randint(0, starts, (PART,), generator=generator)
    video, alpha = footage.film(config.size, kind.frames, kind.stride, start)
    frames = _references(footage, kind, config, generator)
    pictures, masks = (torch.stack(part, 1) for part in zip(*frames, strict=True))
    vae, geometry = encoder.vae, encoder.vae.geometry
    # The last picture of the latent frame before the last, (N, 3, 1, H, W).
    rest = video[:, :, [max(0, kind.frames - 1 - geometry.group)]]
    # Encoded as two latent frames, of which the second is kept: a clip's first holds one picture alone.
    still = rest.expand(-1, -1, geometry.pictures(2), -1, -1)
    # Each reference is a clip of one picture, (N * R, 3, 1, H, W).
    cut = encode_clips(vae, pictures.flatten(0, 1).unsqueeze(2))[:, :, 0]
    return MaskedClips(
        latent=encode_clips(vae, video),
        last=encode_clips(vae, still)[:, :, 1],
        reference=cut.unflatten(0, masks.shape[:2]),
        keep=tokens_kept(masks.flatten(0, 1), geometry).unflatten(0, masks.shape[:2]),
        coverage=cell_coverage(alpha.sum(1, keepdim=True), geometry).half(),
        tokens=_captions(encoder, footage, kind, generator),
    )


def _footage(encoder: ClipEncoder, kind: ClipKind, index: int, generator: Generator) -> Footage:
    """PART clips of a kind: steady single subjects where it is easy, else as `subjects_of_part` has it."""
    length = kind.stride * (kind.frames - 1) + 1
    if kind.easy:
        return encoder.source.footage(PART, generator, moving=0.0, length=length)
    return encoder.source.footage(PART, generator, subjects_of_part(encoder.source, index), length=length)


def _references(
    footage: Footage, kind: ClipKind, config: DiTTraining, generator: Generator
) -> list[tuple[Tensor, Tensor]]:
    """Masked frames of the whole scene, of each of its subjects in turn: pictures (N, 3, H, W), masks
    (N, 1, H, W)."""
    scene, layers = footage.film(config.size, SCENE_PICTURES)
    in_place = replace(config.how, augmentation=None)
    return [
        masked_frames(
            scene,
            layers[:, turn % footage.subjects].unsqueeze(1),
            generator,
            in_place if kind.easy and turn % 2 == 0 else config.how,
        )
        for turn in range(config.references)
    ]


def _captions(encoder: ClipEncoder, footage: Footage, kind: ClipKind, generator: Generator) -> Tensor:
    """Token ids (N, 2, S) of captions, general and named; half of the clips say their stride. A picture has
    none. A few of the general ones are instructions, where the source has such."""
    says_stride = (torch.rand(PART, generator=generator) < 0.5) & (kind.frames > 1)
    instructed = torch.rand(PART, generator=generator) < _INSTRUCTED
    columns = []
    for named in (False, True):
        bare, tagged = footage.captions(named), footage.captions(named, kind.stride)
        choices = zip(bare, tagged, says_stride.tolist(), strict=True)
        columns.append([with_stride if says else without for without, with_stride, says in choices])
    general, names = columns
    for row, instruction in enumerate(footage.instructions()):
        general[row] = instruction if instructed[row] else general[row]
    return encoder.captions(general, names)
