"""A source video as a rider: in the conditioning, at every evaluation, in every block."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....core.geometry import Geometry
from ....core.layout import Layout, source_streams
from ....core.recipe import Placement, Recipe
from ....core.recipes import recipe_named
from ....core.references import Arranged
from ....core.semantic import SemanticModules, as_frames, as_tokens
from .. import wire
from ..evaluation import (
    Embedded,
    Evaluation,
    Inside,
    Options,
    Rider,
    StreamsBehindVideo,
    recipe_carried,
)
from ..families import wan
from ..rounding import alike
from ..run import SamplerRun
from ..wire import Conditioning
from . import tokens
from .modules import modules_of, require_modules


@dataclass(frozen=True)
class AttachedSource:
    """A source video as a conditioning carries it; every pass keeps it.

    latent  (1, C, F, h, w), as the VAE made it
    recipe  its name
    """

    latent: Tensor
    recipe: str


@dataclass(frozen=True)
class Source(Rider):
    """A source video of one evaluation.

    latent   (B, C, F, h, w) as the model sees it, which ComfyUI slices with context windows
    recipe   by which it stands beside the video
    modules  that the recipe needs, once they are known
    """

    latent: Annotated[Tensor, wire.GRID]
    recipe: Annotated[Recipe, wire.CONSTANT]
    modules: Annotated[SemanticModules | None, wire.CONSTANT] = None

    attached = AttachedSource
    name = "source video"
    nodes = "Instruction Edit"
    experts = False
    guided = False
    unseen = (
        "positive carries a source video to edit, which is not shown here; inspect the references without "
        "Instruction Edit"
    )

    @classmethod
    def conds(cls, cond: Options, model: ModelPatcher, grid: tuple[int, ...]) -> "Source | None":
        """ValueError for a video latent of another size, and for a model without the recipe's modules."""
        given = wire.read(AttachedSource, cond)
        if given is None:
            return None
        source, recipe = given.latent, recipe_named(given.recipe)
        if tuple(source.shape[2:]) != tuple(grid):
            raise ValueError(
                f"latent has {grid[0]} frames of {grid[2]}x{grid[1]} cells, the source video "
                f"{source.shape[2]} of "
                f"{source.shape[4]}x{source.shape[3]}; connect the latent that Instruction Edit gave"
            )
        modules = require_modules(model, recipe)
        if modules is not None and ("area" in cond or "mask" in cond):
            raise ValueError(
                "the conditioning is set to an area or a mask, and semantic tokens belong to the whole "
                "video: leave that node out, or edit "
                "with the recipe in_context"
            )
        return cls(model.model.process_latent_in(source), recipe)

    @classmethod
    def check(cls, conditions: Sequence[Options]) -> None:
        """ValueError unless every pass keeps the same source."""
        carried = [wire.of_conds(cls, cond) for cond in conditions]
        first = next((one for one in carried if one is not None), None)
        if first is None:
            return
        if any(one is None or not alike(one.latent, first.latent) for one in carried):
            raise ValueError(
                "positive and negative do not carry the same source video; connect both from one Instruction "
                "Edit"
            )

    @classmethod
    def run(cls, sampler_run: SamplerRun, execute: Callable[[SamplerRun], Any]) -> Any:
        """Run all steps, with semantic tokens where the source's recipe has them."""
        carried = [one for cond in sampler_run.conditions if (one := wire.of_conds(cls, cond)) is not None]
        recipe = carried[0].recipe if carried else None
        modules = None if recipe is None else require_modules(sampler_run.guider.model_patcher, recipe)
        if recipe is None or modules is None:
            return execute(sampler_run)
        numbers = recipe.semantic_tokens * modules.config.features
        return tokens.run_with_spare(
            tokens.SpareFrames(numbers, sampler_run.video().shape[2]), sampler_run, execute
        )

    def spare(self, x: Tensor) -> int:
        return x.shape[2] - self.latent.shape[2]

    def count(self, geometry: Geometry) -> int:
        """Tokens of the source. The semantic ones are few, and not counted."""
        return geometry.count(*self.latent.shape[2:])

    def now(self, evaluation: Evaluation) -> Evaluation:
        patcher, video = evaluation.model.current_patcher, evaluation.video
        geometry = wan.geometry(patcher)
        streams = source_streams(self.recipe, *geometry.tokens(*video.shape[2:]))
        layout = Layout(self.recipe, streams, geometry)
        keep = torch.arange(layout.kept, device=video.device).expand(len(video), -1)
        modules = None if self.recipe.types is None else modules_of(patcher)
        left = evaluation.having(replace(self, modules=modules))
        return replace(left, behind=(*evaluation.behind, StreamsBehindVideo(Arranged(layout, keep, None))))

    def called(self, call: wan.ForwardCall) -> None:
        call.require_plain_sequence()

    def embed(self, inside: Inside) -> Embedded:
        _ = inside.layout  # refuses to run where it was not worked out
        source, turned = wan.embed(inside.module, inside.call, self.latent, Placement())
        if self.modules is None:
            return Embedded([source], [turned])
        count = self.recipe.semantic_tokens
        state = as_tokens(inside.spare, count, self.modules.config.features)
        semantic = self.modules.siglip_feat_mlp(state).to(inside.call.x.dtype)
        still = torch.zeros_like(turned[:, :1]).expand(-1, count, *turned.shape[2:])
        return Embedded([source, semantic], [turned, still], self.modules.types)

    def finish(self, out: Tensor, after: Tensor | None) -> Tensor:
        """The velocity of the video with that of the semantic tokens behind it, from their tokens after the
        last block."""
        if self.modules is None:
            return out
        if after is None:
            raise RuntimeError(
                "refvid: a cache left the model out of a step (EasyCache, for one), which semantic tokens "
                "need at every step. Put the cache on "
                "the model before Instruction Edit, so that it lies around it, or remove it"
            )
        said = self.modules.semantic_head(after[:, -self.recipe.semantic_tokens :])
        return torch.cat([out, as_frames(said, tuple(out.shape))], dim=2)


def attach(conditioning: Conditioning, source: Tensor, recipe: Recipe) -> Conditioning:
    """A copy that carries this source video. ValueError where it carries one already, or references for
    another recipe."""
    for _, options in conditioning:
        if Source.carried(options):
            raise ValueError(
                "source: the conditioning carries a source video already; edit one video at a time"
            )
        present = recipe_carried(options) or recipe.name
        if present != recipe.name:
            raise ValueError(
                f"recipe is {recipe.name}, but the conditioning carries references for {present}: use one "
                "recipe"
            )
    return wire.with_part(conditioning, AttachedSource(source, recipe.name))
