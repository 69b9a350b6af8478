"""Configuration of a whole DiT's run: the model, the clips, and the stages in which they are seen
(arXiv 2512.06905, §3; replaced frames: STIV, arXiv 2412.07730, §3.2)."""

from dataclasses import dataclass, field, replace

import torch

from ....backbones.wan.dit import DiTConfig
from ....hosts.plain.pipeline import Settings
from ...masks.references import Augmentation, MaskedFrames


@dataclass(frozen=True)
class ClipKind:
    """Clips of one length.

    stride    pictures of the scene between two pictures of the clip. Where they do not fill the scene, the
              clip starts at any multiple of it
    batch     clips in a step; a step holds one kind
    easy      to begin with: one steady subject each, every other reference left in place, where it can be
              copied. Else every fourth part shows pairs, and a quarter of the subjects moves in itself
    patterns  chances of the frames that are given, instead of the stage's (`batch.PATTERNS`)
    """

    name: str
    frames: int
    stride: int
    clips: int
    batch: int
    easy: bool = False
    patterns: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Drawing:
    """Shares and chances of a step; the chances are independent of each other.

    reference_counts  chance of 1, 2, 3, … references in a step
    patterns          chance of each of `batch.PATTERNS` in a step
    held_share        of the last frames that are replaced: known as one held picture, not as moving ones
    named_share       captions that name the subjects
    subject_weight    extra loss on latent cells that subjects cover
    """

    reference_counts: tuple[float, ...] = (0.55, 0.25, 0.1, 0.1)
    patterns: tuple[float, ...] = (0.6, 0.15, 0.08, 0.09, 0.08)
    text_dropout: float = 0.1
    reference_dropout: float = 0.15
    frame_dropout: float = 0.1
    held_share: float = 0.5
    named_share: float = 0.4
    subject_weight: float = 1.5
    shift: float = 2.0


@dataclass(frozen=True)
class Stage:
    """A part of a run: so many steps that see each of the run's kinds by its share, drawn in one way."""

    steps: int
    shares: tuple[float, ...]
    drawing: Drawing = field(default_factory=Drawing)

    def drawing_of(self, kind: ClipKind) -> Drawing:
        """Drawing of a kind's steps: a kind may have patterns of its own."""
        return self.drawing if kind.patterns is None else replace(self.drawing, patterns=kind.patterns)


@dataclass(frozen=True)
class DiTTraining:
    """Configuration of a whole DiT's run: everything that it depends on.

    recipe          by which references enter the model (`core.recipes`)
    size            of clips, in pixels a side
    references      masked frames that are kept with a clip; a step draws one to four of them
    how             they are cut. Not mirrored, unlike the paper's: which side a second colour is on may
                    belong to who it is [choice: no-mirrored-references]
    attention_mask  False: masked-out reference tokens stay visible, as grey (an ablation)
    hold            share of the run before the rate decays
    settings        how the result likes to be run; kept in its file
    """

    model: DiTConfig
    kinds: tuple[ClipKind, ...]
    stages: tuple[Stage, ...]
    size: int
    recipe: str = "saber"
    references: int = 4
    how: MaskedFrames = field(default_factory=lambda: MaskedFrames(augmentation=Augmentation(flip=0.0)))
    attention_mask: bool = True
    rate: float = 7e-3
    hold: float = 0.6
    seed: int = 0
    settings: Settings = field(default_factory=Settings)

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def stage_of(self, step: int) -> Stage:
        """Stage that a step belongs to. ValueError past the run's end."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        raise ValueError(f"step lies {step} past the end of the run's {self.steps}")


def turn(shares: tuple[float, ...], step: int) -> int:
    """Number of the kind that a step sees: each by its share, spread evenly. It follows from the step alone,
    so that a resumed run agrees."""
    whole = torch.tensor(shares, dtype=torch.float64)
    place = (step * 0.6180339887498949) % 1 * whole.sum()  # the golden ratio's multiples fill [0, 1) evenly
    return int((whole.cumsum(0) <= place).sum().clamp_max(len(shares) - 1))
