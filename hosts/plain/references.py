"""Reference pictures on the plain host: encoded once, then as tokens behind the video."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...backbones.base import Backbone, VideoVAE
from ...core.geometry import Geometry
from ...core.layout import Layout, Stream
from ...core.masks import token_mask
from ...core.reach import reach, reach_words
from ...core.recipe import Recipe
from ...core.references import (
    Arranged,
    Reference,
    active,
    arrange,
    prepare,
    reference_input,
    with_empty_places,
)
from ...core.token_lora import TokenLora, require_token_lora
from .evaluation import Evaluation, Rider, TokensBehindVideo


@dataclass(frozen=True)
class ReferencesRider(Rider):
    """References as the DiT takes them.

    arranged  their layout and kept tokens
    inputs    of the patch embedding (1 or B, channels, k, h, w), each of k pictures of one size
    cells     (F, h, w) int64 of the video's latent, bit k where reference k acts; None: all of it
    seen      (B, kept) bool, which of the kept tokens a row of the batch has; None: all of them
    level     (1 or B,), their noise level; None: they are clean
    lora      of their queries, keys and values, where the recipe has one
    """

    arranged: Arranged
    inputs: tuple[Tensor, ...]
    cells: Tensor | None = None
    seen: Tensor | None = None
    level: Tensor | None = None
    lora: TokenLora | None = None

    def over(self, start: int, stop: int) -> "ReferencesRider":
        return self if self.cells is None else replace(self, cells=self.cells[start:stop])

    def now(self, evaluation: Evaluation) -> Evaluation:
        """The pass with all references where it keeps the conditions, else with what their recipe has there
        (`guider_null`)."""
        null = "keep" if evaluation.entry.conditions else self.arranged.layout.recipe.guider_null
        if null == "drop":
            return evaluation
        inputs = [torch.zeros_like(one) for one in self.inputs] if null == "zero" else self.inputs
        tokens = [evaluation.dit.embed_patches(one.to(evaluation.latent)) for one in inputs]
        mine = TokensBehindVideo(self.arranged, tokens, self.cells, self.seen, self.level, lora=self.lora)
        return replace(evaluation, behind=(*evaluation.behind, mine))


def encode_references(
    dit: Backbone,
    vae: VideoVAE,
    references: list[Reference],
    recipe: Recipe,
    grid: tuple[int, int, int],
    lora: TokenLora | None = None,
) -> ReferencesRider | None:
    """Prepare and encode the references that act, for a video latent of grid (frames, rows, columns); None
    where none does. ValueError for a recipe whose references do not stand behind the video, and for one of
    reference tokens' own LoRA without it."""
    if recipe.carrier != "behind":
        raise ValueError(
            f"recipe is {recipe.name}, whose references are frames that a hint branch is shown (`encode_hints`); needed "
            "one whose references stand behind the video"
        )
    arranged, cells, prepared = arrange_references(references, recipe, grid, dit.geometry)
    if not prepared:
        return None
    require_token_lora(recipe, lora is not None, "give it to --reference-adapter")
    inputs = [
        reference_input(encode_pictures(vae, r.picture[None]), r.mask, dit.in_channels, recipe, dit.geometry)
        for r in prepared
    ]
    given = lora if recipe.token_lora else None
    return ReferencesRider(arranged, with_empty_places(inputs, recipe), cells, lora=given)


def arrange_references(
    references: list[Reference], recipe: Recipe, grid: tuple[int, int, int], geometry: Geometry
) -> tuple[Arranged, Tensor | None, list[Reference]]:
    """Prepare the references that act, for a video latent of grid (frames, rows, columns) on a backbone of
    this geometry.

    -> their layout, the cells (F, h, w) int64 of the latent that each acts on, or None for all, and the
    prepared references.
    """
    acting = active(references, recipe)
    reaches = [reach(r.controls.frames, r.region, grid, geometry, fit=r.fit) for r in acting]
    height, width = (side * geometry.stride for side in grid[1:])
    prepared = [prepare(reference, recipe, height, width, geometry.token) for reference in acting]
    arranged = arrange([r.mask for r in prepared], [r.controls for r in prepared], recipe, geometry)
    limited = not all(cells.all() for cells in reaches)
    reaches = with_empty_places(reaches, recipe, True)
    return arranged, reach_words(reaches, *grid) if limited else None, prepared


def references_in_rows(
    latents: Tensor, seen: Tensor, stream: Stream, recipe: Recipe, geometry: Geometry
) -> ReferencesRider:
    """References of a batch whose rows have different ones.

    latents  (B, channels, K, h, w)
    seen     (B, K * tokens) bool, which of their tokens each row's masks keep
    stream   what is asked of every reference, all of its tokens kept
    """
    count = latents.shape[2]
    layout = Layout(recipe, (stream,) * count, geometry)
    return ReferencesRider(Arranged(layout, torch.arange(layout.kept), None), (latents,), seen=seen)


def kept_references_in_rows(
    latents: Tensor, masks: Tensor, recipe: Recipe, geometry: Geometry
) -> ReferencesRider | None:
    """References of a batch without the tokens that no row keeps; None where none is kept.

    latents  (B, channels, K, h, w)
    masks    (B, K, H, W) in [0, 1]; a row that has no reference k has an empty mask there
    """
    if not masks.shape[1]:
        return None
    seen = torch.stack([torch.stack([token_mask(mask, geometry.token) for mask in row]) for row in masks])
    some = seen.any(0)  # (K, tokens)
    if not some.any():
        return None
    acting = some.any(1)
    _, rows, columns = geometry.tokens(1, *latents.shape[3:])
    streams = tuple(Stream(rows, columns, count) for count in some[acting].sum(1).tolist())
    keep = some[acting].flatten().nonzero()[:, 0]
    own = seen[:, acting].flatten(1)[:, keep]
    arranged = Arranged(Layout(recipe, streams, geometry), keep.cpu(), None)
    return ReferencesRider(arranged, (latents[:, :, acting],), seen=None if own.all() else own)


@torch.no_grad()
def encode_pictures(vae: VideoVAE, pictures: Tensor) -> Tensor:
    """The latent (1, channels, F, h, w), normalised, of pictures (F, H, W, 3) in [0, 1]."""
    return vae.encode((pictures.movedim(-1, 0)[None] * 2 - 1).to(vae.device, vae.dtype))
