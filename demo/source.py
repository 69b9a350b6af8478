"""The demo world as a source of clips to learn from: `world:`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

import torch
from torch import Generator, Tensor

from ..data.source import PairedEdits
from . import captions, casting, edits, world

SCHEME = "world"


@dataclass(frozen=True)
class WorldFootage:
    """Toys in scenes, rendered where they are asked for. `said` (N, parts) bool: what captions tell of them
    where they name them."""

    cast: world.Cast
    said: Tensor

    @property
    def subjects(self) -> int:
        return len(self.cast)

    @property
    def length(self) -> int:
        return world.WORLD_LENGTH

    def film(
        self, size: int, frames: int, stride: int | None = None, start: int | Tensor = 0
    ) -> tuple[Tensor, Tensor]:
        """Film of the clips, as `data.source.Footage` has it."""
        times = frames if stride is None else world.moments(frames, stride, start)
        return world.render_cast(self.cast, times, size)

    def elsewhere(self, subject: int, size: int, frames: int, generator: Generator) -> tuple[Tensor, Tensor]:
        """Subject photographed in another place, on another background (`data.source.Footage`). A single
        picture is of its front, whatever it does in itself."""
        toys, scenes = self.cast[subject]
        shown = toys if frames > 1 else casting.steady(toys)
        return world.render(shown, casting.other_scenes(scenes, generator), frames, size)

    def captions(self, named: bool = False, stride: int | None = None) -> list[str]:
        """Captions of the clips, as `data.source.Footage` has them."""
        return captions.captions(self.cast, self.said if named else None, stride)

    def instructions(self) -> list[str]:
        """Instructions of the clips, as `data.source.Footage` has them."""
        return captions.instructions(self.cast)

    def names(self, subject: int) -> list[str]:
        """Names of a subject, as `data.source.Footage` has them."""
        return captions.names(*self.cast[subject], self.said)


@dataclass(frozen=True)
class WorldSource:
    """Demo world as a `data.source.ClipSource`, at a level of `casting.WORLD_LEVELS`."""

    level: str = casting.HARDEST

    @property
    def longest(self) -> Sequence[str]:
        return (captions.LONGEST_CAPTION,)

    @property
    def edit_kinds(self) -> Sequence[str]:
        return edits.EDIT_KINDS

    @property
    def most_subjects(self) -> int:
        return casting.WORLD_LEVELS[self.level].toys

    @property
    def name(self) -> str:
        """Name by its level and a few of its clips and edits: another world has others."""
        return _name(self.level)

    @property
    def vocabulary(self) -> Sequence[str]:
        return captions.vocabulary()

    def footage(
        self,
        count: int,
        generator: Generator,
        subjects: int = 1,
        moving: float | None = None,
        length: int = 1,
    ) -> WorldFootage:
        """Footage of toys, as `data.source.ClipSource` has it. ValueError for more subjects than the level
        has, and for clips longer than a scene."""
        if length > world.WORLD_LENGTH:
            raise ValueError(
                f"length is {length}; scenes of the demo world have {world.WORLD_LENGTH} pictures"
            )
        if not 1 <= subjects <= self.most_subjects:
            raise ValueError(f"subjects is {subjects}; {self.level} clips have at most {self.most_subjects}")
        share = casting.WORLD_LEVELS[self.level].moving if moving is None else moving
        cast = casting.sample_cast(count, generator, subjects == 2, share)
        return WorldFootage(cast, captions.told_by_chance(count, generator))

    def edits(self, kind: str, count: int, generator: Generator, frames: int, size: int) -> PairedEdits:
        """Paired edits of toys, as `data.source.ClipSource` has them."""
        share = casting.WORLD_LEVELS[self.level].moving
        found = edits.sample_edits(kind, count, generator, frames, size, share)
        return PairedEdits(found.source, found.target, found.region.float(), found.instructions)


def open_world(place: str) -> WorldSource:
    """The source at `world:LEVEL`, the hardest where none is said. ValueError lists the levels."""
    if place and place not in casting.WORLD_LEVELS:
        known = ", ".join(casting.WORLD_LEVELS)
        raise ValueError(f"--data: {SCHEME}:{place} is no level of the demo world; choose one of {known}")
    return WorldSource(place or casting.HARDEST)


@cache
def _name(level: str) -> str:
    """Digest of a few clips, their texts, photographs and edits."""
    source, draws = WorldSource(level), Generator().manual_seed(0)
    footage = source.footage(4, draws, subjects=source.most_subjects)
    pictures = [footage.film(24, 5, stride=6)[0], footage.elsewhere(0, 24, 5, draws)[0]]
    changed = [source.edits(kind, 1, draws, 5, 24) for kind in source.edit_kinds]
    pictures += [edit.target for edit in changed]
    seen = ((torch.cat(pictures) + 1) * 127.5).round().to(torch.uint8)
    said = [*footage.captions(named=True), *footage.names(0), *source.longest, *source.vocabulary]
    said += footage.instructions()
    said += [line for edit in changed for line in edit.instructions]
    digest = sha256(seen.numpy().tobytes() + "\n".join(said).encode()).hexdigest()
    return f"{SCHEME} {level} {digest[:16]}"
