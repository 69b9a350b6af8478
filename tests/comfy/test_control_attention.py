"""Controls and the attention of others: masks that would be lost, kinds of overrides, tensors in
containers."""

import functools
import importlib.util
import logging
import sys

import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from refvid_in_process import empty_latent, picture, sample, worst
from refvid_in_process import text as text_of

from refvid.core.controls import Controls
from refvid.core.references import make_reference
from refvid.hosts.comfy import attention
from refvid.hosts.comfy.references import apply_references
from refvid.kernels.eager import masked_attention
from refvid.kernels.grouped import Groups

pytestmark = pytest.mark.comfy
LEFT = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)


def reference(region=None, **controls):
    return make_reference(picture(3), None, Controls(**controls), region)


def applied(model, vae, one):
    texts = [[text_of(1), {}]], [[text_of(2), {}]]
    return apply_references(model, None, *texts, vae, empty_latent(), [one], "saber")


def run(out, **options):
    return sample(out.model, out.positive, out.negative, empty_latent(), **options)


def deaf(kernel, query, key, value, *args, **kwargs):
    """An override as several packs have it: the mask goes nowhere."""
    return kernel(query, key, value, *args, **{**kwargs, "mask": None})


def test_an_override_that_drops_masks_is_left_out_of_calls_that_need_one_and_said(
    t2v, vae, caplog, monkeypatch
):
    monkeypatch.setattr("refvid.kernels.paths._told", set())
    heard = applied(t2v, vae, reference(strength=0.3))
    wanted = run(heard, steps=1)
    model = t2v.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = deaf
    with caplog.at_level(logging.INFO, logger="refvid"):
        got = run(applied(model, vae, reference(strength=0.3)), steps=1)
    assert worst(got, wanted) < 1e-5
    said = [record.getMessage() for record in caplog.records if "attention path" in record.getMessage()]
    assert len(said) == 1 and "sdpa" in said[0] and "deaf drops masks" in said[0]
    calls = []

    def counting(kernel, *args, **kwargs):
        calls.append(kwargs.get("mask"))
        return kernel(*args, **{**kwargs, "mask": None})

    model.model_options["transformer_options"]["optimized_attention_override"] = counting
    regional = run(applied(model, vae, reference(region=LEFT)), steps=1)
    assert worst(regional, run(applied(t2v, vae, reference(region=LEFT)), steps=1)) < 1e-5
    assert calls and all(mask is None for mask in calls)  # regions need no mask: the override stays in use


def test_an_override_that_drops_masks_in_one_block_alone_loses_none(t2v, vae):
    out = applied(t2v, vae, reference(strength=0.3))
    wanted, model = run(out, steps=1), out.model.clone()
    ours = model.model_options["transformer_options"]["patches_replace"]["dit"][("double_block", 1)]

    def patch(args, extra):
        options = {**args["transformer_options"], attention.OVERRIDE: deaf}
        return ours({**args, "transformer_options": options}, extra)

    model.set_model_patch_replace(patch, "dit", "double_block", 1)
    found = sample(model, out.positive, out.negative, empty_latent(), steps=1)
    assert worst(found, wanted) < 1e-5


def test_groups_of_too_many_segments_are_not_for_the_kernel(monkeypatch):
    monkeypatch.setattr(attention, "why_not", lambda *_: None)
    spans = tuple(((start, start + 1),) for start in range(40))
    groups = Groups(spans, tuple(torch.arange(40).split(1)), torch.arange(40), 40)
    cpu = torch.device("cpu")
    assert "40 segments" in attention.need_of(False, groups, None, cpu, torch.float32).no_triton
    assert attention.need_of(False, None, None, cpu, torch.float32).no_triton is None
    monkeypatch.setattr(attention.options_of_comfyui, "disable_triton_backend", True, raising=False)
    assert "--disable-triton-backend" in attention.need_of(False, None, None, cpu, torch.float32).no_triton


def test_who_is_named_in_the_environment_passes_over_an_override_as_by_name(t2v, vae, monkeypatch):
    model, masks = t2v.clone(), []

    def theirs(kernel, *args, **kwargs):
        masks.append(kwargs.get("mask"))
        return kernel(*args, **kwargs)

    model.model_options["transformer_options"][attention.OVERRIDE] = theirs
    monkeypatch.setenv("REFVID_ATTENTION", "eager")
    run(applied(model, vae, reference(strength=0.3)), steps=1)
    masks.clear()  # the first time it was asked whether it drops them
    run(applied(model, vae, reference(strength=0.3)), steps=1)
    assert masks and all(mask is None for mask in masks)  # it still reads the text


@pytest.mark.parametrize("kind", [WrappersMP.APPLY_MODEL, WrappersMP.DIFFUSION_MODEL])
@pytest.mark.parametrize("first", [True, False])
def test_an_override_that_another_packs_wrapper_sets_at_a_step_loses_none(t2v, vae, kind, first):
    """The path was chosen before it was there."""
    wanted = run(applied(t2v, vae, reference(strength=0.3)), steps=1)

    def wrapper(executor, *given, **more):
        options = next(one for one in (*given, *more.values()) if isinstance(one, dict) and "uuids" in one)
        changed = {**options, attention.OVERRIDE: deaf}

        def swap(one):
            return changed if one is options else one

        return executor(*map(swap, given), **{name: swap(one) for name, one in more.items()})

    model = t2v.clone()
    if first:
        model.add_wrapper_with_key(kind, "theirs", wrapper)
    out = applied(model, vae, reference(strength=0.3))
    last = out.model.clone()
    if not first:
        last.add_wrapper_with_key(kind, "theirs", wrapper)
    found = sample(last, out.positive, out.negative, empty_latent(), steps=1)
    assert worst(found, wanted) < 1e-5


def test_a_comfyui_without_that_node_of_cores_loads_the_pack_too(monkeypatch):
    monkeypatch.delattr(ModelPatcher, "set_model_optimized_attention", raising=False)
    spec = importlib.util.spec_from_file_location(f"{attention.__package__}.again", attention.__file__)
    again = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, again)
    spec.loader.exec_module(again)
    assert not again.is_cores(deaf) and not again.is_cores(functools.partial(deaf))


def made_anew(inner):
    return lambda kernel, *args, **kwargs: inner(functools.partial(kernel), *args, **kwargs)


def hearing(kernel, *args, **kwargs):
    return kernel(*args, **kwargs)


def silent(kernel, query, *args, **kwargs):
    return query * 0


def test_whether_masks_act_is_asked_once_of_every_kind_of_override(monkeypatch):
    """Functions made anew of the same parts are one kind; what they hold on to tells kinds apart."""
    cpu, asked, real = torch.device("cpu"), [], attention._masks_act
    monkeypatch.setattr(attention, "_masks_act", lambda *place: asked.append(place) or real(*place))
    monkeypatch.setattr(attention, "_known", {})
    for _ in range(3):
        assert attention.drops_masks(None, cpu, torch.float32) is None
        assert attention.drops_masks(made_anew(hearing), cpu, torch.float32) is None
        assert attention.drops_masks(functools.partial(silent), cpu, torch.float32) is None
        said = attention.drops_masks(made_anew(deaf), cpu, torch.float32)
        assert said is not None and "drops masks" in said
    assert len(asked) == 4
    attention.drops_masks(made_anew(deaf), cpu, torch.bfloat16)
    assert len(asked) == 5


@pytest.mark.parametrize("chained", [False, True])
def test_tensors_in_containers_reach_the_same_attention(chained):
    """Newer cores hand Wan's attention containers that a kernel may take apart; another override may know
    them."""
    core, taken = attention.core_attention, []

    def previous(kernel, *args, **kwargs):
        return kernel(*args, **kwargs)

    previous.container_function = lambda *args, **kwargs: taken.append(args)
    query, key, value = torch.randn(3, 1, 6, 8, generator=torch.Generator().manual_seed(1))
    rule = attention.Rule(torch.tensor([[0.3, 0.5]]).log(), None, "auto", "bias")

    def run(*tensors):
        override = attention.block_override(rule, None, 1, previous if chained else None)
        return core.optimized_attention(*tensors, heads=2, transformer_options={attention.OVERRIDE: override})

    held = run(*(core.AttentionTensorContainer(t.clone()) for t in (query, key, value)))
    assert torch.equal(held, run(query, key, value)) and not taken
    bias = torch.tensor([1.0, 1, 1, 1, 0.3, 0.5]).log()
    heads = [t.unflatten(-1, (2, 4)).transpose(1, 2).double() for t in (query, key, value)]
    wanted = masked_attention(*heads, key_bias=bias[None].double()).transpose(1, 2).flatten(2)
    assert worst(held, wanted) < 2e-6
