"""Reference tokens beside the video tokens of ComfyUI's own Wan, through ModelPatcher alone.

A run goes through five stages, each in the hook that ComfyUI has for it:
  OUTER_SAMPLE      plain conditioning becomes `model_conds`, which ComfyUI batches, repeats, crops and moves
  PREPARE_SAMPLING  the added tokens enter the memory estimate
  APPLY_MODEL       what the references do at this step is worked out, outside of what may be compiled
  DIFFUSION_MODEL   references become tokens with positions; those that may not be seen are left out
  every block       video and reference tokens are joined inside the block only

Outside the blocks the sequence keeps its own length, so VACE, GGUF, LoRA and other packs see what they know. Nothing
here holds on to a module: under DynamicVRAM the weights of a clone may be another instance.
"""

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
from ...core.references import reference_input
from ...core.schedule import share_of
from ...core.visibility import turn
from ...kernels.grouped import Groups
from ...kernels.paths import AUTO
from ...kernels.whole import WHOLE
from . import conditioning as keys
from .attention import OVERRIDE, Rule, chosen_path
from .variants import input_channels, takes_image_features

KEY = "refvid"
INPUTS, KEEP, LAYOUT, ATTENTION = "refvid_inputs", "refvid_keep", "refvid_layout", "refvid_attention"
CELLS, SOFT = "refvid_cells", "refvid_soft"  # of a condition, until APPLY_MODEL has made them into:
PATH, BIAS, SPANS, ROWS = "refvid_path", "refvid_bias", "refvid_spans", "refvid_rows"
OWN = (INPUTS, KEEP, LAYOUT, ATTENTION, PATH, BIAS, SPANS, ROWS)  # arguments of one evaluation
IMAGE_FEATURES = (257, 1280)
RAN = "block_index"  # Wan's forward leaves it in transformer_options


def install(model: ModelPatcher) -> ModelPatcher:
    """A clone in which conditioning with references takes effect; one that has it already is only cloned."""
    model = model.clone()
    if model.wrappers.get(WrappersMP.DIFFUSION_MODEL, {}).get(KEY):
        return model
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _outer_sample)
    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, _prepare_sampling)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, _apply_model)
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, _diffusion_model)
    replaced = model.model_options["transformer_options"].get("patches_replace", {}).get("dit", {})
    for index in range(len(model.model.diffusion_model.blocks)):
        patch = _BlockPatch(replaced.get(("double_block", index)))
        model.set_model_patch_replace(patch, "dit", "double_block", index)
    return model


def _outer_sample(executor, noise, *args, **kwargs):
    guider = executor.class_obj
    for conds in guider.conds.values():  # copies made for this run
        for cond in conds:
            made = model_conds(cond, guider.model_patcher, noise.shape[2:])
            cond["model_conds"] = {**cond.get("model_conds", {}), **made}
    return executor(noise, *args, **kwargs)


class _Cells(comfy.conds.CONDNoiseShape):
    """A grid over the video: ComfyUI crops it with areas and slices it with context windows. Evaluations share a batch
    only where their grids are equal, since who sees whom is one rule for all rows."""

    def can_concat(self, other) -> bool:
        return super().can_concat(other) and torch.equal(self.cond, other.cond)


def model_conds(cond: dict[str, Any], model: ModelPatcher, grid: tuple[int, ...]) -> dict[str, Any]:
    """What the evaluations of one condition need, for a video latent of grid (frames, rows, columns): inputs of the
    patch embedding, kept tokens, hashable layout, and where asked for the cells each acts on and soft masks."""
    found: dict[str, Any] = {}
    if cond.get(keys.BLANK_IMAGE) and "clip_vision_output" not in cond and takes_image_features(model):
        found["clip_fea"] = comfy.conds.CONDRegular(torch.zeros(1, *IMAGE_FEATURES))
    if not cond.get(keys.LATENTS):
        return found
    arranged, channels = keys.arranged_of(cond), input_channels(model)
    inputs = [
        reference_input(model.model.process_latent_in(latent), mask, channels, arranged.layout.recipe)
        for latent, mask in zip(cond[keys.LATENTS], cond[keys.MASKS], strict=True)
    ]
    found |= {
        INPUTS: comfy.conds.CONDList(inputs),
        KEEP: comfy.conds.CONDRegular(arranged.keep[None]),  # int64: other types are cast to the model's
        LAYOUT: comfy.conds.CONDConstant(arranged.layout),
        ATTENTION: comfy.conds.CONDConstant(cond.get(keys.ATTENTION, AUTO)),
    }
    if arranged.soft is not None:
        found[SOFT] = comfy.conds.CONDRegular(arranged.soft)
    cells = keys.cells_of(cond, grid)
    if cells is not None:
        found[CELLS] = _Cells(cells[None, None])
    return found


def _prepare_sampling(executor, model, noise_shape, conds, *args, **kwargs):
    kept = [
        cond["model_conds"][LAYOUT].cond.kept
        for cs in conds.values()
        for cond in cs
        if LAYOUT in cond["model_conds"]
    ]
    if kept:
        noise_shape = with_tokens(noise_shape, max(kept), model.model_options.get("context_handler"))
    return executor(model, noise_shape, conds, *args, **kwargs)


def with_tokens(noise_shape, tokens: int, windows) -> list[float]:
    """A latent's shape whose area counts these tokens too, four cells each: the estimate is proportional to the area.
    The width takes them, as context windows shorten the frames."""
    *outer, frames, rows, columns = noise_shape
    shown = frames if windows is None else min(frames, windows.context_length)
    return [*outer, frames, rows, columns + 4 * tokens / (shown * rows)]


def _apply_model(
    executor, x, t, c_concat=None, c_crossattn=None, control=None, transformer_options=None, **kwargs
):
    """References of this step: the tokens that act, the weights of their keys, who sees whom. Worked out here, outside
    of the module that torch.compile may hold: core's node drops its guards on transformer_options, while arguments
    are guarded, so a step that differs in more than values is compiled for itself."""
    layout: Layout | None = kwargs.get(LAYOUT)
    given = (x, t, c_concat, c_crossattn, control, transformer_options or {})
    if layout is None:
        return executor(*given, **kwargs)
    cells, soft = (kwargs.pop(name, None) for name in (CELLS, SOFT))
    model, share = executor.class_obj, 0.0
    if layout.timed:
        share = share_of(float(t.max()), model.model_sampling.percent_to_sigma)
    video = x.shape[2] * math.ceil(x.shape[3] / 2) * math.ceil(x.shape[4] / 2)
    now = turn(layout, share, None if cells is None else cells[0, 0], soft, video, x.device)
    if now is None:
        return executor(*given, **{k: v for k, v in kwargs.items() if k not in OWN})
    if now.kept is not None:
        kwargs[KEEP] = kwargs[KEEP][:, now.kept]
    if now.bias is not None:
        kwargs[BIAS] = now.bias
    if now.groups is not None:
        _require_plain_sequence(kwargs)
        kwargs[SPANS] = now.groups.keys
        kwargs[ROWS] = [*now.groups.queries, now.groups.order]
    override, dtype = given[-1].get(OVERRIDE), model.get_dtype_inference()
    kwargs[PATH] = chosen_path(now.bias is not None, kwargs[ATTENTION], override, x.device, dtype)
    return executor(*given, **kwargs)


def _require_plain_sequence(kwargs: dict[str, Any]) -> None:
    for name in ("time_dim_concat", "context_latents", "reference_latent"):
        if kwargs.get(name) is not None:
            raise ValueError(
                f"the conditioning also carries {name} of another node (Phantom, Bernini, Fun-Control), whose tokens have "
                "no region, frames or visibility; leave those controls neutral, or that node out"
            )


def _diffusion_model(
    executor, x, timestep, context, clip_fea=None, time_dim_concat=None, transformer_options=None, **kwargs
):
    inputs, keep, layout, name, path, bias, spans, rows = (kwargs.pop(name, None) for name in OWN)
    if layout is None:
        return executor(x, timestep, context, clip_fea, time_dim_concat, transformer_options, **kwargs)
    if path is None:  # strengths and windows would be lost without a word
        raise RuntimeError(
            "refvid: the diffusion model was called past ComfyUI's apply_model, where the controls of references are worked "
            "out; another pack does that. Remove it"
        )
    frames = x.shape[2] + (0 if time_dim_concat is None else time_dim_concat.shape[2])
    streams = len(kwargs.get("context_latents") or ())
    options = dict(transformer_options or {})
    groups = None
    if spans is not None:
        groups = Groups(spans, tuple(rows[:-1]), rows[-1], rows[-1].shape[0] - keep.shape[1])
    whole = WHOLE[path](groups) if path in WHOLE else None
    rule = Rule(bias, groups, name, path, whole)
    beside = _SideCar(executor.class_obj, x, timestep, inputs, keep, layout, frames, streams, options, rule)
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
        frames: int, streams: int, options: dict, rule: Rule,
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
        self._rule = rule
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
        if not self._rule.neutral:
            options = args["transformer_options"]
            override = self._rule.override(options.get(OVERRIDE))
            joined["transformer_options"] = {**options, OVERRIDE: override}
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
