"""Automatic regions inside ComfyUI: off is untouched, maps are those of the step before, one set a condition,
and other packs, compilation, windows and kept keys get along with them."""

import logging
import math

import comfy.context_windows
import comfy.samplers
import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_easycache import EasyCacheNode
from refvid_in_process import empty_latent, picture, sample, worst
from refvid_in_process import text as text_of

from refvid.core.controls import Controls, StepWindow
from refvid.core.layout import Layout
from refvid.core.references import make_reference
from refvid.hosts.comfy import tail, wire
from refvid.hosts.comfy.attention import OVERRIDE
from refvid.hosts.comfy.references import AttachedReferences, apply_references
from refvid.kernels import paths

pytestmark = pytest.mark.comfy
TEXTS = [[text_of(1), {}]], [[text_of(2), {}]]
LEFT = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)
CLOSE = 1e-4  # of values up to 20
NOW = {"focus_start": 0.0}
VIDEO, HEADS, SIZE = 48, 2, 48  # tokens of the video; heads of a tiny model, and their features


def reference(seed=3, region=None, **controls):
    return make_reference(picture(seed), None, Controls(**controls), region)


def applied(model, vae, *references, recipe="saber", latent=None, **options):
    given = list(references)
    return apply_references(model, None, *TEXTS, vae, latent or empty_latent(), given, recipe, **options)


def run(out, latent=None, **options):
    return sample(out.model, out.positive, out.negative, latent or empty_latent(), **options)


def watched(model, seen):
    """A model with another pack's override, which is handed every call of an attention in a block."""

    def theirs(kernel, query, key, value, *args, **kwargs):
        out = kernel(query, key, value, *args, **kwargs)
        if "block_index" in kwargs["transformer_options"]:  # else it is only asked what it takes
            seen.append((query, key, value, out))
        return out

    model = model.clone()
    model.model_options["transformer_options"][OVERRIDE] = theirs
    return model


def test_a_focus_of_one_is_bit_identical_to_none(t2v, vae):
    plain = run(applied(t2v, vae, reference(strength=0.5)), steps=2)
    assert torch.equal(run(applied(t2v, vae, reference(strength=0.5, focus=1.0, **NOW)), steps=2), plain)


def test_the_first_evaluation_and_those_before_its_start_are_bit_identical_to_none(t2v, vae):
    plain, late = applied(t2v, vae, reference()), applied(t2v, vae, reference(focus=8.0, focus_start=0.99))
    focused = applied(t2v, vae, reference(focus=8.0, **NOW))
    assert torch.equal(run(focused, steps=1), run(plain, steps=1))
    assert torch.equal(run(late, steps=4), run(plain, steps=4))
    assert worst(run(focused, steps=2), run(plain, steps=2)) > 1e-3


def split(one):
    return one.unflatten(-1, (HEADS, -1)).transpose(1, 2).double()


def maps_of(query, key, spans, row):
    """Maps of each row of a batch from its queries and keys, by the definition."""
    weights = torch.softmax(query @ key.transpose(-1, -2) / SIZE**0.5 + row, -1).mean(1)[:, :VIDEO]
    shares = torch.stack([weights[..., start:stop].sum(-1) for start, stop in spans], 1)
    return shares / shares.amax(-1, keepdim=True)


def test_another_packs_override_is_handed_the_numbers_of_a_whole_mask(t2v, vae):
    """Two references of other factors, one of them weaker: every block of the second step, from the queries
    and keys that the first step had in the middle one."""
    seen, gammas = [], (8.0, 4.0)
    given = reference(3, focus=8.0, strength=0.5, **NOW), reference(4, focus=4.0, **NOW)
    out = applied(watched(t2v, seen), vae, *given)
    run(out, steps=2)
    own = [one for one in seen if one[1].shape[1] > VIDEO]  # not those that read text
    first, second = own[:2], own[2:]
    assert len(own) == 4
    spans = ((VIDEO, VIDEO + 16), (VIDEO + 16, VIDEO + 32))
    row = torch.zeros(VIDEO + 32, dtype=torch.float64)
    row[slice(*spans[0])] = math.log(0.5)
    maps = maps_of(split(first[1][0]), split(first[1][1]), spans, row)
    assert not torch.allclose(maps[0], maps[1])  # of the prompt, and of the negative one
    for query, key, value, found in second:
        assert query.shape[-1] == HEADS * 56
        scale = (SIZE / 56) ** 0.5
        query, key, value = (split(one)[..., :SIZE] for one in (query * scale, key, value))
        bias = row.expand(len(maps), VIDEO + 32, -1).clone()
        for one, (start, stop), gamma in zip(maps.unbind(1), spans, gammas, strict=True):
            bias[:, :VIDEO, start:stop] += math.log(gamma) * one[:, :, None]
        weights = torch.softmax(query @ key.transpose(-1, -2) / SIZE**0.5 + bias[:, None], -1)
        assert worst(split(found)[..., :SIZE], weights @ value) < 1e-5
        assert worst(weights, torch.softmax(query @ key.transpose(-1, -2) / SIZE**0.5 + row, -1)) > 1e-2


@pytest.mark.parametrize("controls", [{}, {"strength": 0.5}, {"region": LEFT}, {"sees": "frames"}])
@pytest.mark.parametrize("attention", ["eager", "deterministic"])
def test_every_path_makes_the_same(t2v, vae, controls, attention):
    given = reference(focus=8.0, **NOW, **controls), reference(4)
    wanted = run(applied(t2v, vae, *given), steps=3)
    assert worst(run(applied(t2v, vae, *given, attention=attention), steps=3), wanted) < CLOSE
    without = run(applied(t2v, vae, reference(**controls), reference(4)), steps=3)
    assert worst(wanted, without) > 1e-2


def test_an_attention_that_takes_no_wider_heads_is_left_out_and_said(t2v, vae, caplog, monkeypatch):
    monkeypatch.setattr(paths, "_told", set())
    wanted = run(applied(t2v, vae, reference(focus=8.0, **NOW)), steps=2)
    for narrow in (narrow_by_error, narrow_by_complaint):
        caplog.clear()
        model = t2v.clone()
        model.model_options["transformer_options"][OVERRIDE] = narrow
        with caplog.at_level(logging.INFO, logger="refvid"):
            got = run(applied(model, vae, reference(focus=8.0, **NOW)), steps=2)
        assert worst(got, wanted) < CLOSE
        said = [one.getMessage() for one in caplog.records if "attention path sdpa" in one.getMessage()]
        assert len(said) == 1 and "heads of 56 features" in said[0]
        assert not [one for one in caplog.records if one.getMessage() == "it fell back"][1:]
        paths._told.clear()


def narrow_by_error(kernel, query, key, value, *args, **kwargs):
    if query.shape[-1] > HEADS * SIZE:
        raise ValueError("unsupported head size")
    return kernel(query, key, value, *args, **kwargs)


def narrow_by_complaint(kernel, query, key, value, *args, **kwargs):
    if query.shape[-1] > HEADS * SIZE:
        logging.error("it fell back")
    return kernel(query, key, value, *args, **kwargs)


def test_rows_of_a_batch_have_their_own_maps(t2v, vae):
    latent, one = empty_latent(batch=2), empty_latent()
    noise = torch.randn(2, 16, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    out = applied(t2v, vae, reference(focus=8.0, **NOW), latent=latent)
    both = run(out, latent, noise=noise, steps=3)
    for row in range(2):
        alone = run(out, one, noise=noise[row : row + 1], steps=3)
        assert worst(both[row : row + 1], alone) < CLOSE


@pytest.mark.parametrize(
    "controls",
    [
        {"focus_start": 0.3, "steps": StepWindow(0.5)},
        pytest.param({"focus_start": 0.0}, marks=pytest.mark.slow),
    ],
)
def test_a_compiled_run_equals_an_eager_one(t2v, vae, controls):
    out = applied(t2v, vae, reference(focus=8.0, **controls), reference(4, strength=0.5))
    wanted, compiled = run(out, steps=5), out.model.clone()
    set_torch_compile_wrapper(
        compiled, backend="eager", options=None, mode=None, fullgraph=True, dynamic=False
    )
    assert worst(sample(compiled, out.positive, out.negative, empty_latent(), steps=5), wanted) < CLOSE


@pytest.mark.parametrize("schedule", ["standard_static", "standard_uniform"])
def test_context_windows_share_maps_by_frame(t2v, vae, schedule, monkeypatch):
    """At the second step every frame of every window has a map, wherever windows lie by then."""
    latent, taken = empty_latent(frames=6), []
    made = applied(t2v, vae, reference(focus=8.0, **NOW), latent=latent)
    made.model.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule(schedule),
        fuse_method=comfy.context_windows.get_matching_fuse_method("flat"),
        context_length=3, context_overlap=1, dim=2,
    )  # fmt: skip

    def listen(*given):
        found = comfy_focus(*given)
        taken.append(found)
        return found

    comfy_focus = tail.comfy_focus
    monkeypatch.setattr(tail, "comfy_focus", listen)
    assert torch.isfinite(run(made, latent, steps=3, cfg=1.0)).all()
    known = [one.maps is not None for one in taken]
    first = known.index(True)
    assert first >= 2 and all(known[first:]) and len(taken) >= 3 * first
    for one in taken[first:]:
        frames = one.maps.unflatten(2, (-1, 16))
        assert (frames.amax(-1) > 0).all(), "a frame without a map"


@pytest.mark.parametrize("how", [{}, {"strength": 0.4}])
def test_kept_keys_and_a_focus_make_what_every_step_anew_makes(t2v, vae, how, monkeypatch):
    out = applied(t2v, vae, reference(sees="itself", focus=8.0, **NOW, **how), recipe="videomaker")
    kept = run(out, steps=4)
    plain = run(applied(t2v, vae, reference(sees="itself", **how), recipe="videomaker"), steps=4)
    with monkeypatch.context() as patch:
        patch.setattr(Layout, "constant", False)
        anew = run(out, steps=4)
    assert worst(kept, anew) < CLOSE and worst(kept, plain) > 1e-2


def test_steps_that_core_easycache_leaves_out_keep_the_maps(t2v, vae):
    out = applied(t2v, vae, reference(focus=8.0, **NOW))
    model = EasyCacheNode.execute(out.model, 3.0, 0.0, 1.0, False).result[0]
    assert torch.isfinite(sample(model, out.positive, out.negative, empty_latent(), steps=6)).all()


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2s_ancestral"])
def test_samplers_that_evaluate_a_level_twice_run(t2v, vae, sampler):
    out = applied(t2v, vae, reference(focus=8.0, **NOW))
    guider = comfy.samplers.CFGGuider(out.model)
    guider.set_conds(out.positive, out.negative)
    guider.set_cfg(3.0)
    sigmas = comfy.samplers.calculate_sigmas(out.model.get_model_object("model_sampling"), "simple", 4)
    noise = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    made = guider.sample(
        noise, empty_latent()["samples"], comfy.samplers.sampler_object(sampler), sigmas, disable_pbar=True
    )
    assert torch.isfinite(made).all()


def test_conditioning_that_was_saved_before_there_was_a_focus_is_read(t2v, vae):
    out = applied(t2v, vae, reference(3, strength=0.5), reference(4, focus=8.0, focus_start=0.5))
    options, before = out.positive[0][1], wire.key(AttachedReferences, "controls")
    found = wire.read(AttachedReferences, options)
    assert [one.focus for one in found.controls] == [1.0, 8.0]
    assert [one.focus_start for one in found.controls] == [0.2, 0.5]
    old = {name: one for name, one in options.items() if "focus" not in name}
    assert len(options) == len(old) + 2
    read = wire.read(AttachedReferences, old)
    assert [one.focus for one in read.controls] == [1.0, 1.0]
    assert [one.strength for one in read.controls] == [0.5, 1.0]
    del old[f"{before}.strength"]
    with pytest.raises(ValueError, match="strength came not"):
        wire.read(AttachedReferences, old)
