"""Stages of data work, a file each, in the order in which they follow one another."""

from ..stage import DataStage
from .caption import Caption
from .cut import Cut
from .encode import Encode
from .identities import Identities
from .scan import Scan
from .score import Score
from .subjects import Subjects

STAGES: tuple[DataStage, ...] = (Scan(), Cut(), Score(), Caption(), Subjects(), Identities(), Encode())


def stage_named(name: str) -> DataStage:
    """A stage by its name. ValueError where there is none."""
    for stage in STAGES:
        if stage.name == name:
            return stage
    raise ValueError(f"stage: {name} is not known; needed one of {', '.join(one.name for one in STAGES)}")
