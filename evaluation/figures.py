"""Figures of any model's clips, without a trained scorer: whether they show a reference's subject, and only
that.

A clip is (F, H, W, 3) in [0, 1], a picture a clip of one frame. A mask is (F, H, W) in [0, 1], 1 = subject.
Figures without a paper beside them are [choice: figures-without-a-scorer]. "Ceiling" is the best a figure can
be. A floor depends on what is shown, so report what clips of other references score (`other`) beside every
figure.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from .appearance import Colours, agreement, colours, outline, overlap, texture, turned_outlines

LEAST_DISTINCT = 0.1  # of a reference's background: with less that is its own, no leak could be told
LEAST_PROBABILITY = 0.01  # share of a colour below which it is not evidence for the subject
_RING = 16  # the border of a frame is one sixteenth of its shorter side
_FLOW_SIDE = 256  # shorter side that optical flow is read at, at least
_STEEPEST = 0.05  # share of the pixels that counts, the fastest: VBench's


class Unmeasurable(ValueError):
    """A figure that this input or this machine does not allow; the message says why and what would."""


def similarity(clip: Tensor, subject: Tensor, picture: Tensor, mask: Tensor) -> float:
    """Overlap of the colours of two subjects: intersection of their soft CIE Lab histograms, in [0, 1].

    1 (ceiling) is the same colours in the same shares, 0 is none in common or an empty mask. It says nothing
    of where the colours are. Shapes: clip (F, H, W, 3), subject (F, H, W), picture (1, h, w, 3), mask (1, h,
    w).
    """
    return overlap(colours(clip).histogram(subject), colours(picture).histogram(mask))


def texture_agreement(clip: Tensor, subject: Tensor, picture: Tensor, mask: Tensor) -> float:
    """Overlap of the local texture of two subjects, in [0, 1]; arguments as `similarity`.

    Intersection of histograms of slope and coherence (`appearance.texture`): place, size and rotation do not
    count. 1 (ceiling) is the same mixture of flat, striped and speckled. The floor is high. Two plain
    subjects agree whatever their colours, and unlike ones still share some of the mixture.
    """
    return overlap(texture(clip, subject), texture(picture, mask))


def shape_agreement(subject: Tensor, mask: Tensor) -> float:
    """Overlap of two outlines, in [0, 1]: intersection over union after centring, scaling by area, and
    turning.

    Mean over the frames of the best of 24 rotations, plain and mirrored; a frame without the subject counts
    0. subject (F, H, W), mask (1, h, w). 1 (ceiling) is the same outline. The floor is high: a disc and a
    square of one area share 0.83. A subject seen from another side, or walking, has another outline.
    """
    return agreement(outline(subject), turned_outlines(mask))


def background_leak(
    clip: Colours, subject: Tensor, picture: Colours, mask: Tensor, baseline: Colours | None = None
) -> float:
    """Leak of the reference's background: what of it is behind the clip's subject without other explanation.

    leak = sum min((c - b)+, (s r - b)+) / sum (s r - b)+, in [0, 1], over the colours, with

    b  share of the clip's pixels that the baseline explains
    s  share of the clip that is not subject
    r  colours of the reference's background
    c  colours of the clip's background, weighted by s

    0 (best) is the baseline itself, 1 a clip on the reference's background. The baseline is the same prompt
    without the reference. Without one the colours of the reference's own subject stand in: a background that
    the prompt asks for counts as leaked. Shapes: subject (F, H, W), mask (1, h, w). Unmeasurable where the
    mask hides nothing, the subject fills the clip, or no colour could tell.
    """
    hidden = 1 - mask
    if hidden.gt(0.5).sum() == 0:
        raise Unmeasurable("the reference's mask is full: it has no background that could leak")
    behind = 1 - subject
    share = behind.mean()
    if behind.gt(0.5).sum() == 0:
        raise Unmeasurable("the subject's mask covers the whole clip: there is no background to look at")
    theirs = picture.histogram(hidden) * share
    if baseline is None:
        explained = picture.histogram(mask) * share
    else:
        explained = baseline.histogram(torch.ones_like(baseline.weight[0]))
    own = (theirs - explained).clamp_min(0)
    if own.sum() < LEAST_DISTINCT * share:
        what = "its own subject" if baseline is None else "the baseline"
        raise Unmeasurable(f"the reference's background has the colours of {what}: a leak could not be told")
    arrived = clip.counts(behind) / behind.numel()
    return (torch.minimum((arrived - explained).clamp_min(0), own).sum() / own.sum()).item()


def find_subject(clip: Colours, foreground: Tensor, background: Tensor | None) -> Tensor:
    """Find a subject by back-projection: pixels in its reference's colours rather than its clip's border's.

    foreground, background (324,): colours of the reference inside and outside its mask (None: the mask is
    full). -> (F, H, W), 1 where f > max(g, border) + 0.01. There f and g are the shares of a pixel's colour
    inside and outside the reference's mask, `border` that in a ring around every frame. It stands in for a
    mask, with a bias. Pixels of other colours are never found, so a clip scores higher than with its true
    mask. A mask that is given is always better.
    """
    ring = torch.ones_like(clip.weight[0])
    wide = max(1, min(ring.shape[1:]) // _RING)
    ring[:, wide:-wide, wide:-wide] = 0
    border = clip.looked_up(clip.histogram(ring))
    if background is not None:
        border = torch.maximum(border, clip.looked_up(background))
    return (clip.looked_up(foreground) > border + LEAST_PROBABILITY).float()


def dynamic_degree(clip: Tensor) -> float:
    """Motion of a clip (F, H, W, 3) in [0, 1], in picture diagonals per frame.

    Mean over frame pairs of the fastest 5 % of the optical flow: VBench's dynamic degree (arXiv 2311.17982)
    before its threshold. RAFT is replaced by OpenCV's DIS flow, and the unit lets sizes compare [choice:
    dynamic-degree-by-dis]. 0: nothing moves. A moving camera counts too. Unmeasurable for one frame, and
    where OpenCV is not installed, or is in pieces.
    """
    if len(clip) < 2:
        raise Unmeasurable("the clip has one frame: motion needs two")
    flow = _flow()
    height, width = clip.shape[1:3]
    frames = _grey(clip)
    fastest = []
    for before, after in pairwise(frames):
        speed = torch.from_numpy(flow(before, after)).double().square().sum(-1).sqrt().flatten()
        fastest.append(speed.topk(max(1, round(len(speed) * _STEEPEST))).values.mean())
    shown = frames[0].shape[0] / height  # flow may be read on a larger picture
    return (torch.stack(fastest).mean() / shown).item() / (height**2 + width**2) ** 0.5


def _flow() -> Callable:
    try:
        import cv2  # not among what ComfyUI brings, so only motion asks for it

        engine = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    except (ImportError, AttributeError) as error:  # the latter: of several OpenCVs one was removed
        raise Unmeasurable(
            f"OpenCV cannot be used ({error}): pip install opencv-python, or opencv-python-headless on a machine "
            "without a display; with --force-reinstall where pip says that it is there"
        ) from error
    # No flow to start from, which OpenCV's own stubs do not know of.
    return lambda before, after: engine.calc(before, after, None)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _grey(clip: Tensor) -> list:
    """Brightness of every frame as uint8 (h, w), enlarged where the flow's 8-pixel patches would see too
    little."""
    weight = clip.new_tensor([0.299, 0.587, 0.114])
    grey = (clip.float().clamp(0, 1) @ weight.float()).unsqueeze(1)
    scale = _FLOW_SIDE / min(clip.shape[1:3])
    if scale > 1:
        size = [round(side * scale) for side in clip.shape[1:3]]
        grey = torch.nn.functional.interpolate(grey, size=size, mode="bicubic", align_corners=False).clamp(
            0, 1
        )
    return list((grey[:, 0] * 255).round().to(torch.uint8).cpu().numpy())
