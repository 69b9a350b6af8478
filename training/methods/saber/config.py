"""Run file of Saber (arXiv 2512.06905, §3): the tables that all methods on prepared clips share, and how
references are made."""

from dataclasses import dataclass, field

import torch

from ....core.plan import CHECKPOINTING
from ...engine.optimisers import require_learning
from ...engine.run_file import ClipSettings, LearningSettings, MemorySettings, ModelSettings, ReportSettings
from ...masks.generator import MODES

SUBJECT_SHARES = {
    "mixed": None,
    "subject": 1.0,
    "random": 0.0,
}  # of the masks, by `masks`; None: as it is said
MOMENTS = ("window", "clip")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class ReferenceSettings:
    """References of a clip: masked pictures of its own.

    count          chances of 1, 2, 3, … references in a step
    moment         window: from the pictures that are seen, as published; clip: from the whole clip
    masks          mixed: `subject_share` of them are the subject's, where it is known; subject: all of those;
                   random: none
    subject_share  of mixed masks
    ratio_mode     how a random mask's share of the picture is met: first_hit, as published, or uniform
    augment        turn, scale, shear and move them, as published; else they stay in place
    flip           chance of a mirror image; none, as the base DiT has it
    dropout        share of clips that are seen without references
    """

    count: tuple[float, ...] = (0.55, 0.25, 0.1, 0.1)
    moment: str = "window"
    masks: str = "mixed"
    subject_share: float = 0.75
    ratio_mode: str = "first_hit"
    augment: bool = True
    flip: float = 0.0
    dropout: float = 0.1


@dataclass(frozen=True)
class SaberSettings:
    """Run file of Saber: `out` is the folder of the run, `seed` that of its draws; the rest are tables."""

    method: str = "saber"
    out: str = "runs/saber"
    seed: int = 0
    models: ModelSettings = field(default_factory=ModelSettings)
    data: ClipSettings = field(default_factory=ClipSettings)
    references: ReferenceSettings = field(default_factory=ReferenceSettings)
    train: LearningSettings = field(default_factory=LearningSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    report: ReportSettings = field(default_factory=ReportSettings)


def require_settings(settings: SaberSettings) -> None:
    """ValueError, naming the setting, for what cannot train."""
    require_learning(settings.train)
    require_references(settings.references)
    for name in ("caption_dropout", "short_captions"):
        if not 0 <= getattr(settings.data, name) <= 1:
            raise ValueError(f"data.{name} is {getattr(settings.data, name)}; needed a share from 0 to 1")
    if settings.data.share and len(settings.data.share) != len(settings.data.frames):
        raise ValueError(
            f"data.share has {len(settings.data.share)} numbers for {len(settings.data.frames)} of data.frames; "
            "needed one each"
        )
    for table, name, known in (
        ("models", "base_dtype", DTYPES), ("memory", "checkpointing", CHECKPOINTING)
    ):  # fmt: skip
        if getattr(getattr(settings, table), name) not in known:
            given = getattr(getattr(settings, table), name)
            raise ValueError(f"{table}.{name} is {given!r}; needed one of {', '.join(known)}")
    for name, least in (("every", 1), ("validate_every", 0), ("sample_every", 0), ("export_every", 0)):
        if getattr(settings.report, name) < least:
            raise ValueError(f"report.{name} is {getattr(settings.report, name)}; needed {least} or more")


def require_references(settings: ReferenceSettings) -> None:
    """ValueError for settings that no reference can be drawn by."""
    for name, known in (("masks", SUBJECT_SHARES), ("moment", MOMENTS), ("ratio_mode", MODES)):
        if getattr(settings, name) not in known:
            given = getattr(settings, name)
            raise ValueError(f"references: {name} is {given!r}; needed one of {', '.join(known)}")
    if not settings.count or min(settings.count) < 0 or not sum(settings.count):
        raise ValueError(
            f"references: count is {list(settings.count)}; needed chances of 1, 2, … references, one above 0"
        )
    for name in ("subject_share", "flip", "dropout"):
        if not 0 <= getattr(settings, name) <= 1:
            raise ValueError(f"references: {name} is {getattr(settings, name)}; needed a share from 0 to 1")
