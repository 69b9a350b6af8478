"""The reference path inside ComfyUI's own Wan: exactness, neutrality, company."""

import math
from dataclasses import replace

import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_bernini import BerniniConditioning
from comfy_extras.nodes_wan import WanPhantomSubjectToVideo
from refvid_in_process import empty_latent, picture, sample, text, worst

from refvid.core.controls import Controls
from refvid.core.guidance import Scale, joint
from refvid.core.references import make_reference
from refvid.hosts.comfy import blocks
from refvid.hosts.comfy.guiders import strip, table_guider
from refvid.hosts.comfy.install import install
from refvid.hosts.comfy.references import References, apply_references

pytestmark = pytest.mark.comfy


@pytest.fixture
def model(t2v):
    return t2v


@pytest.fixture
def positive():
    return [[text(1), {}]]


@pytest.fixture
def negative():
    return [[text(2), {}]]


def half_mask(height: int = 64, width: int = 64) -> torch.Tensor:
    mask = torch.zeros(height, width)
    mask[: height // 2] = 1
    return mask


def apply(model, positive, negative, vae, references, recipe="saber", latent=None, null_pass="recipe"):
    return apply_references(
        model, None, positive, negative, vae, latent or empty_latent(), references, recipe, null_pass
    )


def test_no_reference_and_strength_zero_leave_the_graph_as_it_is(model, vae, positive, negative):
    plain = sample(model, positive, negative, empty_latent())
    for references in (
        [],
        [make_reference(picture(3), None, Controls(0.0)), make_reference(picture(4), None, Controls(0.0))],
    ):
        out = apply(model, positive, negative, vae, references)
        assert out.model is model and out.positive is positive and out.negative is negative
        assert torch.equal(sample(out.model, out.positive, out.negative, empty_latent()), plain)


def test_a_patched_model_without_references_in_the_conditioning_is_bit_identical(
    model, vae, positive, negative
):
    patched = install(model, References)
    assert torch.equal(
        sample(patched, positive, negative, empty_latent()), sample(model, positive, negative, empty_latent())
    )


def test_a_reference_changes_the_result(model, vae, positive, negative):
    out = apply(model, positive, negative, vae, [make_reference(picture(3))])
    assert (
        worst(
            sample(out.model, out.positive, out.negative, empty_latent()),
            sample(model, positive, negative, empty_latent()),
        )
        > 1e-3
    )


@pytest.mark.parametrize("size", [(64, 64), (96, 128)])
def test_an_unmasked_phantom_reference_equals_cores_node(model, vae, positive, negative, size):
    height, width = size
    latent = empty_latent(rows=height // 8, columns=width // 8)
    pictures = [picture(3, height, width), picture(4, height, width)]
    out = apply(model, positive, negative, vae, [make_reference(p) for p in pictures], "phantom", latent)
    core = WanPhantomSubjectToVideo.execute(
        positive, negative, vae, width, height, 9, 1, torch.stack(pictures)
    ).result
    ours = sample(out.model, out.positive, out.negative, latent)
    assert worst(ours, sample(model, core[0], core[1], latent)) < 1e-4


def test_unmasked_bernini_references_of_two_sizes_equal_cores_node(model, vae, positive, negative):
    pictures = [picture(3, 64, 96), picture(4, 48, 32)]
    out = apply(model, positive, negative, vae, [make_reference(p) for p in pictures], "bernini")
    named = {f"reference_image_{i}": p[None] for i, p in enumerate(pictures)}
    core = BerniniConditioning.execute(positive, negative, vae, 64, 64, 9, 1, reference_images=named).result
    ours = sample(out.model, out.positive, out.negative, empty_latent())
    assert worst(ours, sample(model, core[0], core[1], empty_latent())) < 1e-4


def test_references_stand_behind_those_of_cores_nodes(model, vae, positive, negative):
    first, second = picture(3), picture(4)

    def phantom(*pictures):
        return WanPhantomSubjectToVideo.execute(positive, negative, vae, 64, 64, 9, 1, torch.stack(pictures))

    def bernini(*pictures):
        named = {f"reference_image_{i}": one[None] for i, one in enumerate(pictures)}
        return BerniniConditioning.execute(positive, negative, vae, 64, 64, 9, 1, reference_images=named)

    for recipe, node in (("phantom", phantom), ("bernini", bernini)):
        out = apply(model, *node(first).result[:2], vae, [make_reference(second)], recipe)
        ours = sample(out.model, out.positive, out.positive, empty_latent(), cfg=1.0, steps=1)
        core = sample(model, *node(first, second).result[:2], empty_latent(), cfg=1.0, steps=1)
        assert worst(ours, core) < 1e-4, recipe


def test_removal_equals_a_mask_of_minus_infinity(model, vae, positive, negative, monkeypatch):
    references = [make_reference(picture(3), half_mask()), make_reference(picture(4), 1 - half_mask())]
    out = apply(model, positive, negative, vae, references)
    removed = sample(out.model, out.positive, out.negative, empty_latent())
    monkeypatch.setattr(blocks, "TailInBlocks", _Masked)
    masked = sample(out.model, out.positive, out.negative, empty_latent())
    assert worst(removed, masked) < 1e-4


class _Masked(blocks.TailInBlocks):
    """Keeps every token and hides those that removal would take out."""

    def __init__(self, inside, tail, embedded, rule):
        tokens = sum(stream.tokens for stream in tail.layout.streams)
        every = torch.arange(tokens).expand(len(tail.keep), -1)
        hidden = torch.full((1, tokens), float("-inf")).index_fill(1, tail.keep[0], 0.0)
        rule, tail = replace(rule, bias=hidden), replace(tail, keep=every)
        super().__init__(inside, tail, embedded, rule)


@pytest.mark.parametrize("second", [{"mask": True}, {"strength": 0.4}, {"mask": True, "strength": 2.5}])
def test_conditions_of_one_batch_do_not_see_each_others_masks_or_strengths(
    model, vae, positive, negative, second
):
    one = make_reference(picture(3), half_mask())
    other = make_reference(
        picture(3),
        half_mask().flip(0) if "mask" in second else half_mask(),
        Controls(second.get("strength", 1.0)),
    )
    first = apply(model, positive, negative, vae, [one], null_pass="drop")
    both = apply(model, negative, negative, vae, [other], null_pass="drop")
    parts = [sample_pass(first.model, conds) for conds in (first.positive, both.positive)]
    assert worst(together_step(first.model, first.positive, both.positive), torch.cat(parts)) < 1e-5
    swapped = apply(model, positive, negative, vae, [other])
    assert worst(sample_pass(first.model, swapped.positive), parts[0]) > 1e-4  # it would show


def sample_pass(model, conds):
    return together_step(model, conds, None)


def together_step(model, positive, negative):
    """The clean estimates of both conditions at one noise level, before guidance mixes them."""
    seen = []

    def catch(args):
        seen.append(
            torch.cat([args["cond_denoised"]] + ([] if negative is None else [args["uncond_denoised"]]))
        )
        return args["denoised"]

    model = model.clone()
    model.set_model_sampler_post_cfg_function(catch)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative if negative is not None else positive)
    guider.set_cfg(1.0 if negative is None else 3.0)
    sample(model, None, None, empty_latent(), steps=1, guider=guider)
    return seen[0]


def test_strength_changes_attention_and_one_is_untouched(model, vae, positive, negative):
    runs = {}
    for strength in (0.2, 1.0, 5.0):
        out = apply(model, positive, negative, vae, [make_reference(picture(3), None, Controls(strength))])
        runs[strength] = sample(out.model, out.positive, out.negative, empty_latent(), cfg=1.0)
    assert worst(runs[0.2], runs[1.0]) > 1e-4 and worst(runs[5.0], runs[1.0]) > 1e-4


def test_a_strength_near_zero_approaches_removal(model, vae, positive, negative):
    latent = empty_latent()
    tiny_strength = apply(model, positive, negative, vae, [make_reference(picture(3), None, Controls(1e-7))])
    none = sample(model, positive, negative, latent)
    assert (
        worst(sample(tiny_strength.model, tiny_strength.positive, tiny_strength.negative, latent), none)
        < 1e-4
    )


def test_joint_guidance_drops_references_from_its_null_pass_only(model, vae, positive, negative):
    out = apply(model, positive, negative, vae, [make_reference(picture(3))])
    dropped = apply(model, positive, negative, vae, [make_reference(picture(3))], null_pass="drop")
    guider = table_guider(out.model, out.positive, out.negative, joint(Scale(4.0)))
    ours = sample(out.model, None, None, empty_latent(), guider=guider)
    assert torch.equal(
        ours, sample(dropped.model, dropped.positive, dropped.negative, empty_latent(), cfg=4.0)
    )
    assert worst(ours, sample(out.model, out.positive, out.negative, empty_latent(), cfg=4.0)) > 1e-4


def test_conditioning_that_came_in_is_left_as_it_was(model, vae, positive, negative):
    marked = [[positive[0][0], {"pooled_output": torch.ones(1)}]]
    out = apply(model, marked, negative, vae, [make_reference(picture(3))])
    sample(out.model, out.positive, out.negative, empty_latent())
    assert set(marked[0][1]) == {"pooled_output"} and set(negative[0][1]) == set()
    assert (
        "model_conds" not in out.positive[0][1]
        and out.positive[0][1]["pooled_output"] is marked[0][1]["pooled_output"]
    )


def test_what_the_conditioning_carries_is_plain(model, vae, positive, negative):
    out = apply(model, positive, negative, vae, [make_reference(picture(3))])
    for value in out.positive[0][1].values():
        plain = isinstance(value, (str, bool, int, float, torch.Tensor))
        assert plain or all(isinstance(item, torch.Tensor) for item in value)


def test_applied_twice_appends(model, vae, positive, negative):
    references = [make_reference(picture(3)), make_reference(picture(4), half_mask())]
    at_once = apply(model, positive, negative, vae, references)
    first = apply(model, positive, negative, vae, references[:1])
    second = apply(first.model, first.positive, first.negative, vae, references[1:])
    assert torch.equal(
        sample(at_once.model, at_once.positive, at_once.negative, empty_latent()),
        sample(second.model, second.positive, second.negative, empty_latent()),
    )


def test_two_recipes_in_one_conditioning_are_refused(model, vae, positive, negative):
    first = apply(model, positive, negative, vae, [make_reference(picture(3))], "saber")
    with pytest.raises(ValueError, match="use one recipe"):
        apply(first.model, first.positive, first.negative, vae, [make_reference(picture(4))], "phantom")


def test_an_attention_override_is_chained_with_and_without_a_strength(model, vae, positive, negative):
    calls = []

    def override(kernel, *args, **kwargs):
        calls.append(kwargs.get("mask") is not None)
        return kernel(*args, **kwargs)

    watched = model.clone()
    watched.model_options["transformer_options"]["optimized_attention_override"] = override
    for strength, masked in ((1.0, 0), (0.5, 2)):
        out = apply(watched, positive, negative, vae, [make_reference(picture(3), None, Controls(strength))])
        sample(out.model, out.positive, out.negative, empty_latent(), steps=1)  # asks once whether masks act
        calls.clear()
        got = sample(out.model, out.positive, out.negative, empty_latent(), steps=1)
        assert len(calls) == 4 and sum(calls) == masked  # two blocks, self and cross; the mask on self only
        plain = apply(model, positive, negative, vae, [make_reference(picture(3), None, Controls(strength))])
        assert torch.equal(got, sample(plain.model, plain.positive, plain.negative, empty_latent(), steps=1))


def test_references_that_no_block_saw_are_an_error(model, vae, positive, negative):
    out = apply(model, positive, negative, vae, [make_reference(picture(3))])
    for index in range(2):
        out.model.set_model_patch_replace(
            lambda args, extra: extra["original_block"](args), "dit", "double_block", index
        )
    with pytest.raises(RuntimeError, match="another pack replaces the blocks"):
        sample(out.model, out.positive, out.negative, empty_latent())


def test_skipping_the_first_block_keeps_the_references(model, vae, positive, negative):
    out = apply(model, positive, negative, vae, [make_reference(picture(3))])
    out.model.set_model_patch_replace(lambda args, extra: {"img": args["img"]}, "dit", "double_block", 0)
    with_reference = sample(out.model, out.positive, out.negative, empty_latent())
    without = sample(out.model, positive, negative, empty_latent())
    assert worst(with_reference, without) > 1e-4


def test_the_estimate_of_memory_grows_with_the_references(model, vae, positive, negative):
    shapes = []
    out = apply(model, positive, negative, vae, [make_reference(picture(s)) for s in (3, 4)])

    def watch(executor, patcher, noise_shape, *args, **kwargs):
        shapes.append(tuple(noise_shape))
        return executor(patcher, noise_shape, *args, **kwargs)

    out.model.add_wrapper_with_key("prepare_sampling", "watch", watch)
    sample(out.model, out.positive, out.negative, empty_latent(), steps=1)
    sample(out.model, positive, negative, empty_latent(), steps=1)
    # Two references of 16 tokens, four cells each: as much area as 3 frames of 8 x 8 cells and 128 cells
    # more.
    assert math.prod(shapes[0][2:]) == pytest.approx(3 * 64 + 128) and shapes[1] == (1, 16, 3, 8, 8)


def test_keys_of_the_conditioning_survive_removal_by_the_guider(model, vae, positive, negative):
    out = apply(model, positive, negative, vae, [make_reference(picture(3))])
    assert strip(out.negative)[0][1] == {} and References.carried(out.negative[0][1])


@pytest.mark.parametrize(("strength", "evaluations"), [(1.0, [2]), (0.4, [1, 1])])
def test_masks_share_an_evaluation_and_strengths_get_one_each(
    model, vae, positive, negative, strength, evaluations
):
    batches = []
    one = apply(model, positive, negative, vae, [make_reference(picture(3), half_mask())], null_pass="drop")
    other = make_reference(picture(3), half_mask().flip(0), Controls(strength))
    two = apply(model, negative, negative, vae, [other], null_pass="drop")

    def watch(executor, x, *args, **kwargs):
        batches.append(len(x))
        return executor(x, *args, **kwargs)

    one.model.add_wrapper_with_key("diffusion_model", "watch", watch)
    sample(one.model, one.positive, two.positive, empty_latent(), steps=1)
    assert batches == evaluations
