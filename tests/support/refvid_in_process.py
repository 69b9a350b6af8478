"""Running ComfyUI's own loaders, guiders and samplers in process, for tests under its interpreter."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import comfy.ldm.wan.vae2_2 as vae2_2
import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.sd
import comfy.utils
import torch
from torch import Tensor


def load_model(path: Path):
    return comfy.sd.load_diffusion_model(str(path))


def load_vae(path: Path):
    return comfy.sd.VAE(sd=comfy.utils.load_torch_file(str(path)))


def load_vae22(path: Path):
    """A Wan 2.2 VAE of any width; by itself core makes the published one alone of a file."""
    state = comfy.utils.load_torch_file(str(path))
    widths = [state[key].shape[0] for key in ("encoder.conv1.weight", "decoder.head.0.gamma")]
    made = vae2_2.WanVAE(*widths, z_dim=48, temperal_downsample=[False, True, True])
    with mock.patch.object(vae2_2, "WanVAE", return_value=made):
        return comfy.sd.VAE(sd=state)


def text(seed: int, length: int = 12, width: int = 32) -> Tensor:
    return torch.randn(1, length, width, generator=torch.Generator().manual_seed(seed))


def picture(seed: int, height: int = 64, width: int = 64) -> Tensor:
    return torch.rand(height, width, 3, generator=torch.Generator().manual_seed(seed))


def empty_latent(
    frames: int = 3, rows: int = 8, columns: int = 8, channels: int = 16, batch: int = 1
) -> dict[str, Tensor]:
    return {"samples": torch.zeros(batch, channels, frames, rows, columns)}


def with_values(conditioning, values: dict) -> list:
    """A copy whose entries carry these options too."""
    return [[words, {**options, **values}] for words, options in conditioning]


def sample(
    model,
    positive,
    negative,
    latent: dict[str, Tensor],
    cfg: float = 4.0,
    steps: int = 4,
    seed: int = 5,
    guider=None,
    noise: Tensor | None = None,
    first: int = 0,
) -> Tensor:
    """Core's guider and euler sampler over the whole schedule, or from a step on."""
    if guider is None:
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
    sigmas = comfy.samplers.calculate_sigmas(
        guider.model_patcher.get_model_object("model_sampling"), "simple", steps
    )
    if noise is None:
        noise = comfy.sample.prepare_noise(latent["samples"], seed)
    return guider.sample(
        noise, latent["samples"], comfy.samplers.sampler_object("euler"), sigmas[first:],
        denoise_mask=latent.get("noise_mask"), disable_pbar=True, seed=seed,
    )  # fmt: skip


def velocity_at(model, positive, negative, latent: Tensor, sigma: float, frames: int | None = None) -> Tensor:
    """The velocity that the model says for the positive condition of this latent (1, C, F, h, w) at this
    noise level, called as ComfyUI's sampler calls it; the video has so many of its frames."""
    patcher, seen = model.clone(), []

    def instead(executor, x, timestep, *args, **kwargs):
        denoised = executor(latent.to(x), torch.full_like(timestep, sigma), *args, **kwargs)
        seen.append((latent.to(denoised) - denoised) / sigma)
        return denoised

    patcher.wrappers = {kind: dict(wrappers) for kind, wrappers in patcher.wrappers.items()}
    patcher.wrappers["apply_model"] = {"instead": [instead], **patcher.wrappers.get("apply_model", {})}
    every, rows, columns = latent.shape[2:]
    blank = empty_latent(frames or every, rows, columns, latent.shape[1])
    sample(patcher, positive, negative, blank, cfg=1.0, steps=1)
    return seen[0]


@contextmanager
def in_float64(model, *beside: torch.nn.Module) -> Iterator[list[Tensor]]:
    """ComfyUI's model, and modules beside it, in float64 for as long as this lasts; what the model gives is
    added to the list. Rotations and the embedding of patches stay in float32, as core has them in every type,
    and so does the result behind the model."""
    inside, module = model.model, model.model.diffusion_model
    before, made = (inside.manual_cast_dtype, comfy.model_management.in_training), []
    for one in (module, *beside):
        one.double()
    module.patch_embedding.float()
    # in training, core turns queries and keys by torch alone; its compiled way knows no float64
    inside.manual_cast_dtype, comfy.model_management.in_training = torch.float64, True
    hook = module.register_forward_hook(lambda _, given, out: made.append(out))
    try:
        yield made
    finally:
        hook.remove()
        inside.manual_cast_dtype, comfy.model_management.in_training = before
        for one in (module, *beside):
            one.float()


def worst(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return (a.double() - b.double()).abs().max().item()
