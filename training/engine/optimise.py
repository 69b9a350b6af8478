"""Muon for matrices and convolution kernels, Adam for the rest, an average of the weights, and all of it as
tensors and back."""

from collections.abc import Callable
from itertools import chain

import torch
from torch import Generator, Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ...core.header import shown
from .parallel import ALONE, Ranks, share_out

FIELDS = {  # what either keeps of a parameter that has had a gradient
    "muon": ("momentum_buffer",),
    "adam": ("step", "exp_avg", "exp_avg_sq"),
}
GENTLE = 1 / 7  # of Muon's rate: 1e-3 at the 7e-3 of every run here (our choice)


class Optimiser:
    """One step of Muon and Adam together, with clipping and a moving average of the weights.

    `hidden(name, parameter)` says which parameters are matrices of the hidden layers (Muon, arXiv 2502.16982; a
    convolution kernel is the matrix of its outputs by all its inputs). Adam runs at `adam_share` of Muon's rate; what
    `gentle(name)` names is Adam's too, at GENTLE of Muon's rate.
    Several processes make matrices orthogonal in turns, which is most of a step; momentum is kept by all.
    """

    def __init__(
        self,
        module: nn.Module,
        hidden: Callable[[str, Tensor], bool],
        rate: float,
        adam_share: float = 1.0,
        average: float = 0.99,
        weight_decay: float = 0.0,
        ranks: Ranks = ALONE,
        gentle: Callable[[str], bool] = lambda name: False,
    ):
        if not hasattr(torch.optim, "Muon"):
            raise ValueError(
                f"training needs torch 2.9 or newer, which has torch.optim.Muon; this is {torch.__version__}"
            )
        named = list(module.named_parameters())
        self.parameters = [parameter for _, parameter in named]
        slow = [parameter for name, parameter in named if gentle(name)]
        self.kernels = [
            parameter for name, parameter in named if hidden(name, parameter) and not gentle(name)
        ]
        chosen = {id(parameter) for parameter in self.kernels + slow}
        rest = [parameter for parameter in self.parameters if id(parameter) not in chosen]
        # Muon takes matrices only: each kernel is seen through a flat view of the same storage.
        self.matrices = [nn.Parameter(kernel.detach().flatten(1)) for kernel in self.kernels]
        self.ranks = ranks
        groups = [{"params": [m], "mine": ranks.owns(i)} for i, m in enumerate(self.matrices)]
        self.muon = torch.optim.Muon(
            groups, lr=rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        for group in self.muon.param_groups:
            group["ns_steps"] *= group["mine"]
        shares = [{"params": rest, "share": adam_share}, {"params": slow, "share": GENTLE}]
        self.adam = torch.optim.Adam(shares, lr=rate, betas=(0.9, 0.98), foreach=True)
        self.rate = rate
        self.average = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(average))

    def step(self, module: nn.Module, factor: float, clip: float = 1.0) -> None:
        """Take the gradients in; `factor` scales the learning rate of this step."""
        nn.utils.clip_grad_norm_(self.parameters, clip, foreach=True)
        for matrix, kernel in zip(self.matrices, self.kernels, strict=True):
            matrix.grad = None if kernel.grad is None else kernel.grad.flatten(1)
        for optimiser in (self.muon, self.adam):
            for group in optimiser.param_groups:
                group["lr"] = self.rate * factor * group.get("mine", True) * group.get("share", 1.0)
            optimiser.step()
        share_out(self.matrices, self.ranks)
        module.zero_grad(set_to_none=True)
        self.average.update_parameters(module)


def warm_hold_decay(step: int, steps: int, warm: int = 60, hold: float = 0.5, floor: float = 0.01) -> float:
    """Learning-rate factor: linear warm-up, constant until `hold` of the run, linear decay to `floor`."""
    progress = step / steps
    decay = 1.0 if progress < hold else max(floor, (1 - progress) / (1 - hold))
    return min(1.0, (step + 1) / warm) * decay


def run_tensors(module: nn.Module, optimiser: Optimiser, generator: Generator) -> dict[str, Tensor]:
    """Everything a run needs to go on exactly where it stopped, in tensors of their own."""
    tensors = {f"module.{key}": value for key, value in module.state_dict().items()}
    tensors |= {f"average.{key}": value for key, value in optimiser.average.state_dict().items()}
    for name, inner in _inner(optimiser).items():
        for index, state in inner.state_dict()["state"].items():
            tensors |= {f"{name}.{index}.{key}": value for key, value in state.items()}
    tensors["generator"] = generator.get_state()
    return {key: value.detach().clone().contiguous() for key, value in tensors.items()}


def restore_run(
    tensors: dict[str, Tensor],
    module: nn.Module,
    optimiser: Optimiser,
    generator: Generator | None = None,
    what: str = "state",
) -> None:
    """Take back what `run_tensors` gave. Without a generator its state is left alone. ValueError, and nothing
    is changed, where the tensors are not all there or are another module's; `what` names them."""
    require_run(tensors, module, optimiser, generator, what)
    groups: dict[str, dict] = {"module": {}, "average": {}, "muon": {}, "adam": {}, "generator": {}}
    for key, value in tensors.items():
        name, _, rest = key.partition(".")
        groups[name][rest] = value
    with torch.no_grad():  # in place: Muon's matrices share this storage
        for key, value in module.state_dict().items():
            value.copy_(groups["module"][key])
    optimiser.average.load_state_dict(groups["average"])
    for name, inner in _inner(optimiser).items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in groups[name].items():
            index, field = key.split(".")
            state.setdefault(int(index), {})[field] = value
        inner.load_state_dict({"state": state, "param_groups": inner.state_dict()["param_groups"]})
    if generator is not None:
        generator.set_state(tensors["generator"])


def _inner(optimiser: Optimiser) -> dict[str, torch.optim.Optimizer]:
    return {"muon": optimiser.muon, "adam": optimiser.adam}


def require_run(
    tensors: dict[str, Tensor],
    module: nn.Module,
    optimiser: Optimiser,
    generator: Generator | None,
    what: str,
) -> None:
    """ValueError where a state's tensors, of which shapes and types alone are looked at, are not all there or are
    another run's; `what` names them."""
    needed = {f"module.{key}": value for key, value in module.state_dict().items()}
    needed |= {f"average.{key}": value for key, value in optimiser.average.state_dict().items()}
    if generator is not None:  # that of a GPU is another
        needed["generator"] = generator.get_state()
    known = needed.copy()
    if "generator" in tensors:
        known["generator"] = tensors["generator"]
    for name, inner in _inner(optimiser).items():
        parameters = chain.from_iterable(group["params"] for group in inner.param_groups)
        for index, parameter in enumerate(parameters):
            fields = {f"{name}.{index}.{field}": parameter for field in FIELDS[name]}
            fields = {
                key: torch.ones(()) if key.endswith(".step") else value for key, value in fields.items()
            }
            known |= fields
            if fields.keys() & tensors.keys():  # a parameter without a gradient has none of them
                needed |= fields
    for key, wanted in needed.items():
        if key not in tensors:
            raise ValueError(f"{what} has no {key}; needed the whole state of this run")
        came = tensors[key]
        if came.shape != wanted.shape:
            raise ValueError(f"{what} has a {key} of {list(came.shape)}; this run's is {list(wanted.shape)}")
        if came.dtype != wanted.dtype and not (came.is_floating_point() and wanted.is_floating_point()):
            raise ValueError(f"{what} has a {key} of {came.dtype}; this run's is {wanted.dtype}")
    odd = sorted(tensors.keys() - known.keys())
    if odd:
        raise ValueError(f"{what} has {shown(odd[0])}, which this run has not; needed the state of this run")
