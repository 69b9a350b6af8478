"""A source of clips to learn from, by the requests that a method may make of it. Sources are found by the
scheme of an address, `world:` the demo world's; whoever has one registers it, and training imports none."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Generator, Tensor


class Footage(Protocol):
    """N clips that were drawn together, each of `length` pictures and with `subjects` subjects."""

    @property
    def subjects(self) -> int: ...

    @property
    def length(self) -> int: ...

    def film(
        self, size: int, frames: int, stride: int | None = None, start: int | Tensor = 0
    ) -> tuple[Tensor, Tensor]:
        """Pictures (N, 3, F, size, size) in [-1, 1] of the clips, and masks (N, S, F, size, size) of what is
        seen of each subject. There are `frames` of them, `stride` apart from picture `start`: a number, or
        one a clip (N,). Without a stride they are spread over the whole clip. ValueError past the clip's
        end."""
        ...

    def elsewhere(self, subject: int, size: int, frames: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Another clip of the same identity: pictures (N, 3, F, size, size) in [-1, 1] and its mask
        (N, 1, F, size, size)."""
        ...

    def captions(self, named: bool = False, stride: int | None = None) -> list[str]:
        """Captions of the N clips, a sentence each: subjects by a general word, or by their names; the stride
        in words where given."""
        ...

    def instructions(self) -> list[str]:
        """Instructions of edits that could have led to the N clips, a sentence each; none, where the source
        has no such texts."""
        ...

    def names(self, subject: int) -> list[str]:
        """Words by which the captions of the N clips call a subject."""
        ...


@dataclass(frozen=True)
class PairedEdits:
    """N clips before and after an edit: source and target (N, 3, F, H, W) in [-1, 1], and the instructions.
    Outside of the region (N, 1, F, H, W), of 0 and 1, source and target are the same."""

    source: Tensor
    target: Tensor
    region: Tensor
    instructions: list[str]


class ClipSource(Protocol):
    """Source of clips with captions and subject masks. What is drawn depends on the generator alone.

    name             tells its contents from those of every other source: encoded clips are kept by it
    vocabulary       every word of its texts
    longest          no caption has more tokens than one of these: texts are padded to them, so that parts of
                     clips can be joined
    most_subjects    of a clip
    edit_kinds       kinds of paired edits that it has; none, where it has no pairs
    """

    @property
    def name(self) -> str: ...

    @property
    def vocabulary(self) -> Sequence[str]: ...

    @property
    def longest(self) -> Sequence[str]: ...

    @property
    def most_subjects(self) -> int: ...

    @property
    def edit_kinds(self) -> Sequence[str]: ...

    def footage(
        self,
        count: int,
        generator: Generator,
        subjects: int = 1,
        moving: float | None = None,
        length: int = 1,
    ) -> Footage:
        """Clips that are drawn together, `count` of them, of so many subjects and `length` pictures or more.
        The share `moving` of the subjects changes in itself, not in place alone; None: as many as the source
        likes to show. ValueError where it has none such."""
        ...

    def edits(self, kind: str, count: int, generator: Generator, frames: int, size: int) -> PairedEdits:
        """Pairs of one kind, `count` of them, of so many pictures and pixels a side."""
        ...


Open = Callable[[str], ClipSource]  # opens the place behind a scheme
_SCHEMES: dict[str, Open] = {}


def register_source(scheme: str, open_: Open) -> None:
    """Make addresses `scheme:PLACE` known; `open_` is given the place. It takes the place of one before."""
    _SCHEMES[scheme] = open_


def open_source(address: str, what: str = "--data") -> ClipSource:
    """The source at `scheme:PLACE`. ValueError, naming `what`, where no such scheme is known."""
    scheme, _, place = address.partition(":")
    if scheme not in _SCHEMES:
        known = ", ".join(f"{one}:" for one in sorted(_SCHEMES)) or "none"
        raise ValueError(f"{what}: {address} is at no source known here; needed one that begins with {known}")
    return _SCHEMES[scheme](place)
