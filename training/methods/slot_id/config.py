"""Configuration of a run of Slot-ID (arXiv 2601.01352), of which no number is public [choice:
slot-training]."""

from collections.abc import Callable
from dataclasses import dataclass, field

from ....core.slots import SlotEncoder, SlotsConfig


@dataclass(frozen=True)
class Meeting:
    """Clips with one subject or a pair in each: how many, how many in a step; `frames` pictures, `stride`
    apart."""

    name: str
    people: int
    clips: int
    batch: int
    frames: int = 17
    stride: int = 6


@dataclass(frozen=True)
class SlotTraining:
    """Configuration of a run of Slot-ID: everything that it depends on.

    size           of clips, in pixels a side
    ..._dropout    chances of leaving out the identity, the text, or both: they exclude each other
    named_share    captions that name the subjects
    phrase_share   of pairs that are named: each is told by its name which it is
    slots_alone, anchor_alone  of all rows. Where both are read, the anchor alone decides the loss, and slots
                   learn nothing (docs/log.md)
    shift          above a noise level of 0.7 lies nearly all that an identity changes (docs/log.md)
    preview_every  steps
    encoder        what is trained; ablations have others
    """

    slots: SlotsConfig
    meetings: tuple[Meeting, ...]
    steps: int
    size: int
    rank: int = 32
    rate: float = 7e-3
    identity_dropout: float = 0.1
    text_dropout: float = 0.1
    both_dropout: float = 0.05
    named_share: float = 0.4
    phrase_share: float = 0.5
    slots_alone: float = 0.4
    anchor_alone: float = 0.1
    subject_weight: float = 3.0
    shift: float = 8.0
    preview_every: int = 500
    seed: int = 0
    encoder: Callable[[SlotsConfig, int], SlotEncoder] = field(default=SlotEncoder, repr=False)
