"""Method of a few numbers, as a run file asks for it: two factors of a change to a frozen layer, several
batches a step, any optimizer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from refvid.training.engine.loop import Callback, Losses, Pace
from refvid.training.engine.method import Setting, Usual, train
from refvid.training.engine.noise import NoiseSettings
from refvid.training.engine.optimisers import learning_made_by, optimiser_for, schedule_factor
from refvid.training.engine.run_file import LearningSettings
from refvid.training.engine.state import RunFiles

FILES = RunFiles("small", ("small.safetensors",))
NEWEST = "small-run.safetensors"
RESULT = "small.safetensors"
BATCH = 3


@dataclass(frozen=True)
class SmallTraining:
    """Configuration: `learning` as in a run file, and states after every step."""

    learning: LearningSettings = field(
        default_factory=lambda: LearningSettings(
            steps=6, accumulate=2, warmup=2, rate=0.05, ema=0.5, schedule="constant"
        )
    )
    seed: int = 3
    save_seconds: float = 0.0


@dataclass(frozen=True)
class SmallBatch:
    turn: int
    given: Tensor
    noise: Tensor
    levels: Tensor


@dataclass
class SmallLora(Usual):
    """A `Method`. `change` may change losses of a batch, `reports` come after every step."""

    change: Callable[[SmallBatch, Losses], Losses] = lambda batch, losses: losses
    reports: Sequence[Callback] = ()
    name = "small"
    files = FILES

    def average(self, config: SmallTraining) -> float:
        return config.learning.ema

    def made_by(self, config, setting, ranks) -> dict[str, Any]:
        return {"train": learning_made_by(config.learning), "seed": config.seed}

    def backbone(self, config, setting) -> nn.Linear:
        return nn.Linear(4, 3).requires_grad_(False)

    def data(self, config, backbone, setting, ranks) -> None:
        return None

    def trainee(self, config, backbone, data) -> nn.Module:
        layers = nn.ModuleDict({"down": nn.Linear(4, 2, bias=False), "up": nn.Linear(2, 3, bias=False)})
        nn.init.zeros_(layers["up"].weight)  # type: ignore[arg-type]
        return layers

    def optimiser(self, config, trainee, ranks):
        return optimiser_for(trainee, config.learning)

    def compile(self, backbone, trainee) -> None:
        return None

    def steps(self, config) -> int:
        return config.learning.steps

    def rate(self, config, step) -> float:
        return schedule_factor(config.learning, step)

    def seed(self, config, draws, turn, ranks) -> None:
        draws.own.manual_seed(1000 * config.seed + turn)

    def draw(self, config, data, draws, turn, ranks) -> SmallBatch:
        given, noise = (torch.randn(BATCH, count, generator=draws.own) for count in (4, 3))
        return SmallBatch(turn, given, noise, NoiseSettings(shift=2.0).sample(BATCH, draws.own))

    def told(self, config, batch) -> str:
        return f"batch {batch.turn} of {BATCH} rows"

    def losses(self, config, backbone, trainee, batch) -> Losses:
        said = backbone(batch.given) + trainee["up"](trainee["down"](batch.given))
        each = (said.float() - batch.noise).square().mean(1)
        names = tuple(f"clip-{batch.turn}-{row}.mp4" for row in range(BATCH))
        return self.change(batch, Losses({"video": (1.0, each.mean())}, names, batch.levels, each))

    def pace(self, config) -> Pace:
        learning = config.learning
        return Pace(learning.accumulate, save_seconds=config.save_seconds, nonfinite=learning.nonfinite)

    def callbacks(self, config, backbone, data, learner, setting) -> Sequence[Callback]:
        return self.reports

    def export(self, config, backbone, data, averaged, folder) -> None:
        save_file(dict(averaged.state_dict()), folder / RESULT)


def train_small(
    folder: Path, config: SmallTraining | None = None, method: SmallLora | None = None, **how: Any
) -> nn.Module:
    """Train in the folder; -> the averaged factors."""
    source: Any = SimpleNamespace(name=how.pop("source", "numbers"))
    return train(method or SmallLora(), config or SmallTraining(), Setting(source, folder, **how))
