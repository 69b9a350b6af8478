"""Replaced frames while a run goes on: every pass that carries them sees the clean pictures, the others the noised ones, and the run ends in
the clean ones.

Each in the hook that ComfyUI has for it:
  OUTER_SAMPLE     conditioning becomes grids over the video, which ComfyUI crops with areas and slices with context windows
  APPLY_MODEL      a pass that carries frames is shown them, and says of them what they are
  DIFFUSION_MODEL  with a clock of their own they have the timestep 0
  PREDICT_NOISE    whatever guidance and its hooks made of them, they are what was given
  OUTER_SAMPLE     and in the result, if it is clean: uni_pc stops a thousandth short of it
"""

from typing import Any

import comfy.conds
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from . import conditioning as keys

LATENT, PLACES, CLOCK, STILL = "refvid_frames", "refvid_frame_places", "refvid_frame_clock", "refvid_still"


def frame_conds(cond: dict[str, Any], model: ModelPatcher, grid: tuple[int, ...]) -> dict[str, Any]:
    """Clean latents (1, C, F, h, w), where they stand (1, 1, F, h, w), and whether they have a clock of their own."""
    given = keys.given_of(cond)
    if given is None:
        return {}
    if tuple(given.latent.shape[2:]) != tuple(grid):
        raise ValueError(
            f"latent has {grid[0]} frames of {grid[2]}x{grid[1]} cells, but frames were replaced for one of "
            f"{given.latent.shape[2]} of {given.latent.shape[4]}x{given.latent.shape[3]}; connect the latent that Replace Frames gave"
        )
    return {
        LATENT: comfy.conds.CONDNoiseShape(model.model.process_latent_in(given.latent)),
        PLACES: comfy.conds.CONDNoiseShape(given.mask.float().expand(-1, -1, *grid)),
        CLOCK: comfy.conds.CONDConstant(given.clock),
    }


def require_one_film(conds: list[dict[str, Any]]) -> None:
    """ValueError where conditions of a run give other frames than one another: a frame can end in one picture only."""
    carried = [cond["model_conds"] for cond in conds if LATENT in cond.get("model_conds", {})]
    for other in carried[1:]:
        if any(not torch.equal(carried[0][name].cond, other[name].cond) for name in (LATENT, PLACES)):
            raise ValueError(
                "positive and negative carry different replaced frames; connect both from one Replace Frames"
            )


def apply_model(executor, given: tuple, kwargs: dict[str, Any]) -> Tensor:
    """One evaluation of a pass that carries frames."""
    x, *rest = given
    latent, mask = kwargs.pop(LATENT).to(x), kwargs.pop(PLACES) > 0
    if kwargs.pop(CLOCK) == "own":
        kwargs[STILL] = mask[:, 0, :, 0, 0].to(torch.int64)  # int64: other types are cast to the model's
    return _placed(latent, mask, executor(_placed(latent, mask, x), *rest, **kwargs))


def _placed(latent: Tensor, mask: Tensor, x: Tensor) -> Tensor:
    """x with the given frames in it; what stands behind the video's frames stays."""
    frames = latent.shape[2]
    video = torch.where(mask, latent.to(x), x[:, :, :frames])
    return video if x.shape[2] == frames else torch.cat([video, x[:, :, frames:]], dim=2)


def clocks(timestep: Tensor, still: Tensor | None) -> Tensor:
    """The timestep (B,), or (B, F) where frames have clocks of their own: 0 for those that are still."""
    if still is None:
        return timestep
    return (timestep if timestep.ndim == 2 else timestep[:, None]) * (1 - still)


def predict_noise(executor, x: Tensor, *args, **kwargs) -> Tensor:
    """The guided estimate, with the given frames in it."""
    out = executor(x, *args, **kwargs)
    for conds in executor.class_obj.conds.values():
        for cond in conds or ():
            if LATENT in cond["model_conds"]:
                latent, places = (cond["model_conds"][name].cond.to(out.device) for name in (LATENT, PLACES))
                return _placed(latent, places > 0, out)
    return out


def finish(conds: list[dict[str, Any]], samples: Tensor) -> Tensor:
    """The result of a run that ends without noise, with the given frames in it."""
    carried = [given for cond in conds if (given := keys.given_of(cond)) is not None]
    return carried[0].on(samples) if carried else samples
