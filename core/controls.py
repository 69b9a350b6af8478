"""Controls of one reference: how strongly it acts, when, on which pictures, and what it sees. Plain values,
hashable; refused where they are made."""

import math
from dataclasses import dataclass, field, fields, replace
from typing import Literal, get_args

Sees = Literal["recipe", "all", "video", "itself", "frames"]
SEES: tuple[str, ...] = get_args(Sees)
AS_RECIPE = SEES[0]  # as the recipe has it
CLOCKS = ("own", "shared")  # timestep of given frames: that of clean ones, or the video's (`core.frames`)
IDENTITY_PARTS = ("both", "slots", "anchor")  # of an identity that a model reads (`core.identity`)
SCALE_SOURCES = (
    "given",
    "auto",
)  # of separate guidance: as given, or as the recipe's weights were published with
RENORMS = ("off", "clip", "frames")  # over what a guided velocity keeps its norm (`core.guidance`)
CROP, PAD, STRETCH = "crop", "pad", "stretch"
FITS = (CROP, PAD, STRETCH)  # how what has another size is fitted (`core.fit`)
MOST_STRENGTH = 10.0
MOST_FOCUS = 32.0


@dataclass(frozen=True)
class StepWindow:
    """Window of steps in which a reference acts, in shares of the whole schedule: 0 is its start (pure
    noise), 1 its end.

    From `start` its strength rises from 0 over `fade_in`, and falls to 0 over `fade_out` before `end`, in
    straight lines [choice: step-fades]. The end itself is outside, but for the schedule's own.
    """

    start: float = 0.0
    end: float = 1.0
    fade_in: float = 0.0
    fade_out: float = 0.0

    def __post_init__(self) -> None:
        values = (self.start, self.end, self.fade_in, self.fade_out)
        if not 0 <= self.start < self.end <= 1:
            raise ValueError(
                f"step window is {self.start} to {self.end}; needed two shares of the schedule, 0 to 1, the start first"
            )
        if not (self.fade_in >= 0 and self.fade_out >= 0 and sum(values[2:]) <= self.end - self.start + 1e-9):
            raise ValueError(
                f"fades are {self.fade_in} in and {self.fade_out} out; needed 0 or more, together no longer than the "
                f"step window of {self.end - self.start:g}"
            )

    def factor(self, share: float) -> float:
        """Factor of the strength at this share of the schedule: 0 outside, 1 inside and past the fades."""
        if not (self.start <= share < self.end or (share >= 1 and self.end == 1)):
            return 0.0
        rising = (share - self.start) / self.fade_in if self.fade_in else 1.0
        falling = (self.end - share) / self.fade_out if self.fade_out else 1.0
        return max(0.0, min(1.0, rising, falling))


@dataclass(frozen=True)
class FrameWindow:
    """Pictures of the video that a reference acts on, counted from 0, both ends inside; no last one is the
    clip's."""

    first: int = 0
    last: int | None = None

    def __post_init__(self) -> None:
        if self.first < 0 or (self.last is not None and self.last < self.first):
            raise ValueError(
                f"frame window is {self.first} to {self.last}; needed 0 or more, the first frame first"
            )


@dataclass(frozen=True)
class Controls:
    """Controls of one reference.

    strength  weight of its keys in every attention: 1 untouched, its limit at 0 is removal
    sees      what its own tokens read. "recipe": as its recipe has it. "all": the video and the other
              references. "video": the video and itself. "itself": itself alone. "frames": itself and one
              latent frame of the video in turn, whose results it averages (VideoMaker, arXiv 2412.19645 §3).
              Two references read each other only where both see "all"
    soft      a token that its mask covers by a share counts by that share, not fully
    focus     an automatic region (`core.focus`): factor γ on the weight of its keys, in full where the video
              looks at it most. 1 is off
    focus_start  share of the schedule from which focus acts; DIAL (arXiv 2609.11507) leaves out a fifth
    """

    strength: float = 1.0
    steps: StepWindow = field(default_factory=StepWindow)
    frames: FrameWindow = field(default_factory=FrameWindow)
    sees: str = AS_RECIPE
    soft: bool = False
    focus: float = 1.0
    focus_start: float = 0.2

    def __post_init__(self) -> None:
        if not 0.0 <= self.strength <= MOST_STRENGTH:
            raise ValueError(
                f"strength is {self.strength}; needed 0 (off) to {MOST_STRENGTH:g}, 1 leaves the reference untouched"
            )
        if self.sees not in SEES:
            raise ValueError(f"sees is {self.sees!r}; choose one of {', '.join(SEES)}")
        if not 1.0 <= self.focus <= MOST_FOCUS:
            raise ValueError(f"focus is {self.focus}; needed 1 (off) to {MOST_FOCUS:g}")
        if not 0.0 <= self.focus_start < 1.0:
            raise ValueError(
                f"focus_start is {self.focus_start}; needed a share of the schedule, 0 or more and under 1"
            )

    def over(self, saved: "Controls | None") -> "Controls":
        """Controls over saved ones: what is neutral of these is as those have it."""
        if saved is None:
            return self
        neutral = Controls()
        names = [one.name for one in fields(self)]
        return replace(
            saved, **{n: getattr(self, n) for n in names if getattr(self, n) != getattr(neutral, n)}
        )

    def log_strength(self, share: float) -> float:
        """Bias on the logits of its keys at this share of the schedule: log of the strength times the
        window's factor. It is minus infinity where the reference does not act."""
        strength = self.strength * self.steps.factor(share)
        return math.log(strength) if strength > 0 else -math.inf

    def log_focus(self, share: float) -> float:
        """Largest bias on the logits of its keys by focus at this share of the schedule: 0 before its
        start."""
        return math.log(self.focus) if share >= self.focus_start else 0.0
