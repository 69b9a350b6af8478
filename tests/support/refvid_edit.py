"""SAMA's layout on tiny models, in both hosts."""

from dataclasses import dataclass
from pathlib import Path

import refvid_run as run
import refvid_tiny as tiny
import torch
from torch import Tensor

from refvid.core.recipes import recipe_named
from refvid.core.semantic import SemanticModules, semantic_config, semantic_state
from refvid.hosts.comfy import sidecar
from refvid.hosts.comfy.backbone import load_model, with_shift
from refvid.hosts.comfy.conditioning import attach_source, with_values
from refvid.hosts.plain import Condition
from refvid.hosts.plain_edit import Edit
from refvid.wan.loading import load_dit, load_vae

FRAMES, SIDE = 3, 8
SHIFT = 5.0


@dataclass
class Editor:
    """One file in SAMA's layout on both hosts, a source video's latent as the VAE makes it, and texts."""

    comfy: object
    dit: object
    modules: SemanticModules
    source: Tensor
    vae: object

    @classmethod
    def make(cls, folder: Path) -> "Editor":
        sizes = tiny.config()
        path = tiny.save_dit(folder, "sama.safetensors", sizes, tiny.sama_state(sizes))
        state = semantic_state(tiny.sama_state(sizes))
        modules = SemanticModules(semantic_config(state, "test"))
        modules.load_state_dict(state)
        plain = tiny.save_dit(folder, "plain.safetensors", sizes, tiny.dit_state(sizes))
        source = torch.randn(1, 16, FRAMES, SIDE, SIDE, generator=torch.Generator().manual_seed(6))
        model = with_shift(load_model(str(path), None), SHIFT)
        return cls(
            model, load_dit(plain)[0], modules.requires_grad_(False), source, run.load_vae(tiny.save_vae(folder))
        )

    def words(self, recipe: str = "sama", **values):
        """Positive and negative conditioning that carry the source."""
        made = (attach_source([[run.text(seed), {}]], self.source, recipe_named(recipe)) for seed in (1, 2))
        return [with_values(one, values) for one in made]

    def installed(self):
        return sidecar.install(self.comfy)

    def condition(self, recipe: str = "sama") -> Condition:
        """The same for the plain host."""
        seen = self.comfy.model.process_latent_in(self.source)
        texts = {"positive": run.text(1), "negative": run.text(2)}
        modules = self.modules if recipe == "sama" else None
        return Condition(texts, shift=SHIFT, edit=Edit(seen, recipe_named(recipe), modules))
