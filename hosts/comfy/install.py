"""The pack's hooks on ComfyUI's own Wan, through ModelPatcher alone. They loop over the riders that are
registered.

A run goes through these stages, each in the hook that ComfyUI has for it:

OUTER_SAMPLE      plain conditioning becomes `model_conds`, which ComfyUI batches, repeats, crops and moves
PREPARE_SAMPLING  the added tokens enter the memory estimate
APPLY_MODEL       what riders do at this step is worked out, outside of what may be compiled
DIFFUSION_MODEL   their parts become tokens with positions; tokens that nobody may see are left out
every block       the tail joins the video, identities join the text, inside the block only (`blocks`)
PREDICT_NOISE     riders see the guided estimate
"""

from functools import partial
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...core.geometry import Geometry
from . import recall, token_lora, wire
from .blocks import BlockPatch, Sequence
from .evaluation import Evaluation, Inside, Options, Rider, TailRule, TextRule, kinds, spare
from .families import wan
from .focus import FocusStore
from .pairing import marked_with, tell_halves
from .run import SamplerRun
from .tail import tail_rule, text_rule


def install(model: ModelPatcher, kind: type[Rider]) -> ModelPatcher:
    """A clone in which the conditioning of every rider takes effect, marked with the kind that it is for."""
    model = marked_with(model.clone(), kind)
    if model.wrappers.get(WrappersMP.DIFFUSION_MODEL, {}).get(wire.PACK):
        return model
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, wire.PACK, _outer_sample)
    model.add_wrapper_with_key(WrappersMP.PREPARE_SAMPLING, wire.PACK, _prepare_sampling)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, wire.PACK, _apply_model)
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, wire.PACK, _diffusion_model)
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, wire.PACK, _predict_noise)
    patched = model.model_options["transformer_options"].get("patches_replace", {}).get("dit", {})
    for index in range(wan.blocks(model.model.diffusion_model)):
        patch = BlockPatch(patched.get(("double_block", index)))
        model.set_model_patch_replace(patch, "dit", "double_block", index)
    return model


def _outer_sample(executor, noise, latent_image, sampler, sigmas, mask=None, callback=None, *rest, **kwargs):
    guider = executor.class_obj
    tell_halves(guider.model_patcher, guider.conds)
    run = SamplerRun(guider, (noise, latent_image), sampler, sigmas, mask, callback, rest, kwargs)
    grid, carried = run.video().shape[2:], run.conditions  # copies made for this run
    for cond in carried:
        made = model_conds(cond, guider.model_patcher, grid)
        cond["model_conds"] = {**cond.get("model_conds", {}), **made}
    for kind in kinds():
        kind.check(carried)
    stores: dict[str, Any] = {wire.FOCUS: FocusStore()}
    if not any("hooks" in cond for cond in carried):  # they change weights over steps
        stores[wire.RECALL] = recall.Store()
    options = guider.model_options["transformer_options"] | stores
    guider.model_options = {**guider.model_options, "transformer_options": options}
    clean = bool(sigmas[-1] == 0)  # before the run: uni_pc writes into them

    def execute(sampler_run: SamplerRun) -> Any:
        return sampler_run.through(executor)

    for kind in reversed(kinds()):
        execute = partial(kind.run, execute=execute)
    samples = execute(run)
    for kind in kinds() if clean else ():
        samples = kind.end(carried, samples)
    return samples


def model_conds(cond: Options, model: ModelPatcher, grid: tuple[int, ...]) -> dict[str, Any]:
    """Conditions that the evaluations of one condition need. grid: (frames, rows, columns) of the video
    latent."""
    conditions = {}
    for kind in kinds():
        conditions |= kind.model_conds(cond, model)
        part = kind.conds(cond, model, grid)
        if part is not None:
            conditions |= wire.conds(part)
    return conditions


def _prepare_sampling(executor, model, noise_shape, conds, *args, **kwargs):
    geometry = wan.geometry(model)
    parts = [parts_of(cond) for sides in conds.values() for cond in sides]
    tokens = max((sum(rider.count(geometry) for rider in riders) for riders in parts), default=0)
    if tokens:
        noise_shape = with_tokens(noise_shape, tokens, geometry, model.model_options.get(wire.WINDOWS))
    return executor(model, noise_shape, conds, *args, **kwargs)


def parts_of(cond: Options) -> list[Rider]:
    """Riders that a condition of a run has for its evaluations."""
    return [part for kind in kinds() if (part := wire.of_conds(kind, cond)) is not None]


def with_tokens(noise_shape, tokens: int, geometry: Geometry, windows) -> list[float]:
    """A latent's shape whose area counts these tokens too, by their cells: the memory estimate is
    proportional to the area. The width takes them, since context windows shorten the frames."""
    *outer, frames, rows, columns = noise_shape
    shown = frames if windows is None else min(frames, windows.context_length)
    return [*outer, frames, rows, columns + geometry.patch**2 * tokens / (shown * rows)]


def _riders(arguments: dict[str, Any]) -> list[Rider]:
    """Riders of an evaluation; its arguments lose what is theirs."""
    found = [wire.unpack(kind, arguments) for kind in kinds()]
    return [part for part in found if part is not None]


def _apply_model(
    executor, x, t, c_concat=None, c_crossattn: Any = None, control=None, transformer_options=None, **kwargs
):
    options = dict(transformer_options or {})
    parts = _riders(kwargs)
    text = 0 if c_crossattn is None else c_crossattn.shape[1]
    evaluation = Evaluation(executor.class_obj, x, t, text, tuple(parts), options=options)
    behind: set[type] = set()
    for rider in parts:
        count, evaluation = len(evaluation.behind), rider.now(evaluation)
        behind |= {type(rider)} if len(evaluation.behind) > count else set()
    tail = tail_rule(evaluation, options, kwargs)
    acting = [one for one in evaluation.riders if tail is not None or type(one) not in behind]
    for part in (*acting, tail, text_rule(evaluation, tail, kwargs)):
        kwargs |= {} if part is None else wire.pack(part)
    with token_lora.acting(executor.class_obj, tail, options):
        out = executor(evaluation.x, t, c_concat, c_crossattn, control, options, **kwargs)
    for rider in parts:
        out = rider.estimate(out)
    return out


def _diffusion_model(executor, *args, **kwargs):
    riders = _riders(kwargs)
    tail, text = wire.unpack(TailRule, kwargs), wire.unpack(TextRule, kwargs)
    call = wan.call_of(*args, **kwargs)
    inside = Inside(executor.class_obj, call, call.x, tail, text)
    behind = spare(riders, call.x)
    if behind:  # frames that are none of the video's, as noisy as it
        frames = call.x.shape[2] - behind
        call.x = call.x[:, :, :frames]
        call.timestep = call.timestep[:, :frames] if call.timestep.ndim == 2 else call.timestep
    for rider in riders:
        rider.called(call)
    sequence = Sequence(inside, riders)
    if sequence.empty:
        return call.run(executor)
    call.options = {**call.options, wire.PACK: sequence}
    call.options.pop(wan.RAN, None)
    out = call.run(executor)
    if not sequence.ran and wan.RAN in call.options:  # a cache (EasyCache) may leave the whole forward out
        raise RuntimeError(
            "refvid: the model ran without running any block with the references: another pack replaces the "
            "blocks or "
            "the forward (raylight does). Remove it, or apply refvid's references after it"
        )
    return sequence.finish(out)


def _predict_noise(executor, x: Tensor, *args, **kwargs):
    out = executor(x, *args, **kwargs)
    carried = [cond for conds in executor.class_obj.conds.values() for cond in conds or ()]
    for kind in kinds():
        part = next((part for cond in carried if (part := wire.of_conds(kind, cond)) is not None), None)
        out = out if part is None else part.estimate(out)
    return out
