"""Where references sit behind the video's tokens. Plain Python values, hashable: hosts batch what has equal layouts."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from .controls import Controls, StepWindow
from .recipes import Recipe


@dataclass(frozen=True)
class Stream:
    """One reference: its token grid, how many of the tokens its mask keeps, and what a user asks of it."""

    rows: int
    columns: int
    kept: int
    controls: Controls = field(default_factory=Controls)

    @property
    def tokens(self) -> int:
        """Tokens before removal."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Layout:
    """The recipe and the references of one condition, in the order of their tokens."""

    recipe: Recipe
    streams: tuple[Stream, ...]

    @property
    def kept(self) -> int:
        """Reference tokens in the sequence."""
        return sum(stream.kept for stream in self.streams)

    @property
    def timed(self) -> bool:
        """True where a step window makes evaluations differ."""
        return any(stream.controls.steps != StepWindow() for stream in self.streams)

    def columns(self, streams: Iterable[int]) -> list[int]:
        """Places of these references' tokens among all that are kept."""
        ends = list(accumulate(stream.kept for stream in self.streams))
        return [
            place for index in streams for place in range(ends[index] - self.streams[index].kept, ends[index])
        ]

    def seen_by(self, index: int) -> frozenset[int]:
        """Segments that the tokens of reference `index` see: 0 the video, k + 1 reference k."""
        sees = [stream.controls.sees for stream in self.streams]
        others = {k + 1 for k, other in enumerate(sees) if sees[index] == other == "all"}
        video = set() if sees[index] == "itself" else {0}
        return frozenset(video | others | {index + 1})
