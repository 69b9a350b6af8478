"""Where references sit behind the video's tokens. Plain Python values, hashable: hosts batch what has equal layouts."""

import math
from dataclasses import dataclass

from .recipes import Recipe


@dataclass(frozen=True)
class Stream:
    """One reference: its token grid, how many of the tokens its mask keeps, and its strength (1 untouched)."""

    rows: int
    columns: int
    kept: int
    strength: float = 1.0

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
    def neutral(self) -> bool:
        """True where no strength asks for a key bias: every attention kernel may be used untouched."""
        return all(stream.strength == 1 for stream in self.streams)

    def key_bias(self) -> list[float]:
        """log strength per kept token: added to a key's logits it scales its weight before normalisation (our choice;
        1 is untouched, the limit at 0 is removal)."""
        return [math.log(stream.strength) for stream in self.streams for _ in range(stream.kept)]
