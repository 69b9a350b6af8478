"""Denoising steps in KSampler (Advanced)'s words, for any guider."""

import logging
from dataclasses import dataclass

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

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


FINISHED = "refvid_finished"  # of a guider: its last run


@dataclass(frozen=True)
class Finished:
    """What a guider made, so that a list of runs of which one failed does not begin anew: ComfyUI keeps the guiders of the others, and
    forgets what they made. A guider whose model, conditioning or scale was changed is another one."""

    asked: tuple
    latent: dict[str, Tensor]
    made: tuple[dict[str, Tensor], dict[str, Tensor]]

    def answers(self, asked: tuple, latent: dict[str, Tensor]) -> bool:
        """True where the same was asked of the same latent."""
        return self.asked == asked and self.latent is latent


def denoise_steps(
    guider: comfy.samplers.CFGGuider,
    latent: dict[str, Tensor],
    add_noise: bool,
    seed: int,
    steps: int,
    sampler_name: str,
    scheduler: str,
    start: int,
    end: int,
    leftover_noise: bool,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Run steps start…end of a schedule of `steps`. -> (latent, its clean estimate at the last step)"""
    if start >= end:
        raise ValueError(f"start_at_step is {start} and end_at_step {end}: the range holds no step")
    sigmas, whole = step_sigmas(
        guider.model_patcher, steps, sampler_name, scheduler, start, end, leftover_noise
    )
    if len(sigmas) < 2:
        raise ValueError(
            f"start_at_step is {start}, but the schedule has {steps} steps: no step is left to run"
        )
    if len(sigmas) < whole and sampler_name in WITH_HISTORY:
        logger.warning(
            "refvid: %s uses the steps before the present one, so a run in ranges differs from a run in one; euler does not",
            sampler_name,
        )
    samples = comfy.sample.fix_empty_latent_channels(
        guider.model_patcher, latent["samples"],
        latent.get("downscale_ratio_spacial"), latent.get("downscale_ratio_temporal"),
    )  # fmt: skip
    asked = (add_noise, seed, sampler_name, sigmas.tolist())
    finished = getattr(guider, FINISHED, None)
    if finished is not None and finished.answers(asked, latent):
        return finished.made
    noise = _noise(samples, seed, latent.get("batch_index"), add_noise)
    last: dict[str, Tensor] = {}
    callback = latent_preview.prepare_callback(guider.model_patcher, len(sigmas) - 1, last)
    out = guider.sample(
        noise, samples, comfy.samplers.sampler_object(sampler_name), sigmas, denoise_mask=latent.get("noise_mask"),
        callback=callback, disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED, seed=seed,
    )  # fmt: skip
    kept = {k: v for k, v in latent.items() if not k.startswith("downscale_ratio")}
    device = comfy.model_management.intermediate_device()
    clean = guider.model_patcher.model.process_latent_out(_video(last["x0"]).cpu()) if "x0" in last else out
    made = {**kept, "samples": out.to(device)}, {**kept, "samples": clean.to(device)}
    setattr(guider, FINISHED, Finished(asked, latent, made))
    return made


def step_sigmas(
    model, steps: int, sampler_name: str, scheduler: str, start: int, end: int, leftover_noise: bool
) -> tuple[Tensor, int]:
    """The range of the schedule that KSampler (Advanced) would run, and the length of the whole schedule."""
    schedule = comfy.samplers.KSampler(
        model, steps, torch.device("cpu"), sampler_name, scheduler, denoise=1.0
    ).sigmas
    sigmas = schedule[: end + 1].clone()
    if not leftover_noise:
        sigmas[-1] = 0
    return sigmas[start:], len(schedule)


def _noise(samples: Tensor, seed: int, batch_index, add_noise: bool) -> Tensor:
    # Not zeros_like: between two ranges of an edit the latent is nested.
    return comfy.sample.prepare_noise(samples, seed, batch_index) if add_noise else samples * 0


def _video(samples) -> Tensor:
    """The video of a latent; between two ranges of an edit it is nested with semantic tokens."""
    return samples.unbind()[0] if getattr(samples, "is_nested", False) else samples
