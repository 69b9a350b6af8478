"""Nodes give in two halves, a patched model and conditioning; here is checked that both came.

A mark on the model says what was put there. A half without the other is refused by name where we build or run
a guider. Where core's samplers run it, the log says so.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from . import wire
from .evaluation import Options, Rider, kinds

logger = logging.getLogger(__name__)

Sides = Mapping[str, Sequence[Options]]  # conditions of a run, by the side that they stand on


def marked_with(model: ModelPatcher, kind: type[Rider]) -> ModelPatcher:
    """The model itself, marked as having a rider of this kind."""
    model.set_attachments(wire.HALVES, model.attachments.get(wire.HALVES, frozenset()) | {kind.name})
    return model


def require_halves(model: ModelPatcher, sides: Sides, what: str = "") -> None:
    """ValueError where one half came without the other: conditions carry what was not put on the model, or
    the positive ones lack what was. `what` names the input that holds both, as "guider: "."""
    for said in _apart(model, sides):
        raise ValueError(what + said)


def tell_halves(model: ModelPatcher, sides: Sides) -> None:
    """Log what `require_halves` would refuse, once for a run of core's samplers."""
    said = list(_apart(model, sides))
    if said:
        logger.warning("refvid: %s", "; and ".join(said))


def require_patched(model: ModelPatcher, kind: type[Rider], side: str) -> None:
    """ValueError where a model that is given conditions with this rider would run without it."""
    if not _takes(model, kind):
        raise ValueError(_unpatched(kind, [side]))


def _apart(model: ModelPatcher, sides: Sides) -> Iterator[str]:
    """Messages of what is wrong."""
    for kind in kinds():
        there = [side for side, conditions in sides.items() if _carried(kind, conditions)]
        if there and not _takes(model, kind):
            yield _unpatched(kind, there)
    # Others may be null passes, or carry nobody.
    meant = ["positive"] if "positive" in sides else [side for side in sides if "negative" not in side]
    for kind in kinds():
        put = kind.name in model.attachments.get(wire.HALVES, ())
        if put and meant and not any(_carried(kind, sides[side]) for side in meant):
            yield (
                f"no {kind.name} in {' or '.join(meant)}, but the model went through {kind.nodes}: connect "
                "the positive "
                "conditioning that node gives back too, or the model from before it"
            )
    for kind in kinds():
        yield from kind.unlike(model, sides)


def _carried(kind: type[Rider], conditions: Sequence[Options]) -> bool:
    """True where one of the conditions has it: areas and combinations may leave others without."""
    return any(kind.carried(options) for options in conditions)


def _takes(model: ModelPatcher, kind: type[Rider]) -> bool:
    """True where what conditions carry would act. Any of our nodes lets the model read all that conditions
    carry."""
    hooked = bool(model.wrappers.get(WrappersMP.DIFFUSION_MODEL, {}).get(wire.PACK))
    return hooked and kind.takes(model)


def _unpatched(kind: type[Rider], sides: list[str]) -> str:
    second = (
        "; Wan 2.2's second expert goes into its low_noise_model, and comes out there" if kind.experts else ""
    )
    return (
        f"model did not go through {kind.nodes}, whose {kind.name} came in {' and '.join(sides)}, and would "
        "run without: connect the "
        f"model that node gives back{second}"
    )
