"""Adapter: what methods share that add to a frozen backbone, as its files, seeds and rate."""

from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from ...core.ranks import Ranks
from ...hosts.plain.pipeline import Pipeline, load_pipeline
from .compile import compile_blocks
from .method import Setting, Usual
from .models import Models
from .noise import Draws
from .optimise import warm_hold_decay


class Adapter(Usual):
    """Half of a `Method` that is the same for every adapter. One process trains it."""

    dynamic: bool | None = True  # sizes in compiled blocks, as `compile_blocks` takes it

    def average(self, config: Any) -> float:
        """Decay of the average of the weights."""
        return 0.995

    def made_by(self, config: Any, setting: Setting, ranks: Ranks) -> dict[str, Any]:
        """Configuration, base, kind of device, and `besides`. ValueError for several processes."""
        if ranks.count > 1:
            raise ValueError(f"{ranks.count} processes were started; an adapter trains in one: run it alone")
        base = required_models(setting).digests()
        device = torch.device(setting.device).type
        return {"config": asdict(config), "base": base, "device": device, **self.besides()}

    def besides(self) -> dict[str, Any]:
        """Further things that a method's result depends on, by name."""
        return {}

    def backbone(self, config: Any, setting: Setting) -> Pipeline:
        """Frozen models, loaded. ValueError where the setting has none."""
        models = required_models(setting)
        return load_pipeline(models.dit, models.vae, models.text_encoder, device=setting.device)

    def compile(self, backbone: Pipeline, trainee: nn.Module) -> None:
        """Compile the blocks of the frozen DiT, with what is added to them."""
        compile_blocks(backbone.dit, self.dynamic)

    def steps(self, config: Any) -> int:
        """Steps of a run."""
        return config.steps

    def rate(self, config: Any, step: int) -> float:
        """Factor of a step's rate: warm, hold, decay."""
        return warm_hold_decay(step, self.steps(config))

    def seed(self, config: Any, draws: Draws, turn: int, ranks: Ranks) -> None:
        """Seed the generator by the run's seed and the number of the batch alone."""
        draws.own.manual_seed(config.seed * self.steps(config) + turn)


def required_models(setting: Setting) -> Models:
    """Frozen files of a setting. ValueError where none are given."""
    if setting.models is None:
        raise ValueError("models is None; an adapter needs the DiT, VAE and text encoder that it is for")
    return setting.models
