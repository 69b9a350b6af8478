"""What a node gives in two halves, a patched model and conditioning, belongs together: a mark on the model says what was put there, and a
half without the other is refused by name where we build or run a guider, and said in the log where core's samplers run it."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from . import conditioning as keys
from .beside import KEY

logger = logging.getLogger(__name__)
MARK = "refvid_halves"  # a model's attachment: the names of the features that were put on it
LORA = "refvid_adapter"  # a model's attachment: the fingerprint of the adapter whose LoRA it carries

Sides = Mapping[str, Sequence[dict[str, Any]]]  # conditions of a run, by the side that they stand on


@dataclass(frozen=True)
class Feature:
    """What travels in two halves: its name, what a condition that carries it has, the nodes that give both, and whether these take
    Wan 2.2's second expert."""

    name: str
    key: str
    nodes: str
    experts: bool = True

    def carried(self, conditions: Sequence[dict[str, Any]]) -> bool:
        """True where one of the conditions carries it: areas and combinations may leave others without."""
        return any(_there(options.get(self.key)) for options in conditions)


REFERENCES = Feature("references", keys.LATENTS, "Apply References")
IDENTITIES = Feature("identities", keys.IDENTITIES, "Apply Identity")
FRAMES = Feature("replaced frames", keys.FRAMES, "Replace Frames or Between Key Frames")
SOURCE = Feature("source video", keys.SOURCE, "Instruction Edit", experts=False)
FEATURES = (REFERENCES, IDENTITIES, FRAMES, SOURCE)


def marked(model: ModelPatcher, feature: Feature) -> ModelPatcher:
    """The model itself, on which this feature is from now on said to be."""
    model.set_attachments(MARK, model.attachments.get(MARK, frozenset()) | {feature.name})
    return model


def require_halves(model: ModelPatcher, sides: Sides, what: str = "") -> None:
    """ValueError where conditions carry what was not put on the model, or the model has what the positive ones do not carry;
    `what` names the input that holds both, as "guider: "."""
    for said in _apart(model, sides):
        raise ValueError(what + said)


def tell_halves(model: ModelPatcher, sides: Sides) -> None:
    """The same in the log, once for a run of core's samplers."""
    said = list(_apart(model, sides))
    if said:
        logger.warning("refvid: %s", "; and ".join(said))


def require_patched(model: ModelPatcher, feature: Feature, side: str) -> None:
    """ValueError where a model that is given conditions with this feature would run without it."""
    if not _takes(model, feature):
        raise ValueError(_unpatched(feature, [side]))


def _apart(model: ModelPatcher, sides: Sides) -> Iterator[str]:
    """What is wrong, in words."""
    for feature in FEATURES:
        there = [side for side, conditions in sides.items() if feature.carried(conditions)]
        if there and not _takes(model, feature):
            yield _unpatched(feature, there)
    # Others may be null passes, or carry nobody.
    meant = ["positive"] if "positive" in sides else [side for side in sides if "negative" not in side]
    for feature in FEATURES:
        put = feature.name in model.attachments.get(MARK, ())
        if put and meant and not any(feature.carried(sides[side]) for side in meant):
            yield (
                f"no {feature.name} in {' or '.join(meant)}, but the model went through {feature.nodes}: connect the positive "
                "conditioning that node gives back too, or the model from before it"
            )
    yield from _other_adapter(model, sides)


def _takes(model: ModelPatcher, feature: Feature) -> bool:
    """Whether what conditions carry would act. Any of our nodes lets the model read all that conditions carry; identities need their
    adapter's LoRA too."""
    hooked = bool(model.wrappers.get(WrappersMP.DIFFUSION_MODEL, {}).get(KEY))
    return hooked and (feature is not IDENTITIES or model.attachments.get(LORA) is not None)


def _unpatched(feature: Feature, sides: list[str]) -> str:
    second = (
        "; Wan 2.2's second expert goes into its low_noise_model, and comes out there"
        if feature.experts
        else ""
    )
    return (
        f"model did not go through {feature.nodes}, whose {feature.name} came in {' and '.join(sides)}, and would run without: connect the "
        f"model that node gives back{second}"
    )


def _other_adapter(model: ModelPatcher, sides: Sides) -> Iterator[str]:
    present = model.attachments.get(LORA)
    for side, conditions in sides.items():
        read = {options[keys.ADAPTER] for options in conditions if keys.ADAPTER in options} - {present}
        if present is not None and read:
            yield (
                f"model carries the LoRA of adapter {present}, {side} identities of adapter {', '.join(sorted(read))}: connect the model "
                "and the conditioning of one Apply Identity"
            )


def _there(value: Any) -> bool:
    return value is not None and (not isinstance(value, list) or bool(value))
