"""Public methods inside ComfyUI beside what else a model and a conditioning carry."""

from dataclasses import replace

import comfy.sd
import pytest
import refvid_tiny as tiny
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from refvid_in_process import empty_latent, load_model, picture, sample, text, worst

from refvid.core.controls import Controls, StepWindow
from refvid.core.guidance import Scale, joint
from refvid.core.references import make_reference
from refvid.hosts.comfy import blocks
from refvid.hosts.comfy.backbone import with_shift
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.references import apply_references

pytestmark = pytest.mark.comfy
# Empty places; a place beside the video; one beyond it that does not read the prompt.
NAMES = ("skyreels_v3", "kaleido", "concat_id")
LEFT = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)


def texts():
    return [[text(1), {}]], [[text(2), {}]]


def apply(model, vae, name, references=None, sides=None, low=None, **more):
    references = [make_reference(picture(3))] if references is None else references
    positive, negative = sides or texts()
    return apply_references(
        model, low, positive, negative, vae, empty_latent(), references, name, "recipe", **more
    )


def run(out, model=None, **more):
    more = {"steps": 1, **more}
    return sample(model or out.model, out.positive, out.negative, empty_latent(), **more)


@pytest.fixture(scope="module")
def made(t2v, vae):
    outs = {name: apply(t2v, vae, name) for name in NAMES}
    return {name: (out, run(out)) for name, out in outs.items()}


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_that_does_not_act_leaves_the_graph_as_it_is(t2v, vae, name):
    """Not even empty places are there."""
    out = apply(t2v, vae, name, [make_reference(picture(3), None, Controls(0.0))])
    assert out.model is t2v and torch.equal(run(out), sample(t2v, *texts(), empty_latent(), steps=1))


@pytest.mark.parametrize("name", NAMES)
def test_a_patched_model_without_references_is_bit_identical(t2v, vae, made, name):
    plain = sample(t2v, *texts(), empty_latent(), steps=1)
    assert torch.equal(sample(made[name][0].model, *texts(), empty_latent(), steps=1), plain)


@pytest.mark.parametrize("name", NAMES)
def test_removal_equals_a_mask_of_minus_infinity(t2v, vae, name, monkeypatch):
    """What a mask leaves out of a picture; empty places stay whole."""
    out = apply(t2v, vae, name, [make_reference(picture(3), LEFT)])
    removed = run(out)
    monkeypatch.setattr(blocks, "TailInBlocks", _Masked)
    assert worst(removed, run(out)) < 1e-4


class _Masked(blocks.TailInBlocks):
    """Keeps every token and hides those that removal would take out."""

    def __init__(self, inside, tail, embedded, rule):
        tokens = sum(stream.tokens for stream in tail.layout.streams)
        assert tail.keep.shape[1] < tokens
        every = torch.arange(tokens).expand(len(tail.keep), -1)
        hidden = torch.full((1, tokens), float("-inf")).index_fill(1, tail.keep[0], 0.0)
        super().__init__(inside, replace(tail, keep=every), embedded, replace(rule, bias=hidden))


@pytest.mark.parametrize("name", NAMES)
def test_a_lora_of_cores_acts_as_merged_weights_do(folder, vae, t2v, name):
    sizes = tiny.config()
    state, low, key = tiny.dit_state(sizes), {}, "blocks.0.self_attn.k"
    generator = torch.Generator().manual_seed(4)
    a, b = torch.randn(4, 96, generator=generator), torch.randn(96, 4, generator=generator)
    low |= {f"diffusion_model.{key}.lora_A.weight": a, f"diffusion_model.{key}.lora_B.weight": b}
    merged = state | {f"{key}.weight": state[f"{key}.weight"] + 0.02 * b @ a}
    with_lora = comfy.sd.load_lora_for_models(t2v, None, low, 0.02, 0)[0]
    whole = load_model(tiny.save_dit(folder, f"merged_{name}.safetensors", sizes, merged))
    got, wanted = (run(apply(one, vae, name)) for one in (with_lora, whole))
    assert worst(got, wanted) < 1e-4 < worst(got, run(apply(t2v, vae, name)))


@pytest.mark.parametrize("name", NAMES)
def test_an_override_and_block_patches_of_others_run_before_and_after(t2v, vae, made, name):
    calls = {"override": 0, "before": 0, "after": 0}

    def override(kernel, *args, **kwargs):
        calls["override"] += 1
        return kernel(*args, **kwargs)

    def patch(which, previous=None):
        def run_block(args, extra):
            calls[which] += 1
            return extra["original_block"](args) if previous is None else previous(args, extra)

        return run_block

    first = t2v.clone()
    first.model_options["transformer_options"]["optimized_attention_override"] = override
    first.set_model_patch_replace(patch("before"), "dit", "double_block", 1)
    out = apply(first, vae, name)
    ours = out.model.model_options["transformer_options"]["patches_replace"]["dit"][("double_block", 0)]
    out.model.set_model_patch_replace(patch("after", ours), "dit", "double_block", 0)
    assert worst(run(out), made[name][1]) < 1e-5
    assert calls["before"] == calls["after"] > 0 and calls["override"] >= 4


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES[:2])
def test_a_compiled_model_equals_an_eager_one(made, name):
    out, eager = made[name]
    compiled = out.model.clone()
    set_torch_compile_wrapper(
        compiled, backend="eager", options=None, mode=None, fullgraph=True, dynamic=False
    )
    assert worst(run(out, compiled), eager) < 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_both_experts_take_them(t2v, vae, made, name):
    out = apply(t2v, vae, name, low=with_shift(t2v, 3.0))
    assert torch.equal(run(out), made[name][1])
    low, bare = run(out, out.low_noise_model), sample(with_shift(t2v, 3.0), *texts(), empty_latent(), steps=1)
    assert torch.isfinite(low).all() and worst(low, bare) > 1e-3


@pytest.mark.parametrize("name", ["skyreels_v3", "kaleido"])
def test_two_nodes_are_one_with_both_pictures(t2v, vae, name):
    """Empty places are filled by the second."""
    both = [make_reference(picture(3)), make_reference(picture(4), None, Controls(0.5), LEFT)]
    first = apply(t2v, vae, name, both[:1])
    second = apply(first.model, vae, name, both[1:], (first.positive, first.negative))
    assert torch.equal(run(second), run(apply(t2v, vae, name, both)))


def test_another_nodes_shift_of_rotations_is_added_to_ours(t2v, vae, made):
    """A shift of the whole sequence changes nothing, as rotations are relative."""
    out, wanted = made["kaleido"]
    moved = out.model.clone()
    moved.model_options["transformer_options"]["rope_options"] = {"shift_y": 7.0, "shift_x": 3.0}
    assert worst(run(out, moved), wanted) < 1e-4


def test_empty_places_stay_outside_of_a_pictures_steps_and_region(t2v, vae, made):
    """Where no picture acts now, the places without one still do: the published sequence has them always."""
    late = [make_reference(picture(3), None, Controls(steps=StepWindow(0.5)))]
    out = apply(t2v, vae, "skyreels_v3", late)
    plain = sample(t2v, *texts(), empty_latent(), steps=1)
    got = run(out)
    assert worst(got, made["skyreels_v3"][1]) > 1e-4 and worst(got, plain) > 1e-4
    left = apply(t2v, vae, "skyreels_v3", [make_reference(picture(3), None, Controls(), LEFT)])
    assert worst(run(left), made["skyreels_v3"][1]) > 1e-4


def test_a_null_pass_that_drops_references_drops_empty_places(t2v, vae):
    positive, negative = texts()
    out = apply_references(
        t2v,
        None,
        positive,
        negative,
        vae,
        empty_latent(),
        [make_reference(picture(3))],
        "skyreels_v3",
        "drop",
    )
    guider = table_guider(out.model, out.positive, out.negative, joint(Scale(4.0)))
    assert torch.equal(sample(out.model, None, None, empty_latent(), guider=guider, steps=1), run(out))
