"""Semantic tokens through a sampler's steps: as frames behind the video's latent, which any sampler and any
guidance takes along.

They appear where ComfyUI has taken the latent for a run (OUTER_SAMPLE) and are gone when it gives it back. A
run that stops above noise 0 hands them on in a nested latent, ComfyUI's own way to hold two tensors. A run
that begins there takes them from it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import comfy.utils
import torch
from torch import Tensor

from ....core.semantic import first_frames
from .. import wire
from ..run import SamplerRun


@dataclass(frozen=True)
class SpareFrames:
    """Semantic tokens that a run takes along, as spare frames behind the video's.

    numbers  of all semantic tokens of one video
    frames   of the video's latent
    """

    numbers: int
    frames: int

    def begin(
        self, guider, noise: Tensor, latent: Tensor, sigmas: Tensor, seed: int | None
    ) -> tuple[Tensor, Tensor]:
        """Noise and latent with spare frames behind. ValueError where a run goes on with a latent that has
        lost them."""
        most = guider.model_patcher.get_model_object("model_sampling").sigma_max
        if not noise.any() and not torch.isclose(most.cpu(), sigmas[0].cpu()):
            raise ValueError(
                "the run goes on at a lower noise level, but its latent does not hold the semantic tokens of "
                "the run before: connect the "
                "latent of that run itself"
            )
        drawn = first_frames(latent.shape, self.numbers, seed or 0).to(noise)
        behind = torch.zeros_like(drawn)
        if latent.any():  # else core leaves the latent as it is
            behind = guider.model_patcher.model.process_latent_out(behind)
        return torch.cat([noise, drawn], dim=2), torch.cat([latent, behind.to(latent)], dim=2)


def run_with_spare(spare: SpareFrames, sampler_run: SamplerRun, execute: Callable[[SamplerRun], Any]) -> Any:
    """Run all steps with spare frames. -> the video. Where the run stops above noise 0, or began with a
    nested latent, the spare frames come with it."""
    guider, shapes, nested = sampler_run.guider, sampler_run.named.get("latent_shapes"), sampler_run.nested
    if nested:
        noise, latent = (
            torch.cat(comfy.utils.unpack_latents(one, shapes), dim=2) for one in sampler_run.latents
        )
    else:
        noise, latent = spare.begin(guider, *sampler_run.latents, sampler_run.sigmas, sampler_run.seed)
    mask = sampler_run.mask if nested or sampler_run.mask is None else _with_ones(sampler_run.mask, latent)
    if nested and sampler_run.mask is not None:
        mask = torch.cat(comfy.utils.unpack_latents(sampler_run.mask, shapes), dim=2)
    named = {**sampler_run.named, **({} if shapes is None else {"latent_shapes": [latent.shape]})}
    leftover = bool(sampler_run.sigmas[-1] > 0)
    handler = guider.model_options.get(wire.WINDOWS)
    if handler is not None:
        windows = {wire.WINDOWS: InWindows(handler, spare.frames)}
        guider.model_options = {**guider.model_options, **windows}
    callback = sampler_run.callback and _shown(sampler_run.callback, spare.frames, nested)
    longer = replace(sampler_run, latents=(noise, latent), mask=mask, callback=callback, named=named)
    samples = execute(longer)
    video, behind = samples[:, :, : spare.frames], samples[:, :, spare.frames :]
    if nested:
        return comfy.utils.pack_latents([video, behind])[0]
    return _nest(video, behind) if leftover else video


class InWindows:
    """Core's context windows over the video's frames. The spare frames go into every window whole, and the
    mean of all windows is theirs [choice: semantic-tokens-over-windows]."""

    def __init__(self, handler: Any, frames: int):
        self._handler, self._frames = handler, frames

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)

    def should_use_context(self, model, conds, x_in: Tensor, *args) -> bool:
        return self._handler.should_use_context(model, conds, x_in[:, :, : self._frames], *args)

    def execute(self, calc_cond_batch: Callable, model, conds, x_in: Tensor, *args) -> list[Tensor]:
        video, spare = x_in[:, :, : self._frames], x_in[:, :, self._frames :]
        spare_parts: list[list[Tensor]] = []

        def in_a_window(model, conds, part: Tensor, *more) -> list[Tensor]:
            out = calc_cond_batch(model, conds, torch.cat([part, spare], dim=2), *more)
            spare_parts.append([one[:, :, part.shape[2] :] for one in out])
            return [one[:, :, : part.shape[2]] for one in out]

        made = self._handler.execute(in_a_window, model, conds, video, *args)
        means = [torch.stack(windows).mean(0) for windows in zip(*spare_parts, strict=True)]
        return [torch.cat(pair, dim=2) for pair in zip(made, means, strict=True)]


def _with_ones(mask: Tensor, latent: Tensor) -> Tensor:
    """A noise mask for the longer latent: spare frames are denoised."""
    more = latent.shape[2] - mask.shape[2]
    return torch.cat([mask, mask.new_ones(*mask.shape[:2], more, *mask.shape[3:])], dim=2)


def _shown(callback: Callable, frames: int, nested: bool) -> Callable:
    """A callback that is shown the video alone. For a run that began with a nested latent it is shown both,
    packed, as core expects."""

    def cut(x: Tensor) -> Tensor:
        return (
            comfy.utils.pack_latents([x[:, :, :frames], x[:, :, frames:]])[0] if nested else x[:, :, :frames]
        )

    return lambda step, x0, x, total: callback(step, cut(x0), cut(x), total)


def _nest(video: Tensor, behind: Tensor):
    try:
        from comfy.nested_tensor import NestedTensor
    except ImportError as error:
        raise ValueError(
            "this ComfyUI has no nested latents, which a run in two ranges needs with semantic tokens; run "
            "all steps in one, or update"
        ) from error
    return NestedTensor([video, behind])
