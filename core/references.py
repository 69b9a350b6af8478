"""Reference pictures: checked where they come in, then fitted to the canvas a recipe asks for."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .controls import CROP, Controls
from .fit import fitted_masks, inside, not_lost, resampled, three_colours, with_margins
from .geometry import Geometry
from .layout import Layout, Stream
from .masks import keep_indices, latent_mask, token_cover, token_mask
from .recipe import Recipe

SMALLEST_SIDE = 8


@dataclass(frozen=True)
class Reference:
    """Reference picture (H, W, 3) in [0, 1], its mask (H, W) in [0, 1], 1 = subject, and what is asked of it.
    region says where in the video it may act: (H', W') or (frames, H', W') in [0, 1], laid over the video by
    `fit` (`core.fit`); None is everywhere."""

    picture: Tensor
    mask: Tensor
    controls: Controls = field(default_factory=Controls)
    region: Tensor | None = None
    fit: str = CROP


def make_reference(
    picture: Tensor,
    mask: Tensor | None = None,
    controls: Controls | None = None,
    region: Tensor | None = None,
    what: str = "picture",
    fit: str = CROP,
) -> Reference:
    """Check one picture (H, W, 1, 3 or 4) and its mask (H', W'), which is laid over it by `fit`; without a
    mask the alpha channel, else the whole picture.

    `what` is the picture's name in errors. ValueError names what is wrong: not finite, too small, a mask
    without pixels. A region is checked against the video (`core.reach`).
    """
    if picture.ndim != 3 or picture.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"{what} has shape {tuple(picture.shape)}; needed (height, width, 1, 3 or 4 channels)"
        )
    if not picture.is_floating_point():
        raise ValueError(f"{what} holds {picture.dtype} values; needed floating point in [0, 1]")
    height, width = picture.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        raise ValueError(
            f"{what} is {width}x{height} pixels; a reference needs {SMALLEST_SIDE}x{SMALLEST_SIDE} or more"
        )
    if mask is None:
        mask = picture[..., 3] if picture.shape[-1] == 4 else torch.ones(height, width)
    if mask.ndim != 2 or not mask.numel():
        raise ValueError(f"mask has shape {tuple(mask.shape)}; needed (height, width)")
    for name, values in ((what, picture), ("mask", mask)):
        if not torch.isfinite(values).all():
            raise ValueError(f"{name} holds NaN or infinite values; check the node or file it comes from")
    mask = fitted_masks(mask.float().clamp(0, 1)[None], height, width, fit)[0]
    if not mask.gt(0.5).any():
        raise ValueError(
            f"mask has no pixels: nothing of the {what} would be used. Paint the subject, swap the mask's sense, or "
            f"leave the mask unconnected to use the whole {what}"
        )
    return Reference(three_colours(picture).float().clamp(0, 1), mask, controls or Controls(), region, fit)


def prepare(reference: Reference, recipe: Recipe, height: int, width: int, stride: int) -> Reference:
    """Prepare a reference as the model will see it: on its recipe's canvas, ground filled, mask grown alike.

    height, width: the video's, in pixels, multiples of `stride` (pixels per token). Aspect is kept: the
    picture is scaled to fit and centred. An own-size canvas is limited to `longest_edge` and rounded to
    `stride`.
    """
    if height % stride or width % stride:
        raise ValueError(f"the video is {width}x{height} pixels; both sides must be multiples of {stride}")
    if recipe.canvas == "own":
        return _composited(_own_size(reference, recipe.longest_edge, stride), recipe.fill)
    if recipe.size is not None:
        width, height = recipe.size
    return _centred(_composited(_fitted(reference, height, width), recipe.fill), recipe, height, width)


@dataclass(frozen=True)
class Arranged:
    """Layout of prepared references; keep (kept,) int64, the tokens that their masks keep among all. soft (1,
    kept), log of the share of each that its mask covers, or None where no reference asks for it."""

    layout: Layout
    keep: Tensor
    soft: Tensor | None

    def joined(self, other: "Arranged") -> "Arranged":
        """Join the other's streams behind these; `keep` and `soft` may have rows for a batch. ValueError for
        two recipes: a model was trained for one of them."""
        mine, its = self.layout.recipe.name, other.layout.recipe.name
        if mine != its:
            raise ValueError(f"recipe is {mine} for one rider and {its} for another; needed one")
        first = sum(stream.tokens for stream in self.layout.streams)
        layout = replace(self.layout, streams=(*self.layout.streams, *other.layout.streams))
        soft = None
        if self.soft is not None or other.soft is not None:
            parts = [
                torch.zeros(1, one.keep.shape[-1]) if one.soft is None else one.soft for one in (self, other)
            ]
            soft = _side_by_side(*(part.to(parts[-1].device) for part in parts))
        return Arranged(layout, _side_by_side(self.keep, other.keep.to(self.keep) + first), soft)


def arrange(masks: list[Tensor], controls: list[Controls], recipe: Recipe, geometry: Geometry) -> Arranged:
    """Arrange prepared references, of masks (H, W), in front of a model of this geometry. Places of the
    recipe that have no picture come after them, whole (`with_empty_places`)."""
    if any(one.strength <= 0 for one in controls):
        raise ValueError(
            f"strengths are {[one.strength for one in controls]}; references of strength 0 are left out before (see "
            "`active`)"
        )
    masks, count = list(with_empty_places(masks, recipe, 1.0)), len(masks)
    controls = [*controls, *[Controls()] * (len(masks) - count)]
    stride, kept = geometry.token, [token_mask(mask, geometry.token) for mask in masks]
    streams = [
        Stream(mask.shape[0] // stride, mask.shape[1] // stride, int(keep.sum()), asked,
               role="picture" if index < count else "empty")
        for index, (mask, keep, asked) in enumerate(zip(masks, kept, controls, strict=True))
    ]  # fmt: skip
    soft = [
        token_cover(mask, stride)[keep].log()
        if asked.soft
        else torch.zeros(int(keep.sum()), device=mask.device)
        for mask, keep, asked in zip(masks, kept, controls, strict=True)
    ]
    layout = Layout(recipe, tuple(streams), geometry)
    return Arranged(
        layout, keep_indices(kept), torch.cat(soft)[None] if any(c.soft for c in controls) else None
    )


def with_empty_places(values: Sequence[Tensor], recipe: Recipe, value: float = 0.0) -> tuple[Tensor, ...]:
    """Tensors of references, and one like the first, filled with `value`, for each of the recipe's places
    that has no picture."""
    return (*values, *(torch.full_like(values[0], value) for _ in range(recipe.empty_places(len(values)))))


def active(references: list[Reference], recipe: Recipe) -> list[Reference]:
    """References that act: strength 0 is removal. ValueError above the number the recipe takes."""
    acting = [reference for reference in references if reference.controls.strength > 0]
    if len(acting) > recipe.max_references:
        raise ValueError(
            f"references: {len(acting)} pictures came, the recipe {recipe.name} takes at most {recipe.max_references}"
        )
    return acting


def reference_input(
    latent: Tensor, mask: Tensor, channels: int, recipe: Recipe, geometry: Geometry
) -> Tensor:
    """The patch embedding's input for one reference. latent (1, C, 1, h, w), mask (H, W) -> (1, channels, 1,
    h, w).

    The geometry's channels: the latent. Its masked channels: latent, mask, latent again (Saber, eq. in §3.2,
    in Wan-I2V's channel order).
    """
    fits = latent.shape[1] == geometry.channels
    if fits and channels == geometry.channels:
        return latent
    if fits and channels == geometry.masked_channels and recipe.masked_input:
        stride = mask.shape[-1] // latent.shape[-1]
        return torch.cat([latent, latent_mask(mask, stride, geometry.group).to(latent), latent], dim=1)
    masked = f" or {geometry.masked_channels}" if recipe.masked_input else ""
    raise ValueError(
        f"recipe {recipe.name} cannot feed a backbone of {channels} input channels with latents of {latent.shape[1]}; "
        f"it runs on {geometry.channels}{masked}"
    )


def _composited(reference: Reference, fill: float) -> Reference:
    alpha = reference.mask.unsqueeze(-1)
    return replace(reference, picture=reference.picture * alpha + fill * (1 - alpha))


def _fitted(reference: Reference, height: int, width: int) -> Reference:
    rows, columns = reference.mask.shape
    return _resized(reference, *inside(rows, columns, (height, width)))


def _own_size(reference: Reference, longest_edge: int, stride: int) -> Reference:
    rows, columns = reference.mask.shape
    scale = min(longest_edge / max(rows, columns), 1.0)
    sides = (max(stride, round(side * scale / stride) * stride) for side in (rows, columns))
    return _resized(reference, *sides)


def _resized(reference: Reference, height: int, width: int) -> Reference:
    if reference.mask.shape == (height, width):
        return reference
    planes = resampled(
        torch.cat([reference.picture.movedim(-1, 0), reference.mask[None]])[None], height, width
    )[0]
    mask = not_lost(planes[3:], reference.mask[None])[0]
    return replace(reference, picture=planes[:3].movedim(0, -1), mask=mask)


def _centred(reference: Reference, recipe: Recipe, height: int, width: int) -> Reference:
    picture = with_margins(reference.picture.movedim(-1, 0), (height, width), recipe.fill).movedim(0, -1)
    mask = with_margins(reference.mask, (height, width), float(recipe.keeps_padding))
    return replace(reference, picture=picture, mask=mask)


def _side_by_side(*parts: Tensor) -> Tensor:
    """Rows of all of them, one after the other; one that has none counts for each."""
    rows = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*rows, -1) for part in parts], dim=-1)
