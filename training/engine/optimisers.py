"""Optimisers of a run file by name, AdamW, Muon or any of a module, and the rate over a run."""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import import_module
from typing import Any

import torch
from torch import nn

from .flat import flatten
from .learner import Steps
from .optimise import Optimiser, warm_hold_decay
from .run_file import LearningSettings

_GIVEN = ("params", "lr", "weight_decay", "fused", "foreach", "capturable")  # by the trainer, not by options


class OneOptimiser:
    """Optimiser of torch for everything of a module that learns, with clipping."""

    def __init__(
        self, module: nn.Module, make: Callable[[list[nn.Parameter]], torch.optim.Optimizer], rate: float,
        clip: float,
    ):  # fmt: skip
        self.parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
        self.inner = {"optimizer": make(self.parameters)}
        self.rate, self.clip = rate, clip

    def step(self, module: nn.Module, factor: float) -> float:
        """Take the gradients in; `factor` scales the rate of this step. -> their norm before it is clipped;
        nothing moves where that is not finite."""
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.clip, foreach=True))
        if math.isfinite(norm):
            for group in self.inner["optimizer"].param_groups:
                group["lr"] = self.rate * factor
            self.inner["optimizer"].step()
        module.zero_grad(set_to_none=True)
        return norm


def optimiser_for(trainee: nn.Module, settings: LearningSettings) -> Steps:
    """Optimiser that a run file asks for. ValueError, naming the setting, for one that is not there and for
    options that it does not have."""
    if settings.optimizer == "muon":
        _require_known(settings, {})
        return Optimiser(
            trainee,
            lambda _, factor: factor.ndim == 2,
            settings.rate,
            weight_decay=settings.weight_decay,
            clip=settings.clip,
        )
    if settings.optimizer == "adamw":
        kind: type[torch.optim.Optimizer] = torch.optim.AdamW
        further: dict[str, Any] = {"fused": _can_be_fused(trainee)}
    else:
        kind, further = _class_named(settings.optimizer), {}
    known = dict(inspect.signature(kind).parameters)
    _require_known(settings, known)
    given = {**further, **settings.options, "lr": settings.rate, **_decay(settings, known)}
    try:
        return OneOptimiser(trainee, lambda ours: kind(ours, **given), settings.rate, settings.clip)
    except (TypeError, ValueError) as error:
        raise ValueError(f"train.optimizer {settings.optimizer}: {error}; change train.options") from error


def require_learning(settings: LearningSettings) -> None:
    """ValueError, naming the setting, for an optimizer, options, schedule or numbers that cannot train. It
    takes a step of a few numbers and looks at its state."""
    for name in ("rate", "clip"):
        if not 0 < getattr(settings, name) < math.inf:
            raise ValueError(f"train.{name} is {getattr(settings, name)}; needed a number above 0")
    for name, least in (("steps", 1), ("batch", 1), ("accumulate", 1), ("warmup", 0), ("weight_decay", 0)):
        if not getattr(settings, name) >= least:
            raise ValueError(f"train.{name} is {getattr(settings, name)}; needed {least} or more")
    if not 0 <= settings.ema < 1:
        raise ValueError(f"train.ema is {settings.ema}; needed 0 or more, and less than 1")
    if settings.schedule not in SCHEDULES:
        raise ValueError(f"train.schedule is {settings.schedule}; needed one of {', '.join(SCHEDULES)}")
    tried = nn.Linear(2, 3)
    optimiser = optimiser_for(tried, settings)
    tried(torch.ones(1, 2)).sum().backward()
    try:
        optimiser.step(tried, 1.0)
    except Exception as error:  # whatever another's code raises
        raise ValueError(f"train.optimizer {settings.optimizer} cannot take a step: {error}") from error
    for inner in optimiser.inner.values():
        flatten(inner.state_dict(), f"train.optimizer {settings.optimizer}", {})


def schedule_factor(settings: LearningSettings, step: int) -> float:
    """Factor of a step's rate, steps counted from 0: a linear warm-up, then the schedule."""
    return min(1.0, (step + 1) / max(settings.warmup, 1)) * SCHEDULES[settings.schedule](settings, step)


def learning_made_by(settings: LearningSettings) -> dict[str, Any]:
    """Settings that a run's result depends on, by name. The number of steps counts where the schedule depends
    on it: else a run may be told to take more."""
    found = asdict(settings)
    if settings.schedule == "constant":
        del found["steps"]
    return found


def _cosine(settings: LearningSettings, step: int) -> float:
    """Half a cosine from 1 at the end of the warm-up to 0 at the run's end."""
    progress = (step - settings.warmup) / max(settings.steps - settings.warmup, 1)
    return (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2


def _hold_decay(settings: LearningSettings, step: int) -> float:
    """Whole for half of the run, then down in a straight line."""
    return warm_hold_decay(step, settings.steps, warm=1)


SCHEDULES: dict[str, Callable[[LearningSettings, int], float]] = {
    "constant": lambda settings, step: 1.0,
    "cosine": _cosine,
    "hold-decay": _hold_decay,
}


def _can_be_fused(module: nn.Module) -> bool:
    return {parameter.device.type for parameter in module.parameters()} <= {"cpu", "cuda"}


def _class_named(name: str) -> type[torch.optim.Optimizer]:
    """Optimiser of torch by module.Class. ValueError where there is none."""
    module, _, kind = name.rpartition(".")
    if not module:
        raise ValueError(f"train.optimizer is {name}; needed adamw, muon, or module.Class")
    try:
        found = getattr(import_module(module), kind, None)
    except ImportError as error:
        raise ValueError(f"train.optimizer {name}: {module} cannot be imported ({error})") from error
    if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
        raise ValueError(f"train.optimizer {name}: {module} has no optimizer of torch called {kind}")
    return found


def _require_known(settings: LearningSettings, known: Mapping[str, inspect.Parameter]) -> None:
    """ValueError for an option that the optimizer does not have, or that is a setting of its own."""
    anything = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())
    ours = [name for name in known if name not in _GIVEN]
    for name in settings.options:
        if name in _GIVEN or not (anything or name in ours):
            raise ValueError(
                f"train.options.{name}: {settings.optimizer} takes no such option here; "
                f"it has {', '.join(ours) or 'none'}"
            )


def _decay(settings: LearningSettings, known: Mapping[str, inspect.Parameter]) -> dict[str, float]:
    """Weight decay, for an optimizer that has one. ValueError where it is asked of one that has not."""
    if "weight_decay" in known:
        return {"weight_decay": settings.weight_decay}
    if settings.weight_decay:
        raise ValueError(
            f"train.weight_decay is {settings.weight_decay}; {settings.optimizer} has none: set it to 0"
        )
    return {}
