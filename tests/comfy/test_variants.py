"""The reference path across Wan variants and ComfyUI's own features."""

import json

import comfy.context_windows
import comfy.sd
import pytest
import refvid_tiny as tiny
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_easycache import EasyCacheNode
from refvid_in_process import empty_latent, load_model, picture, sample, text, worst
from safetensors import safe_open
from safetensors.torch import save_file

from refvid.core.controls import Controls
from refvid.core.references import make_reference
from refvid.hosts.comfy import wire
from refvid.hosts.comfy.backbone import with_shift
from refvid.hosts.comfy.guiders import strip
from refvid.hosts.comfy.masked_input import AttachedImage
from refvid.hosts.comfy.references import apply_references

pytestmark = pytest.mark.comfy
LEFT = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)


@pytest.fixture(scope="module")
def vace(folder):
    sizes = tiny.config()
    return load_model(tiny.save_dit(folder, "vace.safetensors", sizes, tiny.vace_state(sizes)))


@pytest.fixture(scope="module")
def fun(folder):
    sizes = tiny.config(in_channels=36)
    return load_model(tiny.save_dit(folder, "fun.safetensors", sizes, tiny.dit_state(sizes)))


@pytest.fixture(scope="module")
def i2v(folder):
    sizes = tiny.config(in_channels=36, image_width=1280)
    return load_model(tiny.save_dit(folder, "i2v.safetensors", sizes, tiny.dit_state(sizes)))


def texts():
    return [[text(1), {}]], [[text(2), {}]]


def apply(model, vae, references, latent=None, conds=None, low=None, recipe="saber"):
    positive, negative = conds or texts()
    return apply_references(model, low, positive, negative, vae, latent or empty_latent(), references, recipe)


def run(out, latent=None, **kwargs):
    return sample(out.model, out.positive, out.negative, latent or empty_latent(), **kwargs)


def reference(strength: float = 1.0):
    return make_reference(picture(3), LEFT, Controls(strength))


def test_vace_control_and_references_work_together(vace, vae):
    frames = torch.randn(1, 32, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    control = {"vace_frames": [frames], "vace_mask": [torch.ones(1, 64, 3, 8, 8)], "vace_strength": [0.7]}
    conds = tuple([[context, dict(control)]] for context in (text(1), text(2)))
    both = run(apply(vace, vae, [reference()], conds=conds))
    assert worst(both, run(apply(vace, vae, [reference()]))) > 1e-3
    assert worst(both, sample(vace, *conds, empty_latent())) > 1e-3


def test_a_masked_input_backbone_sees_a_grey_video_in_every_pass(i2v, vae):
    out = apply(i2v, vae, [reference()])
    for conditioning in (out.positive, strip(out.negative)):
        options = conditioning[0][1]
        assert options["concat_mask"].eq(1).all() and options[wire.key(AttachedImage, "blank")] is True
        grey = vae.encode(torch.full((9, 64, 64, 3), 0.5))
        assert torch.equal(options["concat_latent_image"], grey)


def test_a_start_image_with_references_on_a_masked_input_backbone_is_refused(fun, vae):
    conds = ([[text(1), {"concat_latent_image": torch.zeros(1, 16, 3, 8, 8)}]], [[text(2), {}]])
    with pytest.raises(ValueError, match="start image"):
        apply(fun, vae, [reference()], conds=conds)


def test_applied_twice_appends_on_a_masked_input_backbone_too(i2v, vae):
    references = [reference(), make_reference(picture(4))]
    first = apply(i2v, vae, references[:1])
    second = apply(first.model, vae, references[1:], conds=(first.positive, first.negative))
    assert torch.equal(run(second), run(apply(i2v, vae, references)))


@pytest.mark.parametrize("recipe", ["phantom", "bernini"])
def test_a_recipe_without_a_masked_input_is_refused_on_36_channels(fun, vae, recipe):
    with pytest.raises(ValueError, match=f"recipe {recipe} cannot feed a backbone of 36"):
        apply(fun, vae, [reference()], recipe=recipe)


def test_both_experts_are_patched(t2v, vae):
    out = apply(t2v, vae, [reference()], low=with_shift(t2v, 3.0))
    assert out.low_noise_model is not None
    assert worst(
        sample(out.low_noise_model, out.positive, out.negative, empty_latent()),
        sample(with_shift(t2v, 3.0), *texts(), empty_latent()),
    ) > 1e-3  # fmt: skip


def test_experts_of_different_input_are_refused(t2v, fun, vae):
    with pytest.raises(ValueError, match="low_noise_model takes other input channels"):
        apply(t2v, vae, [reference()], low=fun)


@pytest.mark.parametrize("latent", [empty_latent(rows=7), empty_latent(columns=9)])
def test_a_latent_of_odd_size_is_refused_with_the_rule(t2v, vae, latent):
    with pytest.raises(ValueError, match="both must be multiples of 2: use sizes in steps of 16"):
        apply(t2v, vae, [reference()], latent=latent)


def test_a_latent_of_another_family_is_refused(t2v, vae):
    with pytest.raises(ValueError, match="latent has 48 channels"):
        apply(t2v, vae, [reference()], latent=empty_latent(channels=48))
    with pytest.raises(ValueError, match="not a video's"):
        apply(t2v, vae, [reference()], latent={"samples": torch.zeros(1, 16, 8, 8)})


def test_recipe_auto_reads_the_file_and_otherwise_lists_the_choices(folder, t2v, vae):
    with pytest.raises(ValueError, match="choose one of saber, phantom, bernini"):
        apply(t2v, vae, [reference()], recipe="auto")
    sizes = tiny.config()
    named = load_model(
        tiny.save_dit(folder, "named.safetensors", sizes, tiny.dit_state(sizes), recipe="saber")
    )
    assert torch.equal(
        run(apply(named, vae, [reference()], recipe="auto")), run(apply(t2v, vae, [reference()]))
    )


def test_context_windows_keep_the_references_in_every_window(t2v, vae):
    latent, seen = empty_latent(frames=7), []
    out = apply(t2v, vae, [reference()], latent=latent)
    out.model.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("pyramid"),
        context_length=4, context_overlap=1, dim=2,
    )  # fmt: skip
    previous = out.model.model_options["transformer_options"]["patches_replace"]["dit"][("double_block", 1)]

    def watch(args, extra):
        running = args["transformer_options"].get(wire.PACK)
        kept = None if running is None else running.tail.tokens.shape[1]
        seen.append((args["img"].shape[1] // 16, kept))
        return previous(args, extra)

    out.model.set_model_patch_replace(watch, "dit", "double_block", 1)
    got = run(out, latent, steps=2)
    assert torch.isfinite(got).all()
    # Core may add an anchor frame to a window of four; eight reference tokens stand beside each window.
    assert {kept for _, kept in seen} == {8} and max(frames for frames, _ in seen) <= 5
    assert worst(got, sample(out.model, *texts(), latent, steps=2)) > 1e-3


def test_a_compiled_model_equals_an_eager_one(t2v, vae):
    """The graph is captured whole; code generation is left out, which takes minutes and changes nothing
    here."""
    out = apply(t2v, vae, [reference(0.5), make_reference(picture(4))])
    eager = run(out, steps=2)
    compiled = out.model.clone()
    set_torch_compile_wrapper(
        compiled, backend="eager", options=None, mode=None, fullgraph=True, dynamic=False
    )
    assert worst(sample(compiled, out.positive, out.negative, empty_latent(), steps=2), eager) < 1e-4
    without = sample(compiled, *texts(), empty_latent(), steps=2)
    assert worst(without, sample(t2v, *texts(), empty_latent(), steps=2)) < 1e-4


@pytest.mark.parametrize("first", ["references", "cache"])
def test_steps_that_core_easycache_leaves_out_are_no_error(t2v, vae, first):
    def cached(model):
        return EasyCacheNode.execute(model, 3.0, 0.0, 1.0, False).result[0]

    out = apply(cached(t2v) if first == "cache" else t2v, vae, [reference()])
    model, evaluations = cached(out.model) if first == "references" else out.model, []
    previous = model.model_options["transformer_options"]["patches_replace"]["dit"][("double_block", 0)]

    def watch(args, extra):
        evaluations.append(args["transformer_options"].get(wire.PACK) is not None)
        return previous(args, extra)

    model.set_model_patch_replace(watch, "dit", "double_block", 0)
    got = sample(model, out.positive, out.negative, empty_latent(), steps=6)
    assert torch.isfinite(got).all() and all(evaluations)
    assert 0 < len(evaluations) < 6  # some steps were left out, those that ran had the references


def test_conditioning_survives_a_trip_through_a_file(i2v, vae, tmp_path):
    """As core's Save Conditioning stores it: tensors, lists of tensors, and simple values."""
    out = apply(i2v, vae, [reference(0.5), make_reference(picture(4))])
    (context, options), *_ = out.positive
    lists = {key: value for key, value in options.items() if isinstance(value, list)}
    tensors = {key: value for key, value in options.items() if isinstance(value, torch.Tensor)}
    simple = {key: value for key, value in options.items() if key not in {**lists, **tensors}}
    flat = {f"{key}/{index}": item for key, items in lists.items() for index, item in enumerate(items)}
    save_file(
        {"context": context, **tensors, **{k: v.contiguous() for k, v in flat.items()}},
        tmp_path / "c",
        {"v": json.dumps(simple)},
    )
    with safe_open(tmp_path / "c", "pt") as file:
        stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        again = {**json.loads(file.metadata()["v"]), **{key: stored[key] for key in tensors}}
    again |= {key: [stored[f"{key}/{i}"] for i in range(len(items))] for key, items in lists.items()}
    loaded = sample(out.model, [[stored["context"], again]], out.negative, empty_latent())
    assert torch.equal(loaded, run(out))


def test_an_area_condition_keeps_its_references(t2v, vae):
    out = apply(t2v, vae, [reference()])
    area = {"area": (3, 8, 4, 0, 0, 0), "strength": 1.0, "set_area_to_bounds": False}
    part = [[out.positive[0][0], {**out.positive[0][1], **area}], *texts()[0]]
    bare = [[text(1), area], *texts()[0]]
    with_reference = sample(out.model, part, out.negative, empty_latent())
    assert worst(with_reference, sample(out.model, bare, out.negative, empty_latent())) > 1e-4
