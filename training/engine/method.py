"""Method as the engine sees it: what it learns, from which clips, by which losses; and a register by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from ...core.ranks import Ranks, join
from ...data.source import ClipSource
from .average import Average
from .learner import Learner, Steps
from .loop import Callback, Losses, Pace, Run, take_steps
from .models import Models
from .noise import Draws
from .state import RunFiles, RunState


@dataclass(frozen=True)
class Setting:
    """Setting of a run: where it works, and on what.

    source    where its clips come from
    folder    its states and results
    models    the frozen files of an adapter; None where everything is trained
    clips     encoded clips; None: `folder`. They are the same for every seed
    resume    go on from the state in the folder
    compiled  steps are made faster by torch.compile
    """

    source: ClipSource
    folder: Path
    models: Models | None = None
    clips: Path | None = None
    resume: bool = False
    device: str = "cpu"
    compiled: bool = False

    @property
    def encoded(self) -> Path:
        """The folder of encoded clips."""
        return self.clips or self.folder


class Method(Protocol):
    """Method of training. Types of its own (configuration, backbone, data, batch) are handed on as they are:

    config    a dataclass with at least `seed`, the one of a run
    backbone  what is there before anything learns: loaded models
    data      encoded clips, on the device
    """

    @property
    def name(self) -> str: ...

    @property
    def files(self) -> RunFiles: ...

    @property
    def warm(self) -> bool:
        """True where the average forgets its beginning faster (`Average`)."""
        ...

    def average(self, config: Any) -> float:
        """Decay of the average of the weights that is exported; 0: the last weights."""
        ...

    def made_by(self, config: Any, setting: Setting, ranks: Ranks) -> dict[str, Any]:
        """Everything that a run's result depends on, by name. ValueError where a file is missing."""
        ...

    def backbone(self, config: Any, setting: Setting) -> Any:
        """Loaded models, before anything learns."""
        ...

    def data(self, config: Any, backbone: Any, setting: Setting, ranks: Ranks) -> Any:
        """Encoded clips, made or read."""
        ...

    def trainee(self, config: Any, backbone: Any, data: Any) -> nn.Module:
        """Module that learns."""
        ...

    def optimiser(self, config: Any, trainee: Any, ranks: Ranks) -> Steps:
        """Optimiser of the trainee's parameters."""
        ...

    def compile(self, backbone: Any, trainee: Any) -> None:
        """Make steps faster by torch.compile."""
        ...

    def steps(self, config: Any) -> int: ...

    def rate(self, config: Any, step: int) -> float:
        """Factor of the optimiser's rate."""
        ...

    def seed(self, config: Any, draws: Draws, turn: int, ranks: Ranks) -> None:
        """Set the generators of a batch; `turn` is its number: step * accumulate + part."""
        ...

    def draw(self, config: Any, data: Any, draws: Draws, turn: int, ranks: Ranks) -> Any:
        """A batch, by its number. Everything random about it is drawn here."""
        ...

    def losses(self, config: Any, backbone: Any, trainee: Any, batch: Any) -> Losses:
        """Parts of a batch's loss by name, each with its weight."""
        ...

    def pace(self, config: Any) -> Pace:
        """Pace of a run: how often it steps, logs and saves."""
        ...

    def told(self, config: Any, batch: Any) -> str:
        """Size of a batch and the memory planned for it, for a message; empty: nothing is known."""
        ...

    def callbacks(
        self, config: Any, backbone: Any, data: Any, learner: Learner, setting: Setting
    ) -> Sequence[Callback]:
        """Reports of its own after every step; `learner.module` is the trainee."""
        ...

    def export(self, config: Any, backbone: Any, data: Any, averaged: Any, folder: Path) -> None:
        """Write the averaged module's files."""
        ...


class Usual:
    """Part of a `Method` that most leave as it is: one batch a step, and no reports of its own."""

    warm = False

    def pace(self, config: Any) -> Pace:
        """One batch a step; log and states by the clock."""
        return Pace()

    def told(self, config: Any, batch: Any) -> str:
        """Nothing is told of a batch's size."""
        return ""

    def callbacks(
        self, config: Any, backbone: Any, data: Any, learner: Learner, setting: Setting
    ) -> Sequence[Callback]:
        """No reports of its own."""
        return ()


MakePreview = Callable[[Any, Any], Callback]  # of a method's backbone and trainee
_METHODS: dict[str, Method] = {}


def register(method: Method) -> Method:
    """Make a method known by its name. -> the method. ValueError where the name is taken."""
    if method.name in _METHODS:
        raise ValueError(f"method: {method.name} is registered already; choose another name")
    _METHODS[method.name] = method
    return method


def method_named(name: str) -> Method:
    """A registered method. ValueError where there is none of this name."""
    if name not in _METHODS:
        raise ValueError(f"method: {name} is not known; needed one of {', '.join(sorted(_METHODS))}")
    return _METHODS[name]


def train(method: Method, config: Any, setting: Setting, previews: Sequence[MakePreview] = ()) -> nn.Module:
    """Train by a method, and leave its files in the folder. -> the averaged module. ValueError, before any
    work, as `RunState` and the method say."""
    ranks = join(setting.device)
    made_by = {**method.made_by(config, setting, ranks), "data": setting.source.name}
    state = RunState(method.files, setting.folder, made_by, setting.resume)
    torch.manual_seed(config.seed)
    backbone = method.backbone(config, setting)
    data = method.data(config, backbone, setting, ranks)
    torch.manual_seed(config.seed)  # again: making clips may have drawn
    trainee = method.trainee(config, backbone, data).to(setting.device)
    optimiser = method.optimiser(config, trainee, ranks)
    learner = Learner(trainee, optimiser, Average(trainee, method.average(config), method.warm))
    if setting.compiled:
        method.compile(backbone, trainee)

    run = Run(
        state, learner, method.steps(config), lambda step: method.rate(config, step),
        seed=lambda draws, turn: method.seed(config, draws, turn, ranks),
        draw=lambda draws, turn: method.draw(config, data, draws, turn, ranks),
        losses=lambda batch: method.losses(config, backbone, trainee, batch),
        ranks=ranks, pace=method.pace(config), told=lambda batch: method.told(config, batch),
    )  # fmt: skip
    reports = [preview(backbone, trainee) for preview in previews]
    if ranks.first:
        reports += method.callbacks(config, backbone, data, learner, setting)
    take_steps(run, setting.device, reports)
    averaged = learner.average.module
    if ranks.first:
        method.export(config, backbone, data, averaged, setting.folder)
    return averaged
