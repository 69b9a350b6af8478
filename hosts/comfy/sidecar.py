"""Reference tokens beside the video tokens of ComfyUI's own Wan, through ModelPatcher alone.

A run goes through four stages, each in the hook that ComfyUI has for it:
  OUTER_SAMPLE      plain conditioning becomes `model_conds`, which ComfyUI batches, repeats and moves
  PREPARE_SAMPLING  the added tokens enter the memory estimate
  DIFFUSION_MODEL   references become tokens with positions; masked-out tokens are removed, once per evaluation
  every block       video and reference tokens are joined inside the block only

Outside the blocks the sequence keeps its own length, so VACE, GGUF, LoRA and other packs see what they know. Nothing
here holds on to a module: under DynamicVRAM the weights of a clone may be another instance.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import comfy.conds
import comfy.ldm.common_dit
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...core.layout import Layout
from ...core.recipes import recipe_named
from ...core.references import arrange, reference_input
from . import conditioning as keys
from .variants import input_channels, takes_image_features

KEY = "refvid"
INPUTS, KEEP, LAYOUT = "refvid_inputs", "refvid_keep", "refvid_layout"
IMAGE_FEATURES = (257, 1280)
RAN = "block_index"  # Wan's forward leaves it in transformer_options


def install(model: ModelPatcher) -> ModelPatcher:
    """A clone in which conditioning with references takes effect; one that has it already is only cloned."""
    model = model.clone()
    if model.wrappers.get(WrappersMP.DIFFUSION_MODEL, {}).get(KEY):
        return model
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _outer_sample)
    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, _prepare_sampling)
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, _diffusion_model)
    replaced = model.model_options["transformer_options"].get("patches_replace", {}).get("dit", {})
    for index in range(len(model.model.diffusion_model.blocks)):
        patch = _BlockPatch(replaced.get(("double_block", index)))
        model.set_model_patch_replace(patch, "dit", "double_block", index)
    return model


def _outer_sample(executor, *args, **kwargs):
    guider = executor.class_obj
    for conds in guider.conds.values():  # copies made for this run
        for cond in conds:
            cond["model_conds"] = {**cond.get("model_conds", {}), **model_conds(cond, guider.model_patcher)}
    return executor(*args, **kwargs)


def model_conds(cond: dict[str, Any], model: ModelPatcher) -> dict[str, Any]:
    """What the evaluations of one condition need: inputs of the patch embedding, kept tokens, hashable layout."""
    found: dict[str, Any] = {}
    if cond.get(keys.BLANK_IMAGE) and "clip_vision_output" not in cond and takes_image_features(model):
        found["clip_fea"] = comfy.conds.CONDRegular(torch.zeros(1, *IMAGE_FEATURES))
    if not cond.get(keys.LATENTS):
        return found
    recipe, channels = recipe_named(cond[keys.RECIPE]), input_channels(model)
    masks, latents = cond[keys.MASKS], cond[keys.LATENTS]
    stride = 2 * masks[0].shape[-1] // latents[0].shape[-1]
    layout, keep = arrange(masks, cond[keys.STRENGTHS].tolist(), recipe, stride)
    inputs = [
        reference_input(model.model.process_latent_in(latent), mask, channels, recipe)
        for latent, mask in zip(latents, masks, strict=True)
    ]
    return {
        **found,
        INPUTS: comfy.conds.CONDList(inputs),
        KEEP: comfy.conds.CONDRegular(keep[None]),  # int64: other types are cast to the model's
        LAYOUT: comfy.conds.CONDConstant(layout),
    }


def _prepare_sampling(executor, model, noise_shape, conds, *args, **kwargs):
    kept = [
        cond["model_conds"][LAYOUT].cond.kept
        for cs in conds.values()
        for cond in cs
        if LAYOUT in cond["model_conds"]
    ]
    if kept:
        # Tokens are counted as the latent frames they would fill: that is how the estimate grows with them.
        frame = math.ceil(noise_shape[-1] / 2) * math.ceil(noise_shape[-2] / 2)
        noise_shape = [*noise_shape[:2], noise_shape[2] + math.ceil(max(kept) / frame), *noise_shape[3:]]
    return executor(model, noise_shape, conds, *args, **kwargs)


def _diffusion_model(
    executor, x, timestep, context, clip_fea=None, time_dim_concat=None, transformer_options=None, **kwargs
):
    inputs, keep, layout = (kwargs.pop(name, None) for name in (INPUTS, KEEP, LAYOUT))
    if layout is None:
        return executor(x, timestep, context, clip_fea, time_dim_concat, transformer_options, **kwargs)
    frames = x.shape[2] + (0 if time_dim_concat is None else time_dim_concat.shape[2])
    streams = len(kwargs.get("context_latents") or ())
    options = dict(transformer_options or {})
    beside = _SideCar(executor.class_obj, x, timestep, inputs, keep, layout, frames, streams, options)
    started, options[KEY] = beside.tokens, beside
    options.pop(RAN, None)
    out = executor(x, timestep, context, clip_fea, time_dim_concat, options, **kwargs)
    if beside.tokens is started and RAN in options:  # a cache (EasyCache) may leave the whole forward out
        raise RuntimeError(
            "refvid: the model ran without running any block with the references: another pack replaces the blocks or "
            "the forward (raylight does). Remove it, or apply refvid's references after it"
        )
    return out


class _SideCar:
    """Reference tokens of one evaluation of the model. Lives as long as that evaluation."""

    def __init__(
        self, module, x: Tensor, timestep: Tensor, inputs: list[Tensor], keep: Tensor, layout: Layout,
        frames: int, streams: int, options: dict,
    ):  # fmt: skip
        embedded, turned = [], []
        for index, latent in enumerate(inputs):
            latent = comfy.ldm.common_dit.pad_to_patch_size(latent.to(x), module.patch_size)
            embedded.append(module.patch_embedding(latent.float()).to(x.dtype).flatten(2).transpose(1, 2))
            frame, source = layout.recipe.placement(index, frames)
            turned.append(
                module.rope_encode(
                    1, *latent.shape[-2:], t_start=frame, device=x.device, dtype=x.dtype,
                    transformer_options=options, source_id=source + streams if source else 0,
                )
            )  # fmt: skip
        self.tokens = torch.take_along_dim(torch.cat(embedded, dim=1), keep.unsqueeze(-1), dim=1)
        self._pe = torch.cat(turned, dim=1)[0][keep]
        self._bias = None if layout.neutral else torch.tensor(layout.key_bias(), device=x.device)
        # With a timestep per frame (TI2V) references take the clock of the noisiest frame: the others are clean.
        self._clock = timestep.argmax(dim=1) if timestep.ndim == 2 else None
        self._joined: dict[str, tuple[Tensor, Tensor]] = {}

    def join(self, args: dict[str, Any]) -> dict[str, Any]:
        """A block's arguments with the references behind the video. `args` stays as it is."""
        video = args["img"]
        joined = {
            **args,
            "img": torch.cat([video, self.tokens.to(video)], dim=1),
            "pe": self._once("pe", args["pe"], self._join_pe),
            "vec": self._once("vec", args["vec"], lambda vec: self._join_vec(vec, video)),
        }
        if self._bias is not None:
            options = args["transformer_options"]
            override = _biased(self._bias, video.shape[1], options.get("optimized_attention_override"))
            joined["transformer_options"] = {**options, "optimized_attention_override": override}
        return joined

    def split(self, out: dict[str, Any], length: int) -> dict[str, Any]:
        """Take the references back out of a block's result."""
        self.tokens = out["img"][:, length:]
        return {**out, "img": out["img"][:, :length]}

    def _once(self, name: str, given: Tensor, build: Callable[[Tensor], Tensor]) -> Tensor:
        """Built once an evaluation: every block is handed the same tensor."""
        if name not in self._joined or self._joined[name][0] is not given:
            self._joined[name] = (given, build(given))
        return self._joined[name][1]

    def _join_pe(self, pe: Tensor) -> Tensor:
        return torch.cat([pe.expand(len(self._pe), *pe.shape[1:]), self._pe.to(pe)], dim=1)

    def _join_vec(self, vec: Tensor, video: Tensor) -> Tensor:
        """One modulation for all tokens stays; one per frame is spread over the tokens as core's repeat_e does."""
        if vec.ndim < 4 or vec.shape[1] == 1 or self._clock is None:
            return vec
        length = video.shape[1]
        spread = vec.repeat_interleave(math.ceil(length / vec.shape[1]), dim=1)[:, :length]
        last = vec[torch.arange(len(vec), device=vec.device), self._clock].unsqueeze(1)
        # In x's dtype: core's fused modulation kernel on CUDA takes x's type for granted.
        return torch.cat([spread, last.expand(-1, self.tokens.shape[1], -1, -1)], dim=1).to(video.dtype)


class _BlockPatch:
    """Runs a block, or the patch that was there before, on video and reference tokens together."""

    def __init__(self, previous: Callable | None):
        self.previous = previous

    def __call__(self, args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        beside = args["transformer_options"].get(KEY)
        previous = self.previous
        run = extra["original_block"] if previous is None else lambda given: previous(given, extra)
        if beside is None:
            return run(args)
        return beside.split(run(beside.join(args)), args["img"].shape[1])


def _biased(bias: Tensor, video_tokens: int, previous: Callable | None) -> Callable:
    """An attention override for one block: adds log strengths to the keys of its self-attention, which is called
    first, and leaves its cross-attention alone. Calls the override that was there, or the user's kernel."""
    pending = [True]

    def override(kernel, query, key, value, *args, **kwargs):
        run = kernel if previous is None else functools.partial(previous, kernel)
        if pending:
            pending.clear()
            mask = torch.nn.functional.pad(bias, (video_tokens, 0)).to(query.dtype)[None, None, None, :]
            given = kwargs.get("mask")
            kwargs["mask"] = mask if given is None else given + mask
        return run(query, key, value, *args, **kwargs)

    return override
