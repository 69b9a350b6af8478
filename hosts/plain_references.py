"""References and an edit's source in front of the plain Wan: encoded once, then as tokens behind the video."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core.layout import Layout
from ..core.positions import reference_angles
from ..core.reach import everywhere, reach, words
from ..core.recipes import Recipe, in_context
from ..core.references import Arranged, Reference, active, arrange, prepare, reference_input
from ..core.visibility import turn
from ..kernels.paths import AUTO, tell_path
from ..wan.dit import Tail, WanDiT
from ..wan.vae import STRIDE, WanVAE
from .plain_attention import Asked, attention, choose
from .plain_edit import Edit

_NOTHING = Arranged(Layout(in_context(), ()), torch.zeros(0, dtype=torch.int64), None)


@dataclass(frozen=True)
class EncodedReferences:
    """References as the DiT takes them: layout and kept tokens; inputs of the patch embedding (1, channels, 1, h, w);
    cells of the video latent that each acts on (F, h, w) int64, or None for all."""

    arranged: Arranged
    inputs: tuple[Tensor, ...]
    cells: Tensor | None = None


def encode_references(
    dit: WanDiT,
    vae: WanVAE,
    references: list[Reference],
    recipe: Recipe,
    grid: tuple[int, int, int],
) -> EncodedReferences | None:
    """Prepare and encode the references that act, for a video latent of grid (frames, rows, columns); None where none
    does."""
    arranged, cells, prepared = arrange_references(references, recipe, grid)
    if not prepared:
        return None
    inputs = [
        reference_input(encode_pictures(vae, r.picture[None]), r.mask, dit.config.in_channels, recipe)
        for r in prepared
    ]
    return EncodedReferences(arranged, tuple(inputs), cells)


def arrange_references(
    references: list[Reference], recipe: Recipe, grid: tuple[int, int, int]
) -> tuple[Arranged, Tensor | None, list[Reference]]:
    """The references that act, prepared for a video latent of grid (frames, rows, columns): their layout, the cells of
    the latent that each acts on (F, h, w) int64 or None for all, and themselves."""
    frames, rows, columns = grid
    acting = active(references, recipe)
    reaches = [reach(r.controls.frames, r.region, frames, rows, columns, STRIDE) for r in acting]
    prepared = [prepare(reference, recipe, rows * STRIDE, columns * STRIDE) for reference in acting]
    arranged = arrange([r.mask for r in prepared], [r.controls for r in prepared], recipe)
    limited = not all(cells.all() for cells in reaches)
    return arranged, words(reaches, *grid) if limited else None, prepared


def tail(
    dit: WanDiT,
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
    device, dtype = dit.head.head.weight.device, dit.head.head.weight.dtype
    arranged, cells, parts = _parts(dit, references, latent.to(device, dtype), edit)
    batch, _, frames, rows, columns = latent.shape
    frames = frames if edit is None else edit.frames
    layout = arranged.layout
    now = turn(layout, share, cells, arranged.soft, frames * rows * columns // 4, frames, device)
    if now is None:
        return None
    keep = arranged.keep if now.kept is None else arranged.keep[now.kept.cpu()]
    embedded = torch.cat([part.expand(batch, -1, -1) for part in parts], dim=1)
    asked = Asked(dit.config, layout, now, batch, frames * rows * columns // 4, len(keep), device, dtype)
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
    dit: WanDiT, references: EncodedReferences | None, latent: Tensor, edit: Edit | None
) -> tuple[Arranged, Tensor | None, list[Tensor]]:
    """Layout of the pictures and of what an edit puts behind them, the cells each acts on, and their tokens (1 or B, n, C)."""
    arranged, cells, parts = _NOTHING, None, []
    if references is not None:
        arranged, cells = references.arranged, references.cells
        parts = [dit.embed_patches(one.to(latent)) for one in references.inputs]
    if edit is not None:
        pictures = arranged.layout.streams
        arranged = replace(arranged, layout=Layout(edit.recipe, pictures)).beside(edit.streams)
        cells = everywhere(cells, range(len(pictures), len(arranged.layout.streams)))
        parts = edit.typed([*parts, *edit.embedded(dit, latent)], arranged.layout.types())
    return arranged, cells, parts


@torch.no_grad()
def encode_pictures(vae: WanVAE, pictures: Tensor) -> Tensor:
    """pictures (F, H, W, 3) in [0, 1] -> latent (1, 16, k + 1, h, w), normalised."""
    weight = vae.conv1.weight
    return vae.encode((pictures.movedim(-1, 0)[None] * 2 - 1).to(weight.device, weight.dtype))
