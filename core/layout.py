"""Layout of references behind the video's tokens. Plain Python values, hashable: hosts batch what has equal
layouts."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Literal

from .controls import AS_RECIPE, Controls, StepWindow
from .geometry import Geometry
from .recipe import Placement, Recipe

Role = Literal["picture", "empty", "source", "semantic"]


@dataclass(frozen=True)
class Stream:
    """Stream of tokens behind the video: its token grid, how many of the tokens its mask keeps, and what a
    user asks of it. An empty place has no picture; a source video has frames; semantic tokens are a row."""

    rows: int
    columns: int
    kept: int
    controls: Controls = field(default_factory=Controls)
    frames: int = 1
    role: Role = "picture"

    @property
    def tokens(self) -> int:
        """Tokens before removal."""
        return self.frames * self.rows * self.columns


def source_streams(recipe: Recipe, frames: int, rows: int, columns: int) -> tuple[Stream, ...]:
    """Streams that an edit puts behind the pictures: a source video of so many tokens, and the recipe's
    semantic tokens."""
    source = Stream(rows, columns, frames * rows * columns, frames=frames, role="source")
    count = recipe.semantic_tokens
    return (source, Stream(1, count, count, role="semantic")) if count else (source,)


@dataclass(frozen=True)
class Layout:
    """The recipe and the references of one condition, in the order of their tokens, on a backbone of this
    geometry."""

    recipe: Recipe
    streams: tuple[Stream, ...]
    geometry: Geometry

    @property
    def kept(self) -> int:
        """Reference tokens in the sequence."""
        return sum(stream.kept for stream in self.streams)

    def types(self) -> list[int]:
        """The row of the type embedding for every stream; empty where the recipe has none."""
        known = self.recipe.types
        if known is None:
            return []
        return [known.semantic if stream.role == "semantic" else known.clean for stream in self.streams]

    @property
    def constant(self) -> bool:
        """True where the reference is the same at every step: it has a timestep of its own and reads only
        itself."""
        alone = len(self.streams) == 1 and self.sees(0) == "itself"
        return alone and self.recipe.clock == "own"

    @property
    def timed(self) -> bool:
        """True where a step window, or the start of a focus, makes evaluations differ."""
        return any(
            one.steps != StepWindow() or (one.focus != 1 and one.focus_start > 0)
            for one in (stream.controls for stream in self.streams)
        )

    def columns(self, streams: Iterable[int]) -> list[int]:
        """Places of these references' tokens among all that are kept."""
        ends = list(accumulate(stream.kept for stream in self.streams))
        return [
            place for index in streams for place in range(ends[index] - self.streams[index].kept, ends[index])
        ]

    def sees(self, index: int) -> str:
        """Visibility of reference `index`: as it is asked for, else as its recipe has it."""
        asked = self.streams[index].controls.sees
        return self.recipe.sees if asked == AS_RECIPE else asked

    def placements(self, video: tuple[int, int, int]) -> list[Placement]:
        """Placements of all streams beside a video of (frames, rows, columns) tokens. A source video has the
        video's own place, semantic tokens none."""
        references = [stream.role in ("picture", "empty") for stream in self.streams]
        places, count = self.recipe.place, sum(references)
        return [
            places.of(index, count, video) if is_reference else Placement()
            for index, is_reference in enumerate(references)
        ]

    def seen_by(self, index: int) -> frozenset[int]:
        """Segments that the tokens of reference `index` see: 0 the video, k + 1 reference k."""
        sees = [self.sees(one) for one in range(len(self.streams))]
        others = {k + 1 for k, other in enumerate(sees) if sees[index] == other == "all"}
        video = set() if sees[index] == "itself" else {0}
        return frozenset(video | others | {index + 1})
