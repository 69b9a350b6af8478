"""Pairs of clips for SAMA as latents: a source, an instruction, and what it asks for. They are paired edits
with known truth, or motion pretexts."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Generator, Tensor

from ....core.editing import edit_prompt
from ....core.motion import PRETEXTS, perturb
from ....data.models.siglip import semantic_tokens
from ....data.source import ClipSource, PairedEdits
from ...engine.cache import PART, Rows
from ...engine.encode import ClipEncoder, cell_coverage, encode_clips, subjects_of_part
from .config import PairSet
from .targets import Extractor

BLACK = -1.0  # in [-1, 1]


@dataclass(frozen=True)
class EditPairs(Rows):
    """N pairs.

    source, target  (N, 16, F, h, w)
    coverage        (N, F, h, w) of the target's cells by what the loss looks at more closely: the region that
                    an edit changes, or the subjects
    tokens          (N, S) of the prompt
    semantic        (N, 65, features) of the target's first picture
    """

    source: Tensor
    target: Tensor
    coverage: Tensor
    tokens: Tensor
    semantic: Tensor


def cached_pairs(encoder: ClipEncoder, extractor: Extractor, pairs: PairSet, seed: int = 0) -> EditPairs:
    """Pairs of a set, read where the same were made before, else rendered and encoded."""
    numbers = (pairs.frames, pairs.size, seed, extractor.name)
    make = partial(_encode_part, encoder, extractor, pairs, seed)
    return encoder.rows(EditPairs, pairs.name, pairs.count, numbers, make)


@torch.no_grad()
def _encode_part(
    encoder: ClipEncoder, extractor: Extractor, pairs: PairSet, seed: int, index: int
) -> EditPairs:
    generator = Generator().manual_seed(seed + 400_000 + index)
    vae = encoder.vae
    films = _MAKE[pairs.name](encoder.source, pairs, vae.geometry.group, index, generator)
    return EditPairs(
        source=encode_clips(vae, films.source),
        target=encode_clips(vae, films.target),
        coverage=cell_coverage(films.region, vae.geometry).half(),
        # the longest instruction before a caption, so that all parts have tokens of one length
        tokens=encoder.tokens(films.instructions, PRETEXTS["shuffle"].instruction),
        semantic=semantic_tokens(extractor(films.target[:, :, 0])).half(),
    )


def _edits(source: ClipSource, pairs: PairSet, _group: int, index: int, generator: Generator) -> PairedEdits:
    """Edits of one kind in a part, the kinds in turn."""
    kind = source.edit_kinds[index % len(source.edit_kinds)]
    edits = source.edits(kind, PART, generator, pairs.frames, pairs.size)
    prompts = [edit_prompt(text) for text in edits.instructions]
    return PairedEdits(edits.source, edits.target, edits.region, prompts)


def _pretexts(
    source: ClipSource, pairs: PairSet, group: int, index: int, generator: Generator
) -> PairedEdits:
    """Clips with pretexts in SAMA's mixture, for latent frames of `group` pictures. The target is never
    touched; the region is that of its subjects."""
    footage = source.footage(PART, generator, subjects_of_part(source, index))
    target, alpha = footage.film(pairs.size, pairs.frames)
    chosen = _mixture(PART, pairs.frames, group, generator)
    perturbed = [
        # of pictures (F, H, W, 3), and back
        perturb(name, clip.movedim(0, -1), generator, group, BLACK).movedim(-1, 0)
        for name, clip in zip(chosen, target, strict=True)
    ]
    prompts = [
        f"{PRETEXTS[name].instruction} {caption}".strip()
        for name, caption in zip(chosen, footage.captions(), strict=True)
    ]
    return PairedEdits(torch.stack(perturbed), target, alpha.sum(1, keepdim=True), prompts)


def _mixture(count: int, frames: int, group: int, generator: Generator) -> list[str]:
    """Names of pretexts by their weights, of those that clips so long can have."""
    known = [name for name, pretext in PRETEXTS.items() if pretext.least(group) <= frames]
    weights = torch.tensor([float(PRETEXTS[name].weight) for name in known])
    return [known[row] for row in torch.multinomial(weights, count, True, generator=generator).tolist()]


_MAKE = {"edits": _edits, "pretexts": _pretexts}
