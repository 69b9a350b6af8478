"""Guidance as a table of passes and weights: the velocity is Σ weight · velocity(pass)."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Pass:
    """What one evaluation of the backbone is given."""

    text: Literal["positive", "negative"]
    references: bool


Table = tuple[tuple[Pass, float], ...]

CONDITIONED = Pass("positive", True)
NULL = Pass("negative", False)


def joint(scale: float) -> Table:
    """JIT-CFG: v(∅,∅) + s [v(text, references) - v(∅,∅)], two passes (STIV, arXiv 2412.07730, §3.3). At 1 one pass."""
    if scale == 1:
        return ((CONDITIONED, 1.0),)
    return ((CONDITIONED, scale), (NULL, 1.0 - scale))


def text_only(scale: float) -> Table:
    """Classifier-free guidance on the text alone: the null pass keeps the references."""
    if scale == 1:
        return ((CONDITIONED, 1.0),)
    return ((CONDITIONED, scale), (Pass("negative", True), 1.0 - scale))
