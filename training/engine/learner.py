"""Learner: what a run changes, as tensors and back: a module, its optimiser, and its average."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Generator, Tensor, nn

from ...core.header import shown
from .average import Average
from .flat import JsonValue, flatten, rebuild

_FIELDS = {  # what Muon and Adam keep of a parameter that has had a gradient
    "muon": ("momentum_buffer",),
    "adam": ("step", "exp_avg", "exp_avg_sq"),
}


class Steps(Protocol):
    """Optimiser of a module, of one torch optimiser or several."""

    parameters: list[nn.Parameter]

    @property
    def inner(self) -> Mapping[str, torch.optim.Optimizer]:
        """Optimisers of torch, by a name without dots."""
        ...

    def step(self, module: nn.Module, factor: float) -> float:
        """Take the gradients in, clipped, and clear them; `factor` scales the rate. -> their norm before.
        Nothing moves where that is not finite."""
        ...


@dataclass(frozen=True)
class Learner:
    """A module that learns, the optimiser that moves it, and the average of its weights."""

    module: nn.Module
    optimiser: Steps
    average: Average

    def packed(self, generator: Generator) -> tuple[dict[str, Tensor], dict[str, JsonValue]]:
        """Everything a run needs to go on exactly where it stopped: tensors of their own on the CPU, and the
        layout of every optimiser. ValueError for an optimiser whose state cannot be saved."""
        tensors = self._weights() | {"generator": generator.get_state()}
        layouts = {name: _packed(inner, name, tensors) for name, inner in self.optimiser.inner.items()}
        held = {key: value.detach().to("cpu", copy=True) for key, value in tensors.items()}
        return {key: value.contiguous() for key, value in held.items()}, layouts

    def restore(
        self,
        tensors: Mapping[str, Tensor],
        layouts: Mapping[str, JsonValue] | None,
        generator: Generator | None = None,
        what: str = "state",
    ) -> None:
        """Take back what `packed` gave; a state of 0.1.0 has no layouts. Without a generator its state is
        left alone. ValueError, and nothing is changed, where they are not whole or are another module's;
        `what` names them."""
        states = self.require(tensors, layouts, generator, what)
        with torch.no_grad():  # in place: Muon's matrices share this storage
            for key, value in self.module.state_dict().items():
                value.copy_(tensors[f"module.{key}"])
        averaged = {key: tensors[f"average.{key}"] for key in self.average.model.state_dict()}
        self.average.model.load_state_dict(averaged)
        for name, inner in self.optimiser.inner.items():
            _load(inner, states[name])
        if generator is not None:
            generator.set_state(tensors["generator"])

    def require(
        self,
        tensors: Mapping[str, Tensor],
        layouts: Mapping[str, JsonValue] | None,
        generator: Generator | None,
        what: str,
    ) -> dict[str, dict[str, Any]]:
        """States of the optimisers, as torch loads them. ValueError where a state's tensors are not all there
        or are another run's; `what` names them. Shapes and types alone are looked at."""
        needed = self._weights()
        if generator is not None:  # a GPU's state has another size
            needed["generator"] = generator.get_state()
        for key, wanted in needed.items():
            _require(tensors, key, wanted, what)
        if layouts is None:
            layouts = self._layouts_of_old(tensors)
        used, states = {*needed, "generator"}, {}
        for name, inner in self.optimiser.inner.items():
            try:
                states[name] = _unpacked(inner, name, layouts, tensors, used)
            except ValueError as error:
                raise ValueError(f"{what} {error}") from error
            except RecursionError as error:
                raise ValueError(f"{what} nests the state of {name} too deep") from error
        odd = sorted(tensors.keys() - used)
        if odd:
            raise ValueError(
                f"{what} has {shown(odd[0])}, which this run has not; needed the state of this run"
            )
        return states

    def _weights(self) -> dict[str, Tensor]:
        weights = {f"module.{key}": value for key, value in self.module.state_dict().items()}
        return weights | {f"average.{key}": value for key, value in self.average.model.state_dict().items()}

    def _layouts_of_old(self, tensors: Mapping[str, Tensor]) -> dict[str, JsonValue]:
        """Layouts of a state that was written before states had them: Muon's and Adam's."""
        layouts = {}
        for name, inner in self.optimiser.inner.items():
            state: dict[int, dict[str, Tensor]] = {}
            parameters = chain.from_iterable(group["params"] for group in inner.param_groups)
            for index, parameter in enumerate(parameters):
                fields = _FIELDS.get(name, ())
                if any(f"{name}.{index}.{field}" in tensors for field in fields):  # it has had a gradient
                    # Moments have the shape of their parameter; Adam counts its steps in a number.
                    state[index] = {
                        field: torch.ones(()) if field == "step" else parameter for field in fields
                    }
            layouts[name] = {
                "state": flatten(state, name, {}),
                "groups": _packed(inner, name, {})["groups"],
            }
        return layouts


def _require(tensors: Mapping[str, Tensor], key: str, wanted: Tensor, what: str) -> None:
    """ValueError where a tensor is not there, or of another shape or type than is wanted."""
    if key not in tensors:
        raise ValueError(f"{what} has no {key}; needed the whole state of this run")
    came = tensors[key]
    if came.shape != wanted.shape:
        raise ValueError(f"{what} has a {key} of {list(came.shape)}; this run's is {list(wanted.shape)}")
    if came.dtype != wanted.dtype and not (came.is_floating_point() and wanted.is_floating_point()):
        raise ValueError(f"{what} has a {key} of {came.dtype}; this run's is {wanted.dtype}")


def _packed(inner: torch.optim.Optimizer, name: str, tensors: dict[str, Tensor]) -> JsonValue:
    """JsonValue of an optimiser's state and groups; its tensors are put into `tensors`."""
    held = inner.state_dict()
    return {
        "state": flatten(held["state"], name, tensors),
        "groups": flatten(held["param_groups"], f"{name}.groups", tensors),
    }


def _unpacked(
    inner: torch.optim.Optimizer,
    name: str,
    layouts: Mapping[str, JsonValue],
    tensors: Mapping[str, Tensor],
    used: set[str],
) -> dict[str, Any]:
    """State of an optimiser, as torch loads it. ValueError where it is not whole, or another optimiser's."""
    layout = layouts.get(name)
    if not isinstance(layout, dict) or layout.keys() != {"state", "groups"}:
        raise ValueError(f"does not say the state of {name}; needed the state of this run")
    state = rebuild(layout["state"], name, tensors, used)
    groups = rebuild(layout["groups"], f"{name}.groups", tensors, used)
    ours = inner.state_dict()["param_groups"]
    known = {index for group in ours for index in group["params"]}
    if not isinstance(state, dict) or not all(isinstance(one, dict) for one in state.values()):
        raise ValueError(f"has a state of {name} that is no table; needed the state of this run")
    if odd := [index for index in state if isinstance(index, int) and index not in known]:
        raise ValueError(f"has {name}.{odd[0]}, which this run has not; needed the state of this run")
    if not isinstance(groups, list) or not _alike(groups, ours):
        raise ValueError(f"has other groups of {name} than this run; needed the state of this run")
    return {"state": state, "param_groups": groups}


def _alike(groups: list[Any], ours: list[dict[str, Any]]) -> bool:
    """True where groups hold the same parameters, and everything that ours hold."""
    return len(groups) == len(ours) and all(
        isinstance(one, dict) and one.get("params") == our["params"] and our.keys() <= one.keys()
        for one, our in zip(groups, ours, strict=True)
    )


def _load(inner: torch.optim.Optimizer, held: dict[str, Any]) -> None:
    """Load an optimiser's state bit for bit. Torch chooses the device of each tensor; types stay as they were
    saved, which torch would change to the parameter's."""
    inner.load_state_dict(held)
    parameters = list(chain.from_iterable(group["params"] for group in inner.param_groups))
    for index, saved in held["state"].items():
        key = parameters[index] if isinstance(index, int) else index
        inner.state[key] = _as_saved(saved, inner.state[key])


def _as_saved(saved: Any, loaded: Any) -> Any:
    if isinstance(saved, Tensor):
        return loaded if loaded.dtype == saved.dtype else saved.to(loaded.device)
    if isinstance(saved, dict):
        return {key: _as_saved(value, loaded[key]) for key, value in saved.items()}
    if isinstance(saved, list | tuple):
        return type(saved)(_as_saved(*pair) for pair in zip(saved, loaded, strict=True))
    return saved
