"""Run file of Saber (arXiv 2512.06905, §3): the tables that all methods on prepared clips share, and how
references are made."""

from dataclasses import dataclass, field

from ...engine.run_file import ClipSettings, LearningSettings, MemorySettings, ModelSettings, ReportSettings


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
    flip           chance of a mirror image; 0 [choice: no-mirrored-references]
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
