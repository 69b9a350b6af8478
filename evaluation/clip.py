"""One clip against one reference: the same figures for the node, the command line and a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.fit import fitted_masks
from ..core.recipe import GREY
from ..core.references import Reference
from . import appearance, figures

_MOST_FRAMES = 16  # that appearance is read on, evenly spaced; motion is read on all of them
READ_SIDE = 160  # shorter side that appearance is read at, at most; motion is read at full size


@dataclass(frozen=True)
class Figures:
    """Figures of one clip; None where one could not be measured, and then `Scored.unmeasured` says why."""

    similarity: float
    texture: float
    shape: float
    leak: float | None
    dynamic_degree: float | None

    @classmethod
    def names(cls) -> list[str]:
        """Names, in the order of the node's outputs and of every table."""
        return [field.name for field in fields(cls)]


@dataclass(frozen=True)
class Scored:
    """Figures of a clip, the reasons for those that are None, and the pictures that were looked at.

    frames   those that appearance was read on (f, h, w, 3)
    subject  its mask in them (f, h, w)
    notes    how to read the figures: whose mask, which baseline
    """

    figures: Figures
    unmeasured: dict[str, str]
    notes: tuple[str, ...]
    frames: Tensor
    subject: Tensor


class Target:
    """A reference, described once for all clips that are compared with it."""

    def __init__(self, reference: Reference):
        self.picture, self.mask = _small_frames(reference.picture[None]), _small_mask(reference.mask[None])
        self.colours = appearance.colours(self.picture)
        self.foreground = self.colours.histogram(self.mask)
        hidden = 1 - self.mask
        self.background = self.colours.histogram(hidden) if hidden.gt(0.5).any() else None
        self.texture = appearance.texture(self.picture, self.mask)
        self.outlines = appearance.turned_outlines(self.mask)


class ReadClip:
    """A clip, checked and read once: the frames for appearance, their colours, and all of it for motion.

    video    (F, H, W, 3 or more) in [0, 1]
    subject  (F or 1, H, W), 1 = subject, or None: then it is looked for by the reference's colours

    ValueError names `what` (or "subject mask"), what came and what is needed.
    """

    def __init__(self, video: Tensor, subject: Tensor | None = None, what: str = "clip"):
        self.video = _checked(video, what)
        mask = None if subject is None else _checked_mask(subject, self.video, what)
        kept = torch.linspace(0, len(video) - 1, min(len(video), _MOST_FRAMES)).round().long()
        self.frames = _small_frames(self.video[kept])
        self.mask = None if mask is None else _small_mask(mask[kept])
        self.colours = appearance.colours(self.frames)

    def subject(self, target: Target) -> Tensor:
        """Mask of the subject (f, h, w): the one that was given, else by the target's colours."""
        if self.mask is not None:
            return self.mask
        return figures.find_subject(self.colours, target.foreground, target.background)

    def similarity(self, target: Target) -> float:
        """Overlap of the subject's colours with the target's, in [0, 1]."""
        return appearance.overlap(self.colours.histogram(self.subject(target)), target.foreground)


def score_clip(target: Target, clip: ReadClip, baseline: ReadClip | None = None) -> Scored:
    """Every figure of one clip. baseline: the same prompt without the reference, of any size and length."""
    subject = clip.subject(target)
    unmeasured: dict[str, str] = {}
    against = None if baseline is None else baseline.colours
    found = Figures(
        similarity=clip.similarity(target),
        texture=appearance.overlap(appearance.texture(clip.frames, subject), target.texture),
        shape=appearance.agreement(appearance.outline(subject), target.outlines),
        leak=_measured(
            "leak", unmeasured,
            lambda: figures.background_leak(clip.colours, subject, target.colours, target.mask, against),
        ),
        dynamic_degree=_measured("dynamic_degree", unmeasured, lambda: figures.dynamic_degree(clip.video)),
    )  # fmt: skip
    return Scored(found, unmeasured, tuple(_notes(clip, subject, baseline)), clip.frames, subject)


def score_report(scored: Scored) -> str:
    """A line for every figure, with the reason where there is none, then the notes."""
    lines = []
    for name in Figures.names():
        value = getattr(scored.figures, name)
        shown = f"not measured: {scored.unmeasured[name]}" if value is None else f"{value:.4f}"
        lines.append(f"{name:16}{shown}")
    return "\n".join([*lines, *scored.notes])


def _notes(clip: ReadClip, subject: Tensor, baseline: ReadClip | None) -> list[str]:
    share = subject.mean().item()
    if clip.mask is None:
        notes = [f"subject: found by the reference's colours, {share:.1%} of the clip; a mask would be surer"]
        if not share:
            notes = ["subject: nothing in the clip has the reference's colours"]
    else:
        notes = [f"subject: from the mask, {share:.1%} of the clip"]
    if baseline is None:
        return [*notes, "leak: no baseline, so a background that the prompt asks for counts as leaked"]
    return [*notes, "leak: beyond the baseline"]


def _measured(name: str, unmeasured: dict[str, str], figure: Callable[[], float]) -> float | None:
    try:
        return figure()
    except figures.Unmeasurable as refusal:
        unmeasured[name] = str(refusal)
        return None


def _checked(video: Tensor, what: str) -> Tensor:
    if video.ndim != 4 or video.shape[-1] < 3 or not len(video):
        raise ValueError(
            f"{what} has shape {tuple(video.shape)}; needed (frames, height, width, 3 channels), one frame or more"
        )
    if min(video.shape[1:3]) < 8:
        raise ValueError(f"{what} is {video.shape[2]}x{video.shape[1]} pixels; needed 8x8 or more")
    if not torch.isfinite(video).all():
        raise ValueError(f"{what} holds NaN or infinite values; check the node or file it comes from")
    return video[..., :3].float().clamp(0, 1)


def _checked_mask(mask: Tensor, video: Tensor, what: str) -> Tensor:
    mask = mask[None] if mask.ndim == 2 else mask
    frames, height, width = video.shape[:3]
    if len(mask) not in (1, frames):
        raise ValueError(
            f"subject mask has {len(mask)} frames, {what} {frames}; give one for each frame, or one for all of them"
        )
    if not torch.isfinite(mask).all():
        raise ValueError("subject mask holds NaN or infinite values; check the node or file it comes from")
    if not mask.gt(0.5).any():
        raise ValueError(
            f"subject mask has no pixels: nothing of the {what} would be compared. Mark the subject white, or leave "
            "the mask out to have the subject looked for by its colours"
        )
    return fitted_masks(mask.float().clamp(0, 1), height, width).expand(frames, -1, -1)


def _smaller(planes: Tensor) -> Tensor:
    """planes (F, C, H, W) at the size that appearance is read at; never enlarged."""
    scale = READ_SIDE / min(planes.shape[2:])
    if scale >= 1:
        return planes
    size = [max(1, round(side * scale)) for side in planes.shape[2:]]
    return F.interpolate(planes, size=size, mode="bilinear", antialias=True).clamp(0, 1)


def _small_frames(frames: Tensor) -> Tensor:
    return _smaller(frames.movedim(-1, 1)).movedim(1, -1)


def _small_mask(mask: Tensor) -> Tensor:
    return _smaller(mask.unsqueeze(1))[:, 0]


def sheet_row(target: Target, scored: Scored) -> list[Tensor]:
    """Cells for a contact sheet, in [-1, 1]: the reference, its subject, the clip, the subject in it."""
    cut = _on_grey(target.picture, target.mask)
    cells = [target.picture[0], cut[0], scored.frames, _on_grey(scored.frames, scored.subject)]
    return [cell.movedim(-1, 0) * 2 - 1 for cell in cells]


SHEET_TITLES = ["reference", "its subject", "clip", "subject in the clip"]


def _on_grey(frames: Tensor, mask: Tensor) -> Tensor:
    return frames * mask.unsqueeze(-1) + GREY * (1 - mask.unsqueeze(-1))
