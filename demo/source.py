"""The demo world as a source of clips to learn from: `world:`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

import torch
from torch import Generator, Tensor

from ..data.source import PairedEdits
from . import captions, edits, world

SCHEME = "world"


@dataclass(frozen=True)
class WorldFootage:
    """Toys in scenes, rendered where they are asked for."""

    cast: world.Cast

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
        """Subject photographed in another place, on another background (`data.source.Footage`)."""
        toys, scenes = self.cast[subject]
        return world.render(toys, world.other_scenes(scenes, generator), frames, size)

    def captions(self, named: bool = False, stride: int | None = None) -> list[str]:
        """Captions of the clips, as `data.source.Footage` has them."""
        every = torch.ones(len(self.cast[0][1]), dtype=torch.bool)
        return captions.captions(self.cast, every if named else None, stride)

    def names(self, subject: int) -> list[str]:
        """Names of a subject, as `data.source.Footage` has them."""
        return captions.names(self.cast[subject][0])


class WorldSource:
    """Demo world as a `data.source.ClipSource`; it has no place to be found at."""

    longest = (captions.LONGEST_CAPTION,)
    most_subjects = 2
    edit_kinds: Sequence[str] = edits.EDIT_KINDS

    @property
    def name(self) -> str:
        """Name by a few of its clips and edits: another world has others."""
        return _name()

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
        """Footage of toys, as `data.source.ClipSource` has it. ValueError for more than two subjects, and for
        clips longer than a scene."""
        if length > world.WORLD_LENGTH:
            raise ValueError(
                f"length is {length}; scenes of the demo world have {world.WORLD_LENGTH} pictures"
            )
        if subjects not in (1, 2):
            raise ValueError(f"subjects is {subjects}; the demo world has clips of 1 or 2")
        share = {} if moving is None else {"dynamic_share": moving}
        return WorldFootage(world.sample_cast(count, generator, subjects == 2, **share))

    def edits(self, kind: str, count: int, generator: Generator, frames: int, size: int) -> PairedEdits:
        """Paired edits of toys, as `data.source.ClipSource` has them."""
        found = edits.sample_edits(kind, count, generator, frames, size)
        return PairedEdits(found.source, found.target, found.region.float(), found.instructions)


def open_world(place: str) -> WorldSource:
    """The source at `world:`. ValueError where a place is given."""
    if place:
        raise ValueError(f"--data: {SCHEME}:{place} has a place; the demo world is just {SCHEME}:")
    return WorldSource()


@cache
def _name() -> str:
    """Digest of a few clips and edits."""
    source, draws = WorldSource(), Generator().manual_seed(0)
    footage = source.footage(4, draws, subjects=2, moving=0.5)
    pictures = [footage.film(24, 5, stride=12)[0]]
    pictures += [source.edits(kind, 1, draws, 5, 24).target for kind in source.edit_kinds]
    seen = ((torch.cat(pictures) + 1) * 127.5).round().to(torch.uint8)
    said = "\n".join([*footage.captions(named=True), *source.longest, *source.vocabulary])
    return f"{SCHEME} {sha256(seen.numpy().tobytes() + said.encode()).hexdigest()[:16]}"
