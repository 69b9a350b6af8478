"""A source video beside the one that is made, while a run goes on (SAMA): in the conditioning, at every evaluation, in every block."""

from dataclasses import dataclass
from typing import Any

import comfy.conds
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.geometry import Geometry
from ...core.layout import Layout, source_streams
from ...core.reach import everywhere
from ...core.recipes import Recipe, recipe_named
from ...core.references import Arranged
from ...core.semantic import SemanticModules, as_frames, as_tokens
from . import conditioning as keys
from . import spare
from .semantic import modules_of

SOURCE, MODULES = "refvid_source", "refvid_modules"  # arguments of an evaluation


def source_conds(cond: dict[str, Any], model: ModelPatcher, grid: tuple[int, ...]) -> dict[str, Any]:
    """The source as the model sees it, (1, C, F, h, w), which ComfyUI slices with context windows. ValueError for a video latent of another
    size, and for a model without the recipe's modules."""
    if keys.SOURCE not in cond:
        return {}
    source, recipe = cond[keys.SOURCE], recipe_named(cond[keys.SOURCE_RECIPE])
    if tuple(source.shape[2:]) != tuple(grid):
        raise ValueError(
            f"latent has {grid[0]} frames of {grid[2]}x{grid[1]} cells, the source video {source.shape[2]} of "
            f"{source.shape[4]}x{source.shape[3]}; connect the latent that Instruction Edit gave"
        )
    modules = require_modules(model, recipe)
    if modules is not None and ("area" in cond or "mask" in cond):
        raise ValueError(
            "the conditioning is set to an area or a mask, and semantic tokens belong to the whole video: leave that node out, or edit "
            "with the recipe in_context"
        )
    return {SOURCE: comfy.conds.CONDNoiseShape(model.model.process_latent_in(source))}


def require_modules(model: ModelPatcher, recipe: Recipe) -> SemanticModules | None:
    """The modules that the recipe needs; None where it needs none. ValueError where they are missing."""
    if recipe.types is None:
        return None
    modules = modules_of(model)
    if modules is None:
        raise ValueError(
            f"model has no segment_embedding, siglip_feat_mlp and semantic_head, which the recipe {recipe.name} needs: load SAMA's file "
            "with Load Wan Backbone, put an editing adapter on the model, or choose in_context"
        )
    return modules


def require_one_source(conds: list[dict[str, Any]]) -> None:
    """ValueError where conditions of a run do not all carry the same source: every pass keeps it."""
    carried = [cond["model_conds"].get(SOURCE) for cond in conds]
    first = next((one for one in carried if one is not None), None)
    if first is not None and any(one is None or not torch.equal(one.cond, first.cond) for one in carried):
        raise ValueError(
            "positive and negative do not carry the same source video; connect both from one Instruction Edit"
        )


def sample(executor, conds: list[dict[str, Any]], given: spare.Given) -> Tensor:
    """The run, with semantic tokens where the source's recipe has them."""
    recipes = [recipe_named(cond[keys.SOURCE_RECIPE]) for cond in conds if keys.SOURCE in cond]
    modules = require_modules(executor.class_obj.model_patcher, recipes[0]) if recipes else None
    if modules is None:
        noise, latent = given.latents
        rest = (given.sampler, given.sigmas, given.mask, given.callback, *given.rest)
        return executor(noise, latent, *rest, **given.named)
    numbers = recipes[0].semantic_tokens * modules.config.features
    return spare.run(executor, spare.Spare(numbers, given.video().shape[2]), given)


def tokens(model_conds: dict[str, Any], geometry: Geometry) -> int:
    """Tokens that a condition's source adds; the semantic ones are few."""
    return geometry.count(*model_conds[SOURCE].cond.shape[2:]) if SOURCE in model_conds else 0


def video_of(x: Tensor, kwargs: dict[str, Any]) -> Tensor:
    """The video's frames of what the sampler holds."""
    return x if SOURCE not in kwargs else x[:, :, : kwargs[SOURCE].shape[2]]


def with_source(arranged: Arranged, cells: Tensor | None, video: Tensor) -> tuple[Arranged, Tensor | None]:
    """Pictures with the source of a video latent (B, C, F, h, w) and the semantic tokens behind them."""
    layout = arranged.layout
    streams = source_streams(layout.recipe, *layout.geometry.tokens(*video.shape[2:]))
    first = len(layout.streams)
    return arranged.beside(streams), everywhere(cells, range(first, first + len(streams)))


def modules_now(model, layout: Layout) -> dict[str, Any]:
    """The recipe's modules as an argument of this evaluation."""
    return {} if layout.recipe.types is None else {MODULES: modules_of(model.current_patcher)}


@dataclass(frozen=True)
class Edited:
    """A source (B, C, F, h, w) as the model sees it, and, with the modules, the frames (B, C, k, h, w) that hold `count` semantic tokens."""

    source: Tensor
    modules: SemanticModules | None
    spare: Tensor
    count: int

    def semantic(self) -> list[Tensor]:
        """Semantic tokens in the DiT's width, (B, count, C), if there are any."""
        if self.modules is None:
            return []
        state = as_tokens(self.spare, self.count, self.modules.config.features)
        return [self.modules.siglip_feat_mlp(state)]

    def finish(self, out: Tensor, tokens: Tensor) -> Tensor:
        """The video's velocity with that of the semantic tokens behind it, from the tokens after the last block."""
        if self.modules is None:
            return out
        said = self.modules.semantic_head(tokens[:, -self.count :])
        return torch.cat([out, as_frames(said, tuple(out.shape))], dim=2)
