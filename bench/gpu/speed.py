"""The part `speed`: attention calls and whole steps at Wan's sizes, this pack's kernel against everything
else that masks attention. What is not within its error of float64 gets no speed."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial

import torch
from torch import Tensor

from refvid.kernels.segments import visits

from .contenders import CONTENDERS, GRADIENT_ERROR, OURS, THIS, Attend, Contender, error, given
from .device import Device
from .scenes import KINDS, REAL, TINY, Scene, Sizes, name_of
from .sheet import Case, told
from .steps import STEPS, compare_steps

# What third parties raise where a device, a shape or a size is not theirs; out of memory among it.
REFUSALS = (RuntimeError, ValueError, AssertionError, NotImplementedError)
FORWARD, BOTH = "forward", "forward and backward"
SHOWN = ("a strength each", "a region each", "masked-out tokens hidden")


@dataclass(frozen=True)
class Call:
    """An attention call: what is seen, heads and their size, whether with gradients; errors, ours against
    float64, once it is known."""

    make: Callable[[], Scene]
    heads: int
    size: int
    backward: bool
    errors: list[float] = field(default_factory=list)


def speed(device: Device) -> list[Case]:
    """Cases in order of value: the largest model first, then its steps, gradients and the smaller model.
    Other numbers of references and larger videos come last."""
    sizes = TINY if device.dry else REAL
    smallest, *larger = sizes.grids
    cases: list[Case] = []
    for model in sizes.models:
        usual = partial(_calls, device, sizes, smallest, model, sizes.usual)
        cases += [case for kind in (*SHOWN, "block-causal in time") for case in usual(kind, FORWARD)]
        cases += _steps(device, sizes, smallest, model)
        cases += [case for kind in (*SHOWN, "block-causal in time") for case in usual(kind, BOTH)]
    several = [(smallest, count) for count in sizes.others] + [(size, sizes.usual) for size in larger]
    for size, count in several:
        for model in sizes.models:
            for kind in SHOWN:
                cases += _calls(device, sizes, size, model, count, kind, FORWARD)
    return cases


def _calls(
    device: Device, sizes: Sizes, size: str, model: str, count: int, kind: str, mode: str
) -> list[Case]:
    # A scene says by itself who can take part in it: a tiny one of the same kind is asked.
    small = KINDS[kind](device, TINY.grids["480p"], count)
    name = f"{name_of(size, model, count, kind)}, {mode}"
    config = sizes.models[model]

    call = Call(
        lambda: KINDS[kind](device, sizes.grids[size], count),
        config.heads,
        config.width // config.heads,
        mode == BOTH,
    )
    return [
        Case(f"{name}: {one.name} / {OURS}", partial(compare, device, call, one))
        for one in CONTENDERS
        if one.of(small) and (one.gradients or mode == FORWARD)
    ]


def _steps(device: Device, sizes: Sizes, size: str, model: str) -> list[Case]:
    return [
        Case(
            f"{name_of(size, model, sizes.usual, kind)}, a step: {other} / {OURS}",
            partial(compare_steps, device, sizes.models[model], sizes.grids[size], sizes.usual, kind),
        )
        for kind, other in STEPS.items()
    ]


def compare(device: Device, call: Call, contender: Contender) -> dict:
    """Contender beside ours: the error of both, times, peak memory in MiB. left_out, why it got no speed."""
    backward = call.backward
    reason = contender.why_not(device.dry, backward)
    if reason is not None:
        return {"left_out": reason}
    device.settle()
    scene = call.make()
    values = [device.normal(1, call.heads, scene.length, call.size, seed=seed) for seed in range(3)]
    mine = THIS.make(scene)
    if not call.errors:
        call.errors.append(error(THIS, mine, scene, values, backward))
    off = call.errors[0]
    found: dict = {"tokens": scene.length, "ours_error": off}
    if not off <= (GRADIENT_ERROR if backward else THIS.error):
        return {**found, "failed": f"ours is off by {off:.1e}: no speed is measured on that"}
    try:
        # In a dry run nothing refuses: an exception is an error of ours.
        other = contender.make(scene)
        found["error"] = error(contender, other, scene, values, backward)
        if not found["error"] <= (GRADIENT_ERROR if backward else contender.error):
            return {**found, "left_out": f"it is off by {found['error']:.1e}"}
        runs = [
            _run(attend, given(one, scene, values), backward)
            for one, attend in ((contender, other), (THIS, mine))
        ]
        found["peak"] = [device.peak(run) for run in runs]
        found["ratio"] = asdict(device.pair(*runs))
    except REFUSALS as refused:
        # Where the device is broken by it, the cases after this one need a new process.
        if device.dry or device.broken():
            raise
        return {**found, "left_out": told(refused)}
    if not backward:
        found["tflops"] = _work(scene, call.heads, call.size) / found["ratio"]["other_milliseconds"] / 1e9
    return found


def _run(attend: Attend, values: list[Tensor], backward: bool) -> Callable[[], object]:
    if not backward:
        return lambda: attend(*values)
    trained = [value.detach().requires_grad_() for value in values]
    pull = torch.ones_like(values[0])
    return lambda: torch.autograd.grad(attend(*trained), trained, pull)


def _work(scene: Scene, heads: int, size: int) -> float:
    """Operations of a forward pass over the pairs of blocks of 64 that see each other at all."""
    blocks = int(visits(scene.segments, 64, 64)[..., :2].sum())
    return 4.0 * blocks * 64 * 64 * heads * size
