"""Reference video: checked where it comes in, cut out around its subject, ready for the VAE
[choice: reference-video-crop]."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .fit import fitted_masks
from .geometry import Geometry
from .recipe import GREY

_MARGIN = 0.25  # of the subject's longer side, around it


@dataclass(frozen=True)
class ReferenceVideo:
    """Reference video: pictures (F, S, S, 3) in [0, 1], which fill their latent frames, grey outside the
    subject; masks (F, S, S) in [0, 1]. `best` is the place among them of the picture that shows the subject
    best."""

    pictures: Tensor
    masks: Tensor
    anchor: int


def make_reference_video(
    clip: Tensor,
    masks: Tensor | None,
    frames: int,
    size: int,
    geometry: Geometry,
    anchor: int | None = None,
) -> ReferenceVideo:
    """A clip (n, H, W, 3) in [0, 1] with masks (n or 1, H, W), 1 = subject, or none for the whole picture.

    Cut a reference video out of a clip: `frames` of its pictures, evenly over the whole clip. A shorter clip
    gives the most that it holds and that fill their latent frames. The pictures are cut to one square around
    the subject wherever it goes, and scaled to `size`. `anchor` counts the clip's own pictures; without it
    the best one is looked for. ValueError for fewer than two pictures, masks of another number, and
    values that are not finite. ValueError too for a clip or an anchor without its subject.
    """
    masks = _checked(clip, masks)
    held = geometry.pictures(geometry.frames(len(clip)))
    count = min(frames, max(geometry.pictures(2), held))
    chosen = torch.linspace(0, len(clip) - 1, count).round().long()
    pictures, shown = _square(clip[chosen][..., :3].float().clamp(0, 1), masks[chosen], size)
    if anchor is None:
        return ReferenceVideo(pictures, shown, best_picture(pictures, shown))
    if not 0 <= anchor < len(clip):
        raise ValueError(f"anchor is {anchor}; the clip has the frames 0 to {len(clip) - 1}")
    place = int((chosen - anchor).abs().argmin())
    if not shown[place].gt(0.5).any():
        raise ValueError(
            f"anchor is {anchor}, and that frame's mask has no pixels: choose one that shows the subject"
        )
    return ReferenceVideo(pictures, shown, place)


def cover(masks: Tensor, geometry: Geometry) -> Tensor:
    """Cover of each token by the subject: masks (pictures, H, W) -> (F, rows, columns) of tokens. It is the
    mean over a token's pixels and its latent frame's pictures."""
    shares = F.avg_pool2d(masks[:, None].float(), geometry.token)[:, 0]
    return torch.cat([shares[:1], shares[1:].unflatten(0, (-1, geometry.group)).mean(1)])


def best_picture(pictures: Tensor, masks: Tensor) -> int:
    """Best picture of the subject. Among the sharper half of the pictures that show most of it, it is the one
    most like its own mirror image. That is what a frontal view is of a face."""
    area = masks.flatten(1).sum(1)
    candidates = (area >= 0.5 * area.max()).nonzero()[:, 0]
    sharpness = _sharpness(pictures[candidates], masks[candidates])
    sharper = candidates[sharpness >= sharpness.median()]
    return int(sharper[_symmetry(pictures[sharper], masks[sharper]).argmax()])


def _checked(clip: Tensor, masks: Tensor | None) -> Tensor:
    """Masks for every picture of a clip that can be read."""
    if clip.ndim != 4 or clip.shape[-1] not in (3, 4):
        raise ValueError(
            f"clip has shape {tuple(clip.shape)}; needed (frames, height, width, 3 or 4 channels)"
        )
    if len(clip) < 2:
        raise ValueError(
            f"clip has {len(clip)} frame{'s' * (len(clip) != 1)}; an identity is read from a video of 2 or more. For one picture use "
            "Masked Reference"
        )
    if masks is None:
        masks = clip[..., 3] if clip.shape[-1] == 4 else torch.ones(clip.shape[:3])
    if masks.ndim == 2:
        masks = masks[None]
    if masks.ndim != 3 or len(masks) not in (1, len(clip)):
        raise ValueError(
            f"mask has shape {tuple(masks.shape)}; the clip has {len(clip)} frames: give one mask, or one for each frame"
        )
    for name, values in (("clip", clip), ("mask", masks)):
        if not torch.isfinite(values).all():
            raise ValueError(f"{name} holds NaN or infinite values; check the node or file it comes from")
    masks = fitted_masks(masks.float().clamp(0, 1), clip.shape[1], clip.shape[2]).expand(len(clip), -1, -1)
    if not masks.gt(0.5).any():
        raise ValueError(
            "mask has no pixels in any frame: nobody would be read. Mark the subject, or leave the mask out"
        )
    return masks


def _square(pictures: Tensor, masks: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """One square around the subject of all pictures, grey outside of it, at this size. A clip whose chosen
    pictures miss a subject that others show keeps its whole picture."""
    ground = pictures * masks[..., None] + GREY * (1 - masks[..., None])
    top, bottom, left, right = _box(masks)
    side = max(bottom - top, right - left)
    side = min(side + 2 * round(_MARGIN * side), max(side, *masks.shape[1:]))
    y, x = (top + bottom - side) // 2, (left + right - side) // 2
    return (
        _resized(_window(ground.movedim(-1, 1), y, x, side, GREY), size).movedim(1, -1),
        _resized(_window(masks[:, None], y, x, side, 0.0), size)[:, 0],
    )


def _box(masks: Tensor) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of all that any mask marks; ends outside."""
    marked = masks.amax(0).gt(0.5)
    if not marked.any():
        return 0, masks.shape[1], 0, masks.shape[2]
    rows, columns = (marked.any(axis).nonzero()[:, 0] for axis in (1, 0))
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _window(values: Tensor, top: int, left: int, side: int, fill: float) -> Tensor:
    """(F, C, H, W) -> (F, C, side, side) from a corner that may lie outside."""
    height, width = values.shape[-2:]
    padding = (max(0, -left), max(0, left + side - width), max(0, -top), max(0, top + side - height))
    padded = F.pad(values, padding, value=fill)
    top, left = max(0, top), max(0, left)
    return padded[..., top : top + side, left : left + side]


def _resized(values: Tensor, size: int) -> Tensor:
    return F.interpolate(values, (size, size), mode="bilinear", antialias=True).clamp(0, 1)


def _sharpness(pictures: Tensor, masks: Tensor) -> Tensor:
    """(F,): the mean square of the Laplacian over the subject."""
    grey = F.pad(pictures.mean(-1)[:, None], (1, 1, 1, 1), mode="replicate")
    kernel = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]]).view(1, 1, 3, 3).to(grey)
    edges = F.conv2d(grey, kernel)[:, 0].square()
    return (edges * masks).flatten(1).sum(1) / masks.flatten(1).sum(1)


def _symmetry(pictures: Tensor, masks: Tensor) -> Tensor:
    """Symmetry (F,), 0 or less: minus the mean difference of the subject from its mirror image about its own
    middle."""
    columns = torch.arange(masks.shape[2], device=masks.device, dtype=masks.dtype)
    middle = (masks.sum(1) * columns).sum(1) / masks.flatten(1).sum(1)
    mirrored = (2 * middle[:, None] - columns).round().long()
    inside = mirrored.ge(0) & mirrored.lt(masks.shape[2])
    index = mirrored.clamp(0, masks.shape[2] - 1)[:, None].expand(-1, masks.shape[1], -1)
    other = pictures.gather(2, index[..., None].expand(-1, -1, -1, 3))
    weight = torch.maximum(masks, masks.gather(2, index) * inside[:, None])
    return -((pictures - other).abs().mean(-1) * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)
