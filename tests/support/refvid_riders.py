"""Conditions of the plain host from their parts, and what else tests ask of a run, by one name each."""

from typing import TypeVar

import torch
from torch import Tensor

from refvid.backbones.base import Tail
from refvid.core.frames import GivenFrames
from refvid.core.guidance import CONDITIONED
from refvid.hosts.plain.evaluation import Evaluation, Rider, Text
from refvid.hosts.plain.frames import FramesRider, encode_frames
from refvid.hosts.plain.identities import PeopleRider, Person, encode_identity
from refvid.hosts.plain.pipeline import grey_padding
from refvid.hosts.plain.references import (
    ReferencesRider,
    arrange_references,
    encode_pictures,
    encode_references,
    references_in_rows,
)
from refvid.hosts.plain.sampling import Condition, evaluate_pass, guided_velocity, run_steps, velocity
from refvid.hosts.plain.source import SourceRider
from refvid.hosts.plain.tail import Schedule
from refvid.hosts.plain.tail import tail as tail_of

RiderT = TypeVar("RiderT", bound=Rider)
__all__ = [
    "Condition",
    "FramesRider",
    "PeopleRider",
    "Person",
    "ReferencesRider",
    "SourceRider",
    "Text",
    "arrange_references",
    "condition",
    "encode_frames",
    "encode_identity",
    "encode_pictures",
    "encode_references",
    "evaluate_pass",
    "grey_padding",
    "guided_velocity",
    "references_in_rows",
    "rider",
    "run_steps",
    "said",
    "tail",
    "velocity",
    "with_riders",
]


def condition(
    texts: dict[str, Tensor],
    references: ReferencesRider | None = None,
    padding: Tensor | None = None,
    people: PeopleRider | None = None,
    frames: GivenFrames | FramesRider | None = None,
    source: SourceRider | None = None,
    **more,
) -> Condition:
    """Condition of a run: states of texts without a bias, and the riders that there are."""
    frames = FramesRider(frames) if isinstance(frames, GivenFrames) else frames
    riders = tuple(one for one in (references, people, frames, source) if one is not None)
    return Condition(said(texts), riders, padding, **more)


def said(texts: dict[str, Tensor]) -> dict[str, Text]:
    """States of texts, none of whose keys is weighed."""
    return {name: Text(states) for name, states in texts.items()}


def rider(condition: Condition, kind: type[RiderT]) -> RiderT | None:
    """The one of a kind that a condition has."""
    return next((one for one in condition.riders if isinstance(one, kind)), None)


def with_riders(condition: Condition, *riders) -> Condition:
    """Condition with these, in place of those of their kinds."""
    kinds = {type(rider) for rider in riders}
    kept = tuple(rider for rider in condition.riders if type(rider) not in kinds)
    return Condition(**{**vars(condition), "riders": (*kept, *riders)})


def tail(
    dit,
    references: ReferencesRider | None,
    latent: Tensor,
    sigma: float = 1.0,
    source: SourceRider | None = None,
) -> Tail | None:
    """Tail behind a video's latent at a noise level, of which `source`'s semantic tokens are the last
    frames."""
    riders = [one for one in (references, source) if one is not None]
    frames = latent.shape[2] - sum(one.spare(tuple(latent.shape)) for one in riders)
    level = torch.tensor(sigma, device=latent.device)
    evaluation = Evaluation(dit, CONDITIONED, latent, latent[:, :, :frames].to(dit.dtype), level, level)
    for rider in riders:
        evaluation = rider.now(evaluation)
    return tail_of(evaluation, Schedule(1.0, "auto"))
