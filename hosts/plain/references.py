"""References and an edit's source in front of the plain Wan: encoded once, then as tokens behind the video."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..backbones.base import Backbone, Tail, VideoVAE
from ..core.geometry import Geometry
from ..core.layout import Layout
from ..core.positions import reference_angles
from ..core.reach import everywhere, reach, words
from ..core.recipes import Recipe, in_context
from ..core.references import Arranged, Reference, active, arrange, prepare, reference_input
from ..core.visibility import turn
from ..kernels.paths import AUTO, tell_path
from .plain_attention import Asked, attention, choose
from .plain_edit import Edit


@dataclass(frozen=True)
class EncodedReferences:
    """References as the DiT takes them: layout and kept tokens; inputs of the patch embedding (1, channels, 1, h, w);
    cells of the video latent that each acts on (F, h, w) int64, or None for all."""

    arranged: Arranged
    inputs: tuple[Tensor, ...]
    cells: Tensor | None = None


def encode_references(
    dit: Backbone,
    vae: VideoVAE,
    references: list[Reference],
    recipe: Recipe,
    grid: tuple[int, int, int],
) -> EncodedReferences | None:
    """Prepare and encode the references that act, for a video latent of grid (frames, rows, columns); None where none
    does."""
    arranged, cells, prepared = arrange_references(references, recipe, grid, dit.geometry)
    if not prepared:
        return None
    inputs = [
        reference_input(encode_pictures(vae, r.picture[None]), r.mask, dit.in_channels, recipe, dit.geometry)
        for r in prepared
    ]
    return EncodedReferences(arranged, tuple(inputs), cells)


def arrange_references(
    references: list[Reference], recipe: Recipe, grid: tuple[int, int, int], geometry: Geometry
) -> tuple[Arranged, Tensor | None, list[Reference]]:
    """The references that act, prepared for a video latent of grid (frames, rows, columns) on a backbone of this geometry: their layout, the cells of
    the latent that each acts on (F, h, w) int64 or None for all, and themselves."""
    acting = active(references, recipe)
    reaches = [reach(r.controls.frames, r.region, grid, geometry) for r in acting]
    height, width = (side * geometry.stride for side in grid[1:])
    prepared = [prepare(reference, recipe, height, width, geometry.token) for reference in acting]
    arranged = arrange([r.mask for r in prepared], [r.controls for r in prepared], recipe, geometry)
    limited = not all(cells.all() for cells in reaches)
    return arranged, words(reaches, *grid) if limited else None, prepared


def tail(
    dit: Backbone,
    references: EncodedReferences | None,
    latent: Tensor,
    share: float = 0.0,
    name: str = AUTO,
    edit: Edit | None = None,
) -> Tail | None:
    """The tokens that act at a share of the schedule, behind a video latent (B, C, F, h, w), which may hold semantic tokens, with
    the attention of that name; None where none does."""
    if references is None and edit is None:
        return None
    device, dtype = dit.device, dit.dtype
    arranged, cells, parts = _parts(dit, references, latent.to(device, dtype), edit)
    batch, _, frames, rows, columns = latent.shape
    frames = frames if edit is None else edit.frames
    layout, video = arranged.layout, dit.geometry.count(frames, rows, columns)
    now = turn(layout, share, cells, arranged.soft, video, frames, device)
    if now is None:
        return None
    keep = arranged.keep if now.kept is None else arranged.keep[now.kept.cpu()]
    embedded = torch.cat([part.expand(batch, -1, -1) for part in parts], dim=1)
    asked = Asked(dit.heads, dit.head_size, layout, now, batch, video, len(keep), device, dtype)
    choice = choose(asked, name)
    tell_path(choice)
    return Tail(
        embedded[:, keep.to(device)],
        reference_angles(layout, frames, dit.head_size)[keep][None].to(device),
        now.bias,
        attention(choice.path.name, now.groups),
        torch.zeros(1, device=device) if layout.recipe.clock == "own" else None,
        layout.unturned,
        None if edit is None else edit.video_type,
        layout.recipe.reads_text,
    )


def _parts(
    dit: Backbone, references: EncodedReferences | None, latent: Tensor, edit: Edit | None
) -> tuple[Arranged, Tensor | None, list[Tensor]]:
    """Layout of the pictures and of what an edit puts behind them, the cells each acts on, and their tokens (1 or B, n, C)."""
    arranged, cells, parts = _nothing(dit.geometry), None, []
    if references is not None:
        arranged, cells = references.arranged, references.cells
        parts = [dit.embed_patches(one.to(latent)) for one in references.inputs]
    if edit is not None:
        pictures = arranged.layout.streams
        arranged = replace(arranged, layout=replace(arranged.layout, recipe=edit.recipe))
        arranged = arranged.beside(edit.streams(dit.geometry))
        cells = everywhere(cells, range(len(pictures), len(arranged.layout.streams)))
        parts = edit.typed([*parts, *edit.embedded(dit, latent)], arranged.layout.types())
    return arranged, cells, parts


def _nothing(geometry: Geometry) -> Arranged:
    return Arranged(Layout(in_context(), (), geometry), torch.zeros(0, dtype=torch.int64), None)


@torch.no_grad()
def encode_pictures(vae: VideoVAE, pictures: Tensor) -> Tensor:
    """pictures (F, H, W, 3) in [0, 1] -> latent (1, channels, F, h, w), normalised."""
    return vae.encode((pictures.movedim(-1, 0)[None] * 2 - 1).to(vae.device, vae.dtype))
