"""Guidance as a table of passes and weights: what several evaluations of the backbone make together."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from .controls import RENORMS, StepWindow


@dataclass(frozen=True)
class Pass:
    """Pass of the backbone, in guidance: its text, and whether it keeps the conditions (references,
    identities, given frames), which go together. Without them references are what their recipe's
    `guider_null` says."""

    text: Literal["positive", "negative"]
    conditions: bool


GuidanceTable = tuple[tuple[Pass, float], ...]

CONDITIONED = Pass("positive", True)
MIDDLE = Pass("negative", True)
NULL = Pass("negative", False)


@dataclass(frozen=True)
class Scale:
    """A guidance scale over the schedule: `value` inside its window, rising from 1 and falling to 1 in
    straight lines along the fades, 1 (no guidance) outside. ValueError for what is not a number from 0."""

    value: float
    steps: StepWindow = field(default_factory=StepWindow)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value >= 0):
            raise ValueError(f"scale is {self.value}; needed a number, 0 or more; 1 is no guidance")

    def at(self, share: float) -> float:
        """The scale at a share of the schedule, 0 to 1."""
        factor = self.steps.factor(share)
        return self.value if factor == 1 else 1 + (self.value - 1) * factor


@dataclass(frozen=True)
class Guidance:
    """Guidance of a run: how strongly it follows its conditions and its prompt. `renorm` says whether its
    velocity keeps the norm of the conditioned one: per clip, per frame, or not (`renormed`). One scale for
    both is JIT-CFG; an image scale of 1 leaves the text alone, as plain CFG."""

    image: Scale
    text: Scale
    renorm: str = "off"

    def __post_init__(self) -> None:
        if self.renorm not in RENORMS:
            raise ValueError(f"renorm is {self.renorm!r}; choose one of {', '.join(RENORMS)}")

    def table(self, share: float) -> GuidanceTable:
        """The passes at a share of the schedule."""
        return guidance_table(self.image.at(share), self.text.at(share))


def joint(scale: Scale) -> Guidance:
    """JIT-CFG: v(∅,∅) + s [v(text,conditions) - v(∅,∅)], two passes (STIV, arXiv 2412.07730, §3.3). At 1 one
    pass."""
    return Guidance(scale, scale)


def guidance_table(image: float, text: float) -> GuidanceTable:
    """SIT-CFG: v(∅,∅) + s_image [v(∅,conditions) - v(∅,∅)] + s_text [v(text,conditions) - v(∅,conditions)],
    three passes (STIV, arXiv 2412.07730, §3.3). Passes without weight are left out."""
    weights = ((CONDITIONED, text), (MIDDLE, image - text), (NULL, 1 - image))
    return tuple((entry, weight) for entry, weight in weights if weight)


def combine(table: GuidanceTable, predictions: Mapping[Pass, Tensor]) -> Tensor:
    """Σ weight · prediction over the table, as differences from the last pass, since the weights add up to 1.
    Where all passes agree it is what they say, to the last bit. Two passes are computed as ComfyUI computes
    them."""
    *others, (last, _) = table
    out = predictions[last]
    for entry, weight in reversed(others):
        out = out + (predictions[entry] - predictions[last]) * weight
    return out


def renormed(guided: Tensor, conditioned: Tensor, per_frame: bool = False) -> Tensor:
    """CFG-Renorm: a guided velocity (B, C, F, h, w) at the norm of the conditioned one, per sample or per
    frame. It may grow or shrink (STIV, arXiv 2412.07730, §3.3)."""
    over = (1, 3, 4) if per_frame else (1, 2, 3, 4)
    wanted, found = (
        velocity.float().square().sum(over, keepdim=True).sqrt() for velocity in (conditioned, guided)
    )
    return (guided * (wanted / found.clamp_min(1e-12))).to(guided.dtype)
