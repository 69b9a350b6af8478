"""VACE's own reference frames under control, beside what else a model carries."""

import logging
from dataclasses import replace

import comfy.context_windows
import comfy.sd
import pytest
import refvid_tiny as tiny
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from refvid_in_process import empty_latent, load_model, picture, sample, text, worst
from refvid_vace_runs import CONTROL, FRAMES, LEFT, apply, controlled, cores, run, texts, tiny_vace

from refvid.core.controls import Controls, StepWindow
from refvid.core.guidance import Guidance, Scale, joint
from refvid.core.references import make_reference
from refvid.hosts.comfy.backbone import with_shift
from refvid.hosts.comfy.families.wan import ForwardCall
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.inspection import inspect_comfy_references
from refvid.hosts.comfy.references import apply_references
from refvid.hosts.comfy.vace import VaceReferences

pytestmark = pytest.mark.comfy


@pytest.fixture(scope="module")
def model(folder):
    return tiny_vace(folder)


@pytest.fixture(scope="module")
def out(model, vae):
    return apply(model, vae, controlled())


@pytest.fixture(scope="module")
def plainly(out):
    return run(out, steps=2)


def test_what_is_asked_of_references_acts_on_the_video(model, vae, plainly):
    assert torch.isfinite(plainly).all() and plainly.shape[2] == FRAMES
    neutral = apply(model, vae, [make_reference(picture(3)), make_reference(picture(4))])
    assert worst(plainly, run(neutral, steps=2)) > 1e-3
    swapped = apply(model, vae, controlled()[::-1])
    assert worst(plainly, run(swapped, steps=2)) > 1e-3


def test_a_weak_reference_is_not_a_weak_control(model, vae):
    given = [cores(vae, None, CONTROL, strength) for strength in (0.7, 0.2)]
    weak, control = (
        run(apply(model, vae, [make_reference(picture(3), None, Controls(one))], base), steps=2)
        for one, base in ((0.2, given[0]), (1.0, given[1]))
    )
    assert worst(weak, control) > 1e-3


@pytest.mark.parametrize("name", ["eager", "deterministic"])
def test_every_attention_path_says_the_same(model, vae, plainly, name):
    assert worst(run(apply(model, vae, controlled(), attention=name), steps=2), plainly) < 1e-4


def test_an_override_and_block_patches_of_others_run_before_and_after(model, vae, plainly):
    """What they ask is nothing; each is called, in the blocks and in the hint branch."""
    calls = {"override": 0, "before": 0, "after": 0}

    def override(kernel, *args, **kwargs):
        calls["override"] += 1
        return kernel(*args, **kwargs)

    def patch(name, previous=None):
        def run_block(args, extra):
            calls[name] += 1
            return extra["original_block"](args) if previous is None else previous(args, extra)

        return run_block

    first = model.clone()
    first.model_options["transformer_options"]["optimized_attention_override"] = override
    first.set_model_patch_replace(patch("before"), "dit", "double_block", 1)
    made = apply(first, vae, controlled())
    ours = made.model.model_options["transformer_options"]["patches_replace"]["dit"][("double_block", 0)]
    made.model.set_model_patch_replace(patch("after", ours), "dit", "double_block", 0)
    assert worst(run(made, steps=2), plainly) < 1e-4
    assert calls["before"] == calls["after"] > 0
    assert calls["override"] > 2 * 2 * 2 * calls["before"]  # two of each block, more where in parts


def test_a_pack_that_runs_attention_in_parts_is_refused(model, vae):
    made = apply(model, vae, controlled())

    def chunked(args, extra):
        options = args["transformer_options"]
        inner = options["optimized_attention_override"]

        def override(kernel, query, key, value, *rest, **kwargs):
            parts = [inner(kernel, part, key, value, *rest, **kwargs) for part in query.chunk(2, dim=1)]
            return torch.cat(parts, dim=1)

        options = {**options, "optimized_attention_override": override}
        return previous({**args, "transformer_options": options}, extra)

    previous = made.model.model_options["transformer_options"]["patches_replace"]["dit"][("double_block", 0)]
    made.model.set_model_patch_replace(chunked, "dit", "double_block", 0)
    with pytest.raises(RuntimeError, match="runs Wan's self-attention in parts"):
        run(made, steps=1)


def test_a_batch_and_passes_apart_are_what_each_is_alone(model, out, plainly):
    noise = torch.randn(2, 16, 2 + FRAMES, 8, 8, generator=torch.Generator().manual_seed(3))
    two = {"samples": torch.zeros(2, 16, 2 + FRAMES, 8, 8)}
    made = sample(out.model, out.positive, out.negative, two, noise=noise, steps=1)
    for row in range(2):
        alone = sample(out.model, out.positive, out.negative, out.latent, noise=noise[row : row + 1], steps=1)
        assert worst(made[row], alone[0]) < 1e-4


def test_conditions_with_other_masks_are_not_run_in_one_batch(model, vae, out):
    """Who sees whom is one rule for all rows."""
    other = apply(model, vae, [controlled()[1], controlled()[0]])
    mixed = sample(out.model, out.positive, other.negative, out.latent, cfg=1.0001, steps=1)
    assert worst(mixed, sample(out.model, out.positive, out.negative, out.latent, cfg=1.0, steps=1)) < 1e-2


def test_a_lora_of_cores_acts_beside_it_as_merged_weights_do(folder, vae, model):
    sizes = tiny.config()
    state, low, merged = tiny.vace_state(sizes), {}, dict(tiny.vace_state(sizes))
    generator = torch.Generator().manual_seed(4)
    for key in ("blocks.0.self_attn.k", "vace_blocks.1.self_attn.v"):
        a, b = torch.randn(4, 96, generator=generator), torch.randn(96, 4, generator=generator)
        low |= {f"diffusion_model.{key}.lora_A.weight": a, f"diffusion_model.{key}.lora_B.weight": b}
        merged[f"{key}.weight"] = state[f"{key}.weight"] + 0.02 * b @ a
    with_lora = comfy.sd.load_lora_for_models(model, None, low, 0.02, 0)[0]
    whole = load_model(tiny.save_dit(folder, "merged.safetensors", sizes, merged))
    assert worst(*(run(apply(one, vae, controlled()), steps=2) for one in (with_lora, whole))) < 1e-4


def test_a_compiled_model_equals_an_eager_one(model, vae):
    """Steps outside of a window are compiled for themselves."""
    late = [make_reference(picture(3), LEFT, Controls(0.5, StepWindow(0.6)), LEFT)]
    made = apply(model, vae, late)
    compiled, eager = made.model.clone(), run(made, steps=2)
    set_torch_compile_wrapper(
        compiled, backend="eager", options=None, mode=None, fullgraph=True, dynamic=False
    )
    assert worst(run(replace(made, model=compiled), steps=2), eager) < 1e-4
    assert worst(eager, run(apply(model, vae, [make_reference(picture(3))]), steps=2)) > 1e-3


def test_both_experts_take_them(model, vae, plainly):
    made = apply_references(
        model, with_shift(model, 3.0), *texts(), vae, empty_latent(), controlled(), "vace", "recipe"
    )
    assert torch.equal(run(made, steps=2), plainly)
    low = sample(made.low_noise_model, made.positive, made.negative, made.latent, steps=2)
    assert worst(low[:, :, 2:], plainly) > 1e-3 and torch.isfinite(low).all()


def test_references_of_a_second_node_follow_those_of_the_first(model, vae, plainly):
    first = apply(model, vae, controlled()[:1])
    second = apply(first.model, vae, controlled()[1:], (first.positive, first.negative, first.latent, 0))
    assert second.trim == 2 and torch.equal(run(second, steps=2), plainly)
    off = [make_reference(picture(5), None, Controls(0.0))]
    assert apply(first.model, vae, off, (first.positive, first.negative, first.latent, 0)).trim == 1


def test_a_noise_mask_leaves_the_frames_in_front_to_the_model(model, vae):
    mask = torch.zeros(1, 1, FRAMES, 8, 8)
    mask[:, :, 1:] = 1
    given = {"samples": torch.randn(1, 16, FRAMES, 8, 8), "noise_mask": mask}
    made = apply(model, vae, controlled()[:1], (*texts(), given, 0))
    assert made.latent["noise_mask"][0, 0, :, 0, 0].tolist() == [1, 0, 1, 1]
    assert worst(run(made, steps=2)[:, :, 0], given["samples"][:, :, 0]) < 1e-5


def test_guiders_keep_them_in_every_pass(model, vae, out):
    guided = table_guider(out.model, out.positive, out.negative, joint(Scale(4.0)))
    made = sample(out.model, None, None, out.latent, guider=guided, steps=2)
    assert torch.equal(made, sample(out.model, out.positive, out.negative, out.latent, steps=2))


def test_nothing_that_acts_changes_nothing(model, vae):
    positive, negative = texts()
    latent = empty_latent()
    made = apply(
        model, vae, [make_reference(picture(3), None, Controls(0.0))], (positive, negative, latent, 0)
    )
    assert made.model is model and made.positive is positive and made.latent is latent and made.trim == 0


def test_an_image_scale_that_does_nothing_is_told_and_what_is_not_shown_is_said(out, caplog):
    with caplog.at_level(logging.WARNING):
        guider = table_guider(out.model, out.positive, out.negative, Guidance(Scale(2.0), Scale(4.0)))
    assert "does nothing to VACE's reference frames" in caplog.text
    made = sample(out.model, None, None, out.latent, guider=guider, steps=1)
    assert torch.isfinite(made).all()
    with pytest.raises(ValueError, match="which is not shown here"):
        inspect_comfy_references(out.model, out.positive, out.latent)


def test_a_model_that_is_called_past_apply_model_is_refused(out):
    part = VaceReferences.conds(out.positive[0][1], out.model, (2 + FRAMES, 8, 8))
    assert part is not None
    with pytest.raises(RuntimeError, match="called past ComfyUI's apply_model"):
        part.called(ForwardCall(out.latent["samples"], torch.ones(1), text(1), None, None, {}, {}))


def test_one_half_without_the_other_is_refused_by_a_guider(model, out):
    with pytest.raises(ValueError, match="model did not go through Apply References"):
        table_guider(model, out.positive, out.negative, joint(Scale(3.0)))
    with pytest.raises(ValueError, match="no VACE references in positive, but the model went through"):
        table_guider(out.model, *texts(), joint(Scale(3.0)))
