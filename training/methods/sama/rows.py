"""Pairs of clips for SAMA: a source, an instruction, and what it asks for. Paired edits with known truth, and motion pretexts, as latents."""

from dataclasses import dataclass, fields
from functools import partial
from hashlib import sha256
from pathlib import Path

import torch
from torch import Generator, Tensor

from ....backbones.wan.vae import WanVAE
from ....core.editing import edit_prompt
from ....core.motion import PRETEXTS, perturb
from ....demo import captions, edits, world
from ...engine.cache import PART, cached_rows
from ..saber.rows import Tokenize, cell_coverage, encode_clips
from .targets import Extractor, semantic_tokens

LONGEST = f"{PRETEXTS['shuffle'].instruction} {captions.LONGEST}"  # texts of all parts have its length
BLACK = -1.0


@dataclass(frozen=True)
class EditPairs:
    """N pairs: source and target (N, 16, F, h, w); coverage (N, F, h, w) of the target's cells by what the loss looks at more closely: the
    region that an edit changes, or the toys; tokens (N, S) of the prompt; semantic (N, 65, features) of the target's first picture."""

    source: Tensor
    target: Tensor
    coverage: Tensor
    tokens: Tensor
    semantic: Tensor

    def __getitem__(self, index: Tensor) -> "EditPairs":
        return EditPairs(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    def to(self, device: torch.device) -> "EditPairs":
        return EditPairs(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True)
class Pairs:
    """Which pairs: "edits" or "pretexts", how many, and their clips."""

    name: str
    count: int
    frames: int = 9
    size: int = world.SIZE


def cached_pairs(
    vae: WanVAE, tokenize: Tokenize, extractor: Extractor, pairs: Pairs, seed: int, folder: Path
) -> EditPairs:
    """The pairs, read where the same were made before, else rendered and encoded."""
    weights = b"".join(value.cpu().numpy().tobytes() for value in vae.state_dict().values())
    made_by = f"{sha256(weights).hexdigest()} {(pairs.frames, pairs.size, seed, extractor.name)}"
    make = partial(_part, vae, tokenize, extractor, pairs, seed)
    return cached_rows(EditPairs, folder, pairs.name, pairs.count, made_by, make)


@torch.no_grad()
def _part(
    vae: WanVAE, tokenize: Tokenize, extractor: Extractor, pairs: Pairs, seed: int, index: int
) -> EditPairs:
    generator = Generator().manual_seed(seed + 400_000 + index)
    source, target, looked_at, prompts = _MAKE[pairs.name](pairs, vae.geometry.group, index, generator)
    return EditPairs(
        source=encode_clips(vae, source),
        target=encode_clips(vae, target),
        coverage=cell_coverage(looked_at, vae.geometry).half(),
        tokens=tokenize([*prompts, LONGEST])[:-1],
        semantic=semantic_tokens(extractor(target[:, :, 0])).half(),
    )


def _edits(
    pairs: Pairs, _group: int, index: int, generator: Generator
) -> tuple[Tensor, Tensor, Tensor, list[str]]:
    """One kind of edit in a part, the kinds in turn."""
    kind = edits.KINDS[index % len(edits.KINDS)]
    made = edits.sample_edits(kind, PART, generator, pairs.frames, pairs.size)
    return made.source, made.target, made.region.float(), [edit_prompt(one) for one in made.instructions]


def _pretexts(
    pairs: Pairs, group: int, index: int, generator: Generator
) -> tuple[Tensor, Tensor, Tensor, list[str]]:
    """Clips with pretexts in SAMA's mixture, for latent frames of `group` pictures; the target is never touched."""
    cast = world.sample_cast(PART, generator, duet=index % 4 == 3)
    target, alpha = world.render_cast(cast, pairs.frames, pairs.size)
    chosen = _mixture(PART, pairs.frames, group, generator)
    perturbed = [
        perturb(name, clip.movedim(0, -1), generator, group, BLACK).movedim(-1, 0)
        for name, clip in zip(chosen, target, strict=True)
    ]
    prompts = [
        f"{PRETEXTS[name].instruction} {caption}".strip()
        for name, caption in zip(chosen, captions.captions(cast), strict=True)
    ]
    return torch.stack(perturbed), target, alpha.sum(1, keepdim=True), prompts


def _mixture(count: int, frames: int, group: int, generator: Generator) -> list[str]:
    """Names of pretexts by their weights, of those that clips so long can have."""
    known = [name for name, pretext in PRETEXTS.items() if pretext.least(group) <= frames]
    weights = torch.tensor([float(PRETEXTS[name].weight) for name in known])
    return [known[row] for row in torch.multinomial(weights, count, True, generator=generator).tolist()]


_MAKE = {"edits": _edits, "pretexts": _pretexts}
