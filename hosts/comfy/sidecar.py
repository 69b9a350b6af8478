"""Reference tokens beside the video and identity tokens behind the text of ComfyUI's own Wan, through ModelPatcher alone.

A run goes through five stages, each in the hook that ComfyUI has for it:
  OUTER_SAMPLE      plain conditioning becomes `model_conds`, which ComfyUI batches, repeats, crops and moves
  PREPARE_SAMPLING  the added tokens enter the memory estimate
  APPLY_MODEL       what references and identities do at this step is worked out, outside of what may be compiled
  DIFFUSION_MODEL   references become tokens with positions; those that may not be seen are left out
  every block       video and reference tokens, text and identities are joined inside the block only

Outside the blocks the sequence keeps its own length, so VACE, GGUF, LoRA and other packs see what they know. Nothing
here holds on to a module: under DynamicVRAM the weights of a clone may be another instance.
"""

from functools import partial
from typing import Any

import comfy.conds
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...core.geometry import Geometry
from ...core.identity import key_bias
from ...core.layout import Layout
from ...core.references import Arranged, reference_input
from ...core.schedule import share_of
from ...core.visibility import turn
from ...kernels.paths import AUTO, attention_asked, tell_path
from ...kernels.whole import WHOLE
from . import conditioning as keys
from . import edited, people, recall, replaced, spare
from .attention import BEHIND, OVERRIDE, Rule
from .beside import KEY, Beside, BlockPatch, Evaluation, Shown
from .families import wan
from .halves import Feature, marked, tell_halves
from .rivals import Asked, choose
from .shared import Cells, packed, unpacked

INPUTS, KEEP, LAYOUT, ATTENTION = "refvid_inputs", "refvid_keep", "refvid_layout", "refvid_attention"
CELLS, SOFT = "refvid_cells", "refvid_soft"  # of a condition, until APPLY_MODEL has made them into:
PATH, BIAS, SPANS, ROWS = "refvid_path", "refvid_bias", "refvid_spans", "refvid_rows"
REFERENCES = (
    INPUTS,
    KEEP,
    LAYOUT,
    ATTENTION,
    PATH,
    BIAS,
    SPANS,
    ROWS,
    edited.SOURCE,
    edited.MODULES,
)  # arguments of one evaluation


def install(model: ModelPatcher, feature: Feature) -> ModelPatcher:
    """A clone in which conditioning takes effect that carries any of our features, marked with the one it is for."""
    model = marked(model.clone(), feature)
    if model.wrappers.get(WrappersMP.DIFFUSION_MODEL, {}).get(KEY):
        return model
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, _outer_sample)
    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, KEY, _prepare_sampling)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, _apply_model)
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, KEY, _diffusion_model)
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, replaced.predict_noise)
    patched = model.model_options["transformer_options"].get("patches_replace", {}).get("dit", {})
    for index in range(wan.blocks(model.model.diffusion_model)):
        patch = BlockPatch(patched.get(("double_block", index)))
        model.set_model_patch_replace(patch, "dit", "double_block", index)
    return model


def _outer_sample(executor, noise, latent_image, sampler, sigmas, mask=None, callback=None, *rest, **kwargs):
    guider = executor.class_obj
    tell_halves(guider.model_patcher, guider.conds)
    given = spare.Given((noise, latent_image), sampler, sigmas, mask, callback, rest, kwargs)
    grid = given.video().shape[2:]
    for conds in guider.conds.values():  # copies made for this run
        for cond in conds:
            made = model_conds(cond, guider.model_patcher, grid)
            cond["model_conds"] = {**cond.get("model_conds", {}), **made}
    carried = [cond for conds in guider.conds.values() for cond in conds]
    replaced.require_one_film(carried)
    edited.require_one_source(carried)
    if not any("hooks" in cond for cond in carried):  # they change weights over steps
        options = {**guider.model_options["transformer_options"], recall.STORE: recall.Store()}
        guider.model_options = {**guider.model_options, "transformer_options": options}
    clean = bool(sigmas[-1] == 0)  # before the run: uni_pc writes into them
    samples = edited.sample(executor, carried, given)
    return replaced.finish(carried, samples) if clean else samples


def model_conds(cond: dict[str, Any], model: ModelPatcher, grid: tuple[int, ...]) -> dict[str, Any]:
    """What the evaluations of one condition need, for a video latent of grid (frames, rows, columns): inputs of the
    patch embedding, kept tokens, hashable layout, and where asked for the cells each acts on and soft masks."""
    found = replaced.frame_conds(cond, model, grid)
    if cond.get(keys.BLANK_IMAGE) and "clip_vision_output" not in cond and wan.takes_image_features(model):
        found |= wan.no_image()
    if cond.get(keys.IDENTITIES):
        found |= people.identity_conds(cond, grid)
    found |= edited.source_conds(cond, model, grid)
    if not cond.get(keys.LATENTS) and edited.SOURCE not in found:
        return found
    geometry, channels = wan.geometry(model), wan.input_channels(model)
    arranged = keys.arranged_of(cond, geometry)
    latents, masks = cond.get(keys.LATENTS, []), cond.get(keys.MASKS, [])
    shown = [model.model.process_latent_in(latent) * (not cond.get(keys.ZERO)) for latent in latents]
    inputs = [
        reference_input(latent, mask, channels, arranged.layout.recipe, geometry)
        for latent, mask in zip(shown, masks, strict=True)
    ]
    found |= {
        INPUTS: comfy.conds.CONDList(inputs),
        KEEP: comfy.conds.CONDRegular(arranged.keep[None]),  # int64: other types are cast to the model's
        LAYOUT: comfy.conds.CONDConstant(arranged.layout),
        ATTENTION: comfy.conds.CONDConstant(cond.get(keys.ATTENTION, AUTO)),
    }
    if arranged.soft is not None:
        found[SOFT] = comfy.conds.CONDRegular(arranged.soft)
    cells = keys.cells_of(cond, grid) if latents else None
    if cells is not None:
        found[CELLS] = Cells(cells[None, None])
    return found


def _prepare_sampling(executor, model, noise_shape, conds, *args, **kwargs):
    geometry = wan.geometry(model)
    kept = [
        cond["model_conds"][LAYOUT].cond.kept + edited.tokens(cond["model_conds"], geometry)
        for cs in conds.values()
        for cond in cs
        if LAYOUT in cond["model_conds"]
    ]
    if kept:
        handler = model.model_options.get("context_handler")
        noise_shape = with_tokens(noise_shape, max(kept), geometry, handler)
    return executor(model, noise_shape, conds, *args, **kwargs)


def with_tokens(noise_shape, tokens: int, geometry: Geometry, windows) -> list[float]:
    """A latent's shape whose area counts these tokens too, by their cells: the estimate is proportional to the area.
    The width takes them, as context windows shorten the frames."""
    *outer, frames, rows, columns = noise_shape
    shown = frames if windows is None else min(frames, windows.context_length)
    return [*outer, frames, rows, columns + geometry.patch**2 * tokens / (shown * rows)]


def _apply_model(
    executor, x, t, c_concat=None, c_crossattn: Any = None, control=None, transformer_options=None, **kwargs
):
    """References of this step: the tokens that act, the weights of their keys, who sees whom. Worked out here, outside
    of the module that torch.compile may hold: core's node drops its guards on transformer_options, while arguments
    are guarded, so a step that differs in more than values is compiled for itself."""
    options = dict(transformer_options or {})
    given = (x, t, c_concat, c_crossattn, control, options)
    video = edited.video_of(x, kwargs)
    if LAYOUT in kwargs:
        kwargs = _references_now(executor.class_obj, video, t, options, kwargs)
    if people.IDENTITIES in kwargs:
        reads = LAYOUT in kwargs and kwargs[LAYOUT].recipe.reads_text
        beside = kwargs[KEEP].shape[1] if reads else 0
        geometry = wan.geometry(executor.class_obj.current_patcher)
        kwargs = people.identities_now(video, c_crossattn.shape[1], beside, geometry, kwargs)
    if replaced.LATENT in kwargs:
        return replaced.apply_model(executor, given, dict(kwargs))
    return executor(*given, **kwargs)


def _references_now(model, x: Tensor, t: Tensor, options: dict, kwargs: dict[str, Any]) -> dict[str, Any]:
    kwargs = dict(kwargs)
    cells, soft = (kwargs.pop(name, None) for name in (CELLS, SOFT))
    arranged = Arranged(kwargs[LAYOUT], kwargs[KEEP], soft)
    if edited.SOURCE in kwargs:
        arranged, cells = edited.with_source(arranged, cells, x)
        kwargs |= edited.modules_now(model, arranged.layout)
        kwargs[KEEP], kwargs[LAYOUT], soft = arranged.keep, arranged.layout, arranged.soft
    layout: Layout = arranged.layout
    share = share_of(float(t.max()), model.model_sampling.percent_to_sigma) if layout.timed else 0.0
    tokens = layout.geometry.count(*x.shape[2:])
    now = turn(layout, share, None if cells is None else cells[0, 0], soft, tokens, x.shape[2], x.device)
    if now is None:
        return {k: v for k, v in kwargs.items() if k not in REFERENCES}
    if now.kept is not None:
        kwargs[KEEP] = kwargs[KEEP][:, now.kept]
    if now.bias is not None:
        kwargs[BIAS] = now.bias
    if now.groups is not None:
        wan.require_plain_sequence(kwargs)
        kwargs[SPANS], kwargs[ROWS] = packed(now.groups)
    kwargs[ATTENTION] = attention_asked(kwargs[ATTENTION])
    count = kwargs[KEEP].shape[1]
    asked = Asked(model, layout, now, len(x), tokens + count, count, x.device, options.get(OVERRIDE))
    choice = choose(asked, kwargs[ATTENTION])
    tell_path(choice)
    kwargs[PATH], options[BEHIND] = choice.path.name, asked.override  # others may set one in between
    return kwargs


def _diffusion_model(executor, *args, **kwargs):
    mine = {name: kwargs.pop(name, None) for name in (*REFERENCES, *people.PEOPLE)}
    still, call = kwargs.pop(replaced.STILL, None), wan.call_of(*args, **kwargs)
    if mine[edited.SOURCE] is not None and call.timestep.ndim == 2:
        call.timestep = call.timestep[:, : mine[edited.SOURCE].shape[2]]  # semantic tokens have the video's
    if still is not None:
        call.require_plain_sequence()
        call.timestep = replaced.clocks(call.timestep, still)
    if mine[LAYOUT] is None and mine[people.IDENTITIES] is None:
        return call.run(executor)
    unread = (
        mine[people.BOUND] is not None
        and key_bias(mine[people.BOUND], call.x.device) is not None
        and mine[people.READ_BIAS] is None
    )
    if (mine[LAYOUT] is not None and mine[PATH] is None) or unread or people.WHERE in call.rest:
        # Strengths, windows and regions would be lost without a word.
        raise RuntimeError(
            "refvid: the diffusion model was called past ComfyUI's apply_model, where the controls of references are worked "
            "out; another pack does that. Remove it"
        )
    call.options, module, edit = dict(call.options), executor.class_obj, None
    if mine[edited.SOURCE] is not None:
        call.require_plain_sequence()
        call.x, edit = _split(call.x, mine)
    references = None if mine[LAYOUT] is None else _references(module, call, mine, edit)
    identities = None if mine[people.IDENTITIES] is None else people.reading(module, call.context, mine)
    evaluation = Evaluation(references, identities, call.reads_text)
    call.options[KEY] = evaluation
    call.options.pop(wan.RAN, None)
    out = call.run(executor)
    if not evaluation.ran and wan.RAN in call.options:  # a cache (EasyCache) may leave the whole forward out
        raise RuntimeError(
            "refvid: the model ran without running any block with the references: another pack replaces the blocks or "
            "the forward (raylight does). Remove it, or apply refvid's references after it"
        )
    return _finish(edit, out, references, evaluation.ran) if edit is not None else out


def _split(x: Tensor, mine: dict[str, Any]) -> tuple[Tensor, edited.Edited]:
    """The video, and what an edit puts beside it."""
    source, count = mine[edited.SOURCE], mine[LAYOUT].recipe.semantic_tokens
    video, behind = x[:, :, : source.shape[2]], x[:, :, source.shape[2] :]
    return video, edited.Edited(source, mine[edited.MODULES], behind, count)


def _finish(edit: edited.Edited, out: Tensor, references: Any, ran: bool) -> Tensor:
    if not ran and edit.modules is not None:
        raise RuntimeError(
            "refvid: a cache left the model out of a step (EasyCache, for one), which semantic tokens need at every step. Put the cache on "
            "the model before Instruction Edit, so that it lies around it, or remove it"
        )
    return edit.finish(out, references.tokens)


def _references(
    module, call: wan.Call, mine: dict[str, Any], edit: edited.Edited | None
) -> Beside | recall.Recalled:
    path, keep, rows = mine[PATH], mine[KEEP], mine[ROWS]
    groups = (
        None if rows is None else unpacked(mine[SPANS], rows, len(rows[len(mine[SPANS])]) - keep.shape[1])
    )
    whole = WHOLE[path](groups) if path in WHOLE else None
    rule = Rule(mine[BIAS], groups, mine[ATTENTION], path, whole, call.options.get(BEHIND))
    kept = None
    if mine[people.READ_SPANS] is None:
        kept = recall.kept_for(call.options, mine[LAYOUT], rule, call.x)
    if kept is not None and len(kept.blocks) == wan.blocks(module):
        return recall.Recalled(kept, rule)
    beside = Beside(module, call, Shown(mine[INPUTS] or [], keep, mine[LAYOUT], edit), rule)
    if kept is not None:
        beside.keep_in = partial(recall.Recording, kept=kept)
    return beside
