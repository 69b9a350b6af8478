"""Denoising steps for any guider, in the words of KSampler (Advanced)."""

import logging
from dataclasses import dataclass

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from . import wire
from .pairing import require_halves

logger = logging.getLogger(__name__)

# Samplers that use the steps before the present one: a run in two ranges starts their history anew.
WITH_HISTORY = frozenset(
    [
        "lms",
        "dpm_fast",
        "dpm_adaptive",
        "dpmpp_2m",
        "dpmpp_2m_cfg_pp",
        "dpmpp_2m_sde",
        "dpmpp_2m_sde_gpu",
        "dpmpp_2m_sde_heun",
        "dpmpp_2m_sde_heun_gpu",
        "dpmpp_3m_sde",
        "dpmpp_3m_sde_gpu",
        "ipndm",
        "ipndm_v",
        "deis",
        "res_multistep",
        "res_multistep_cfg_pp",
        "res_multistep_ancestral",
        "res_multistep_ancestral_cfg_pp",
        "gradient_estimation",
        "gradient_estimation_cfg_pp",
        "er_sde",
        "sa_solver",
        "sa_solver_pece",
        "uni_pc",
        "uni_pc_bh2",
    ]
)


@dataclass(frozen=True)
class Finished:
    """A finished run, left on its guider, so that a list of runs of which one failed does not begin anew.

    ComfyUI keeps the guiders of the others, and forgets what they made. A guider whose model, conditioning or
    scale was changed is another one.
    """

    asked: tuple
    latent: dict[str, Tensor]
    made: tuple[dict[str, Tensor], dict[str, Tensor]]

    def answers(self, asked: tuple, latent: dict[str, Tensor]) -> bool:
        """True where the same was asked of the same latent."""
        return self.asked == asked and self.latent is latent


@dataclass(frozen=True)
class StepRange:
    """Steps start…end of a schedule of `steps`, in the words of KSampler (Advanced). ValueError for a range
    without a step."""

    steps: int
    sampler_name: str
    scheduler: str
    start: int
    end: int
    leftover_noise: bool

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ValueError(
                f"start_at_step is {self.start} and end_at_step {self.end}: the range holds no step"
            )

    def sigmas(self, model: ModelPatcher) -> Tensor:
        """Noise levels of the range. ValueError where it begins behind the schedule."""
        schedule = comfy.samplers.KSampler(
            model, self.steps, torch.device("cpu"), self.sampler_name, self.scheduler, denoise=1.0
        ).sigmas
        sigmas = schedule[: self.end + 1].clone()
        if not self.leftover_noise:
            sigmas[-1] = 0
        sigmas = sigmas[self.start :]
        if len(sigmas) < 2:
            raise ValueError(
                f"start_at_step is {self.start}, but the schedule has {self.steps} steps: no step is left to "
                "run"
            )
        if len(sigmas) < len(schedule) and self.sampler_name in WITH_HISTORY:
            logger.warning(
                "refvid: %s uses the steps before the present one, so a run in ranges differs from a run in "
                "one; euler does not",
                self.sampler_name,
            )
        return sigmas


def denoise_steps(
    guider: comfy.samplers.CFGGuider, latent: dict[str, Tensor], part: StepRange, seed: int, add_noise: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Run a part of a schedule. -> (latent, its clean estimate at the last step). ValueError where the
    guider's model and conditioning do not belong together."""
    require_halves(guider.model_patcher, getattr(guider, "original_conds", {}), "guider: ")
    sigmas = part.sigmas(guider.model_patcher)
    samples = comfy.sample.fix_empty_latent_channels(
        guider.model_patcher, latent["samples"],
        latent.get("downscale_ratio_spacial"), latent.get("downscale_ratio_temporal"),
    )  # fmt: skip
    asked = (add_noise, seed, part.sampler_name, sigmas.tolist())
    finished = getattr(guider, wire.FINISHED, None)
    if finished is not None and finished.answers(asked, latent):
        return finished.made
    noise = _noise(samples, seed, latent.get("batch_index"), add_noise)
    last: dict[str, Tensor] = {}
    callback = latent_preview.prepare_callback(guider.model_patcher, len(sigmas) - 1, last)
    out = guider.sample(
        noise, samples, comfy.samplers.sampler_object(part.sampler_name), sigmas,
        denoise_mask=latent.get("noise_mask"), callback=callback, disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=seed,
    )  # fmt: skip
    others = {k: v for k, v in latent.items() if not k.startswith("downscale_ratio")}
    device = comfy.model_management.intermediate_device()
    clean = (
        guider.model_patcher.model.process_latent_out(_video(last["x0"], samples).cpu())
        if "x0" in last
        else out
    )
    made = {**others, "samples": out.to(device)}, {**others, "samples": clean.to(device)}
    setattr(guider, wire.FINISHED, Finished(asked, latent, made))
    return made


def _noise(samples: Tensor, seed: int, batch_index, add_noise: bool) -> Tensor:
    # Not zeros_like: between two ranges of an edit the latent is nested.
    return comfy.sample.prepare_noise(samples, seed, batch_index) if add_noise else samples * 0


def _video(preview, samples) -> Tensor:
    """The video of what a sampler shows of a latent. Between two ranges of an edit it is nested with semantic
    tokens; an older ComfyUI (0.30) shows it packed."""
    if getattr(preview, "is_nested", False):
        return preview.unbind()[0]
    if getattr(samples, "is_nested", False):
        return comfy.utils.unpack_latents(preview, [one.shape for one in samples.unbind()])[0]
    return preview
