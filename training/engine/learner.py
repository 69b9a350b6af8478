"""Learner: what a run changes, as tensors and back: a module, its optimiser, and its average."""

from dataclasses import dataclass
from itertools import chain

import torch
from torch import Generator, Tensor, nn

from ...core.header import shown
from .average import Average
from .optimise import Optimiser

_FIELDS = {  # what either optimiser keeps of a parameter that has had a gradient
    "muon": ("momentum_buffer",),
    "adam": ("step", "exp_avg", "exp_avg_sq"),
}


@dataclass(frozen=True)
class Learner:
    """A module that learns, the optimiser that moves it, and the average of its weights."""

    module: nn.Module
    optimiser: Optimiser
    average: Average

    def tensors(self, generator: Generator) -> dict[str, Tensor]:
        """Everything a run needs to go on exactly where it stopped, in tensors of their own."""
        tensors = {f"module.{key}": value for key, value in self.module.state_dict().items()}
        tensors |= {f"average.{key}": value for key, value in self.average.model.state_dict().items()}
        for name, inner in self._optimisers().items():
            for index, state in inner.state_dict()["state"].items():
                tensors |= {f"{name}.{index}.{key}": value for key, value in state.items()}
        tensors["generator"] = generator.get_state()
        return {key: value.detach().clone().contiguous() for key, value in tensors.items()}

    def restore(
        self, tensors: dict[str, Tensor], generator: Generator | None = None, what: str = "state"
    ) -> None:
        """Take back what `tensors` gave. Without a generator its state is left alone. ValueError, and
        nothing is changed, where the tensors are not all there or are another module's; `what` names them."""
        self.require(tensors, generator, what)
        groups: dict[str, dict] = {"module": {}, "average": {}, "muon": {}, "adam": {}, "generator": {}}
        for key, value in tensors.items():
            name, _, rest = key.partition(".")
            groups[name][rest] = value
        with torch.no_grad():  # in place: Muon's matrices share this storage
            for key, value in self.module.state_dict().items():
                value.copy_(groups["module"][key])
        self.average.model.load_state_dict(groups["average"])
        for name, inner in self._optimisers().items():
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in groups[name].items():
                index, field = key.split(".")
                state.setdefault(int(index), {})[field] = value
            inner.load_state_dict({"state": state, "param_groups": inner.state_dict()["param_groups"]})
        if generator is not None:
            generator.set_state(tensors["generator"])

    def require(self, tensors: dict[str, Tensor], generator: Generator | None, what: str) -> None:
        """ValueError where a state's tensors are not all there or are another run's; `what` names them.
        Shapes and types alone are looked at."""
        needed, known = self._expected(tensors, generator)
        for key, wanted in needed.items():
            if key not in tensors:
                raise ValueError(f"{what} has no {key}; needed the whole state of this run")
            came = tensors[key]
            if came.shape != wanted.shape:
                raise ValueError(
                    f"{what} has a {key} of {list(came.shape)}; this run's is {list(wanted.shape)}"
                )
            if came.dtype != wanted.dtype and not (came.is_floating_point() and wanted.is_floating_point()):
                raise ValueError(f"{what} has a {key} of {came.dtype}; this run's is {wanted.dtype}")
        odd = sorted(tensors.keys() - known)
        if odd:
            raise ValueError(
                f"{what} has {shown(odd[0])}, which this run has not; needed the state of this run"
            )

    def _expected(
        self, tensors: dict[str, Tensor], generator: Generator | None
    ) -> tuple[dict[str, Tensor], set[str]]:
        """Tensors that have to be there, of the shapes and types needed, and names of all that may be."""
        needed = {f"module.{key}": value for key, value in self.module.state_dict().items()}
        needed |= {f"average.{key}": value for key, value in self.average.model.state_dict().items()}
        known = {*needed, "generator"}
        if generator is not None:  # a GPU's state has another size
            needed["generator"] = generator.get_state()
        for name, inner in self._optimisers().items():
            parameters = chain.from_iterable(group["params"] for group in inner.param_groups)
            for index, parameter in enumerate(parameters):
                # Moments have the shape of their parameter; Adam counts its steps in a number.
                fields = {f"{name}.{index}.{field}": parameter for field in _FIELDS[name]}
                fields = {
                    key: torch.ones(()) if key.endswith(".step") else value for key, value in fields.items()
                }
                known |= fields.keys()
                if fields.keys() & tensors.keys():  # a parameter without a gradient has none of them
                    needed |= fields
        return needed, known

    def _optimisers(self) -> dict[str, torch.optim.Optimizer]:
        return {"muon": self.optimiser.muon, "adam": self.optimiser.adam}
