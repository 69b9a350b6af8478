"""Claims of the matrix of variants: what is said, what came out, how it is held, against what. And those of
controls, which are many."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from refvid_in_process import worst
from refvid_matrix_variants import FRAMES, Case, wrap_blocks

from refvid.core.controls import FrameWindow, StepWindow

SLOT = "optimized_attention_override"
Claim = tuple[str, Any, Callable[[Any, Any], bool], Any]


def same(got, wanted) -> bool:
    return torch.equal(got, wanted) if isinstance(got, torch.Tensor) else got == wanted


def close(got, wanted) -> bool:
    return worst(got, wanted) < 1e-4


def differs(got, wanted) -> bool:
    return worst(got, wanted) > 1e-3


# Each alone and all at once. Steps are at shares 0 and about 0.2 of the schedule here.
CONTROLS: dict[str, dict[str, Any]] = {
    "a region": {"region": True},
    "frames": {"frames": FrameWindow(5, 8)},
    "early steps": {"steps": StepWindow(0.0, 0.1)},
    "fading in": {"steps": StepWindow(0.0, 1.0, 0.9)},
    "apart": {"sees": "video"},
    "one way": {"sees": "itself"},
    "a soft mask": {"soft": True},
}
CONTROLS["all at once"] = {"strength": 0.7, **{k: v for one in CONTROLS.values() for k, v in one.items()}}


def controls(case: Case) -> list[Claim]:
    plain = case.applied(case.apply(1.0, 1.0))
    spelled = case.controlled(steps=StepWindow(0, 1), frames=FrameWindow(0, 4 * FRAMES - 4), sees="all")
    claims: list[Claim] = [("neutral ones", case.applied(case.apply_all(spelled)), same, plain)]
    for name, asked in CONTROLS.items():
        given = case.controlled(**asked)
        out = case.apply_all(given)
        got = case.applied(out)
        claims += [
            (name, got, differs_at_all, plain),
            (f"{name}, by eager", case.applied(case.apply_all(given, "eager")), close, got),
        ]
    return claims


def differs_at_all(got, wanted) -> bool:
    return worst(got, wanted) > 1e-4


class Beside(Protocol):
    """Feature that is given to a model and its conditioning, as the matrix looks at it: `apply` -> (model,
    *others), `sample` takes those."""

    case: Case

    def apply(self, **how) -> Any: ...
    def run(self, **how) -> torch.Tensor: ...
    def sample(self, model, *others) -> torch.Tensor: ...


def with_lora(one: Beside) -> list[Claim]:
    add, merged = one.case.low_rank("blocks.1.self_attn.v")
    whole, (model, *others) = one.run(model=merged), one.apply()
    return [
        ("a LoRA before", one.run(model=add(one.case.model)), close, whole),
        ("a LoRA after", one.sample(add(model), *others), close, whole),
        ("without it", one.run(), differs_at_all, whole),
    ]


def with_patches(one: Beside) -> list[Claim]:
    case, calls = one.case, []

    def watch(run, args):
        calls.append("block")
        return run(args)

    def override(kernel, *args, **kwargs):
        calls.append("attention")
        return kernel(*args, **kwargs)

    before, (after, *others) = case.model.clone(), one.apply()
    wanted = one.sample(after, *others)
    for model in (before, after):
        wrap_blocks(model, case.sizes.layers, watch)
        model.model_options["transformer_options"][SLOT] = override
    return [
        ("idle patches and an override before", one.run(model=before), same, wanted),
        ("and after", one.sample(after, *others), same, wanted),
        ("they were called", {"block", "attention"} <= set(calls), same, True),
    ]


def compiled(one: Beside) -> list[Claim]:
    torch._dynamo.reset()
    model, *others = one.apply()
    captured = model.clone()
    set_torch_compile_wrapper(captured, backend="eager", fullgraph=True)
    return [("captured whole", one.sample(captured, *others), close, one.sample(model, *others))]
