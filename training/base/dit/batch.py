"""Batch of a step: clips, their references, and which frames are given. Everything random is drawn
here, on the generator's device."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ...engine.encode import no_words
from ...engine.noise import sample_sigma
from .config import Drawing
from .rows import MaskedClips

# Which latent frames of F are replaced by clean ones, given a draw n >= 2 (STIV, arXiv 2412.07730, §3.2 and
# §3.5).
PATTERNS: dict[str, Callable[[int, int], list[int]]] = {
    "none": lambda frames, n: [],
    "first": lambda frames, n: [0],
    "first n": lambda frames, n: list(range(min(n, frames - 1))),
    "first and last": lambda frames, n: [0, frames - 1],
    "every n-th": lambda frames, n: list(range(0, frames, n)),
}


@dataclass(frozen=True)
class MaskedBatch:
    """Batch of one step.

    latent, noise  (B, 16, F, h, w)
    sigma          (B,)
    given          (B, 16, F, h, w): what stands on the replaced frames
    replaced       (B, F) bool
    reference      (B, 16, K, h, w)
    keep           (B, K * tokens) bool, all False where references are dropped
    tokens         (B, S), only </s> where the text is dropped
    weight         (B, 1, F, h, w), of mean 1 over the frames that are learned
    """

    latent: Tensor
    noise: Tensor
    sigma: Tensor
    given: Tensor
    replaced: Tensor
    reference: Tensor
    keep: Tensor
    tokens: Tensor
    weight: Tensor


def draw_batch(
    data: MaskedClips, size: int, drawing: Drawing, generator: Generator, common: Generator | None = None
) -> MaskedBatch:
    """Draw `size` clips with their references, texts and replaced frames. `common` draws what all rows share,
    the pattern and the number of references. Seeded alike in several processes, it gives them batches of one
    cost."""
    device, common = generator.device, common or generator

    def chance(share: float) -> Tensor:
        return torch.rand(size, generator=generator, device=device) < share

    rows = torch.randint(0, len(data.latent), (size,), generator=generator, device=device)
    latent = data.latent[rows].float()
    replaced = _replaced(latent.shape[2], drawing, common) & ~chance(drawing.frame_dropout)[:, None]
    given = _given(latent, data.last[rows].float(), chance(drawing.held_share))
    cached = data.reference.shape[1]
    order = torch.rand(size, cached, generator=generator, device=device).argsort(1)
    # (B, K): different references for each row, in any order
    pick = order[:, : _reference_count(cached, drawing, common)]
    keep = data.keep[rows[:, None], pick] & ~chance(drawing.reference_dropout)[:, None, None]
    tokens = torch.where(chance(drawing.named_share)[:, None], data.tokens[rows, 1], data.tokens[rows, 0])
    # (B, F, h, w): given frames are clean, and nothing is learned of them.
    weight = (1 + drawing.subject_weight * data.coverage[rows].float()) * ~replaced[:, :, None, None]
    return MaskedBatch(
        latent=latent,
        noise=torch.randn(latent.shape, generator=generator, device=device),
        sigma=sample_sigma(size, drawing.shift, generator),
        given=given,
        replaced=replaced,
        reference=data.reference[rows[:, None], pick].float().movedim(1, 2),
        keep=keep.flatten(1),
        tokens=torch.where(chance(drawing.text_dropout)[:, None], no_words(tokens), tokens),
        weight=(weight / weight.mean().clamp_min(1e-6)).unsqueeze(1),
    )


def _replaced(frames: int, drawing: Drawing, generator: Generator) -> Tensor:
    """Replaced frames (1, F) bool: one pattern for all rows, so that most steps need no timestep per frame. A
    single frame stays."""
    draw = torch.rand(2, generator=generator, device=generator.device).tolist()
    shares = torch.tensor(drawing.patterns).cumsum(0) / sum(drawing.patterns)
    pattern = list(PATTERNS.values())[int((shares <= draw[0]).sum())]
    chosen = torch.zeros(1, frames, dtype=torch.bool, device=generator.device)
    if frames > 1:
        chosen[0, pattern(frames, 2 + int(draw[1] * 2))] = True  # n is 2 or 3
    return chosen


def _given(latent: Tensor, last: Tensor, held: Tensor) -> Tensor:
    """Latent (B, 16, F, h, w) of given frames: the clip itself. Where `held` (B,) is true its last frame is
    `last` (B, 16, h, w), one picture held still. A generated key picture is known as that, and a latent
    frame covers four pictures."""
    end = torch.where(held[:, None, None, None], last, latent[:, :, -1])
    return torch.cat([latent[:, :, :-1], end.unsqueeze(2)], dim=2) if latent.shape[2] > 1 else latent


def _reference_count(cached: int, drawing: Drawing, generator: Generator) -> int:
    """Number of different references that each clip shows, of those that are cached."""
    shares = torch.tensor(drawing.reference_counts[:cached], dtype=torch.float32, device=generator.device)
    return 1 + int(torch.multinomial(shares, 1, generator=generator))
