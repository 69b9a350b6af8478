"""References put into the hints of a VACE model, as frames in front of the video, beside core's control."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.front import require_visible
from ...core.reach import reach
from ...core.recipe import Recipe
from ...core.references import Reference
from . import wire
from .applied import Applied, require_room
from .evaluation import Options
from .families import wan
from .install import install
from .masked_input import grey_latent
from .pictures import encoded
from .vace import HINTS, AttachedVaceReferences, VaceReferences, frames_in_front, require_hint_branch
from .wire import Conditioning

HINT_MASKS, HINT_STRENGTHS = "vace_mask", "vace_strength"  # core's names, a list of each, as of HINTS
MASK_CHANNELS = 64  # of a hint's mask: the pixels of a latent cell
OF_EACH = ("masks", "controls", "reach")


def in_hints(
    models: Sequence[ModelPatcher], sides: tuple[Conditioning, Conditioning], vae, latent: dict[str, Any],
    references: list[Reference], recipe: Recipe, null_pass: str, attention: str,
) -> Applied:  # fmt: skip
    """Put references in front of the video, after those that are there. Everything that may be refused is
    refused before anything is encoded."""
    model, samples = models[0], wan.video_latent(latent, models[0])
    at, geometry = require_hints(models, sides, samples, null_pass), wan.geometry(model)
    for options in (options for side in sides for _, options in side):
        require_room(options, recipe, len(references) + frames_in_front([[None, options]]))
    require_visible([r.controls for r in references])
    frames, rows, columns = samples.shape[2:]
    grid = (frames - at, rows, columns)
    cells = tuple(reach(r.controls.frames, r.region, grid, geometry, fit=r.fit) for r in references)
    prepared, latents = encoded(references, recipe, vae, samples, geometry)
    masks, controls = tuple(r.mask for r in prepared), tuple(r.controls for r in prepared)
    added = AttachedVaceReferences(recipe.name, masks, controls, cells, attention)
    unknown = functools.cache(lambda: grey_latent(vae, samples, geometry))
    positive, negative = (with_frames_in_front(side, model, added, latents, unknown) for side in sides)
    patched = [*(install(one, VaceReferences) for one in models), None]
    longer = latent_with_frames(latent, samples, len(references), at)
    return Applied(patched[0], patched[1], positive, negative, longer, at + len(references))


def require_hints(
    models: Sequence[ModelPatcher], sides: Sequence[Conditioning], samples: Tensor, null: str
) -> int:
    """Number of reference frames that the sides carry already. ValueError where models or sides are none that
    take references in front of these samples, and for a null pass that is without them."""
    for model, what in zip(models, ("model", "low_noise_model"), strict=False):
        require_hint_branch(model, what)
    if null not in ("recipe", "keep"):
        raise ValueError(
            f"null_pass is {null}; VACE's references are frames of the sequence, which every pass keeps: choose "
            "recipe or keep"
        )
    counts = {frames_in_front([entry]) for side in sides for entry in side}
    if len(counts) != 1:
        raise ValueError(
            "positive and negative carry different numbers of VACE's reference frames; connect both from one Apply "
            "References"
        )
    empty = models[0].model.process_latent_out(torch.zeros_like(samples[:1, :, :1]))
    count = counts.pop()
    for options in (options for side in sides for _, options in side):
        for hint in options.get(HINTS, ()):
            _require_hint(hint, samples, count, empty)
    return count


def _require_hint(hint: Tensor, samples: Tensor, carried: int, empty: Tensor) -> None:
    (frames, rows, columns), needed = hint.shape[2:], samples.shape[2:]
    if tuple(hint.shape[2:]) != tuple(needed):
        raise ValueError(
            f"latent has {needed[0]} frames of {needed[2]}x{needed[1]} cells, the control of the conditioning "
            f"{frames} of {columns}x{rows}; connect the latent of the node that the conditioning comes from"
        )
    first = hint[:, empty.shape[1] :, carried : carried + 1]
    if torch.equal(first, empty.to(first).expand_as(first)):
        raise ValueError(
            "conditioning carries the reference_image of WanVaceToVideo; give that picture to Apply References, and "
            "leave reference_image unconnected"
        )


def with_frames_in_front(
    conditioning: Conditioning, model: ModelPatcher, added: AttachedVaceReferences, latents: Sequence[Tensor],
    unknown: Callable[[], Tensor],
) -> Conditioning:  # fmt: skip
    """A copy whose hints have these latents (1, C, 1, h, w) as frames in front, after those they have.
    `unknown` gives the latent (1, C, F, h, w) of a grey video, for conditions without a control of their
    own."""
    frames = torch.cat(tuple(latents), dim=2)
    hint = torch.cat([frames, model.model.process_latent_out(torch.zeros_like(frames))], dim=1)
    return [[text, _with_hint(options, added, hint, unknown)] for text, options in conditioning]


def _with_hint(
    options: Options, added: AttachedVaceReferences, hint: Tensor, unknown: Callable[[], Tensor]
) -> Options:
    before = wire.read(AttachedVaceReferences, options)
    at, joined = 0, added
    if before is not None:
        at = before.count
        joined = replace(added, **{name: (*getattr(before, name), *getattr(added, name)) for name in OF_EACH})
    hints = options.get(HINTS) or [unknown().repeat(1, 2, 1, 1, 1)]
    masks = options.get(HINT_MASKS) or [hints[0].new_ones(1, MASK_CHANNELS, *hints[0].shape[2:])] * len(hints)
    nothing = torch.zeros(1, MASK_CHANNELS, *hint.shape[2:])
    core = {
        HINTS: [inserted(one, hint, at) for one in hints],
        HINT_MASKS: [inserted(one, nothing, at) for one in masks],
        HINT_STRENGTHS: options.get(HINT_STRENGTHS) or [1.0] * len(hints),
    }
    return wire.onto(options | core, joined)


def inserted(frames: Tensor, added: Tensor, at: int) -> Tensor:
    """Frames (B, C, F, h, w) with others (1, C, n, h, w) before frame `at`."""
    between = added.to(frames).expand(len(frames), *added.shape[1:])
    return torch.cat([frames[:, :, :at], between, frames[:, :, at:]], dim=2)


def latent_with_frames(latent: dict[str, Any], samples: Tensor, count: int, at: int) -> dict[str, Any]:
    """A copy of a latent with so many empty frames more before frame `at`, which are denoised whatever its
    noise mask says."""
    given = {**latent, "samples": inserted(samples, torch.zeros_like(samples[:1, :, :1]).expand(
        -1, -1, count, -1, -1), at)}  # fmt: skip
    if latent.get("noise_mask") is not None:
        mask = comfy.utils.reshape_mask(latent["noise_mask"], samples.shape)
        given["noise_mask"] = inserted(mask, torch.ones_like(mask[:1, :, :1]).expand(
            -1, -1, count, -1, -1), at)  # fmt: skip
    return given
