"""Controls inside ComfyUI: neutral is untouched, and compilation, windows of frames and steps, areas, batches
and other packs' attention keep them where they belong."""

from dataclasses import replace

import comfy.context_windows
import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from refvid_in_process import empty_latent, picture, sample, velocity_at, worst
from refvid_in_process import text as text_of

from refvid.core.controls import Controls, FrameWindow, StepWindow
from refvid.core.references import make_reference
from refvid.hosts.comfy import wire
from refvid.hosts.comfy.blocks import TailInBlocks
from refvid.hosts.comfy.evaluation import TailRule
from refvid.hosts.comfy.install import model_conds
from refvid.hosts.comfy.references import References, apply_references

pytestmark = pytest.mark.comfy
TEXTS = [[text_of(1), {}]], [[text_of(2), {}]]
LEFT, RIGHT = torch.zeros(64, 64), torch.ones(64, 64)
LEFT[:, :32], RIGHT[:, :32] = 1, 0
NOISE = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(9))


def reference(seed: int = 3, region=None, **controls):
    mask = torch.linspace(0.2, 1, 64).expand(64, 64)
    return make_reference(picture(seed), mask, Controls(**controls), region)


def applied(model, vae, *references, latent=None, texts=TEXTS, **options):
    return apply_references(
        model, None, *texts, vae, latent or empty_latent(), list(references), "saber", **options
    )


def run(out, **options):
    return sample(out.model, out.positive, out.negative, empty_latent(), **options)


def test_neutral_controls_are_bit_identical_to_none(t2v, vae):
    plain = run(applied(t2v, vae, make_reference(picture(3)), make_reference(picture(4))))
    spelled = Controls(1.0, StepWindow(0.0, 1.0), FrameWindow(0, 8), "all", False)
    neutral = [make_reference(picture(seed), None, spelled, torch.ones(9, 64, 64)) for seed in (3, 4)]
    out = applied(t2v, vae, *neutral)
    assert torch.equal(run(out), plain)
    assert wire.key(References, "cells") not in model_conds(out.positive[0][1], out.model, (3, 8, 8))


@pytest.mark.parametrize(
    "controls",
    [
        {"region": LEFT, "steps": StepWindow(0.3, 0.8, 0.2, 0.2)},
        {"strength": 0.4, "sees": "itself", "frames": FrameWindow(0, 4), "steps": StepWindow(0.0, 0.6)},
        {"soft": True, "steps": StepWindow(0.2, 1.0, 0.8)},
    ],
    ids=["region in a window with fades", "everything", "soft and fading"],
)
def test_a_compiled_run_equals_an_eager_one(t2v, vae, controls):
    """Captured whole, over steps in which references come, fade and go; code generation is left out."""
    region = controls.pop("region", None) if "region" in controls else None
    out = applied(t2v, vae, reference(3, region, **controls), reference(4))
    wanted = run(out, steps=6)
    compiled = out.model.clone()
    set_torch_compile_wrapper(
        compiled, backend="eager", options=None, mode=None, fullgraph=True, dynamic=False
    )
    assert worst(sample(compiled, out.positive, out.negative, empty_latent(), steps=6), wanted) < 1e-5


def test_a_step_outside_the_window_is_bit_identical_to_a_step_without_references(t2v, vae):
    out = applied(t2v, vae, reference(steps=StepWindow(0.5)))
    for sigma, inside in ((0.95, False), (0.2, True)):
        got = velocity_at(out.model, out.positive, out.negative, NOISE, sigma)
        bare = velocity_at(out.model, *TEXTS, NOISE, sigma)
        assert torch.equal(got, bare) is not inside


def test_a_window_means_the_same_share_for_both_experts_and_for_runs_in_parts(t2v, vae):
    """Core's percent: a share of the whole schedule, whatever part of it a sampler runs."""
    out = apply_references(
        t2v, t2v, *TEXTS, vae, empty_latent(), [reference(steps=StepWindow(0.3, 0.7))], "saber"
    )
    shares = []
    for expert in (out.model, out.low_noise_model):
        watched = expert.clone()

        def watch(executor, x, t, *args, **kwargs):
            sampling = executor.class_obj.model_sampling
            inside = (
                float(sampling.percent_to_sigma(0.3))
                >= float(t.max())
                > float(sampling.percent_to_sigma(0.7))
            )
            shares.append((inside, wire.key(TailRule, "layout") in kwargs))
            return executor(x, t, *args, **kwargs)

        watched.add_wrapper_with_key("apply_model", "watch", watch)
        sample(watched, out.positive, out.negative, empty_latent(), steps=8, cfg=1.0)
    assert len(shares) == 16 and all(inside is acts for inside, acts in shares)
    assert {inside for inside, _ in shares} == {True, False}


def test_a_reference_reaches_its_region_at_once_and_the_rest_not_in_one_block(t2v, vae):
    """After one block, tokens outside the region are what they are without the reference."""
    seen = {}

    def first_block(out):
        model, found = out.model.clone(), []

        def after(args):
            found.append(args["img"][:, :48].clone())
            return args

        model.set_model_patch(after, "double_block")
        velocity_at(model, out.positive, out.negative, NOISE, 0.7)
        return found[0].view(1, 3, 4, 4, -1)

    for name, region in (("left", LEFT), ("everywhere", None)):
        seen[name] = first_block(applied(t2v, vae, reference(region=region)))
    bare = applied(t2v, vae, reference())
    seen["none"] = first_block(replace(bare, positive=TEXTS[0], negative=TEXTS[1]))
    assert worst(seen["left"][:, :, :, 2:], seen["none"][:, :, :, 2:]) < 2e-6
    assert worst(seen["left"][:, :, :, :2], seen["everywhere"][:, :, :, :2]) < 2e-6
    assert worst(seen["left"][:, :, :, :2], seen["none"][:, :, :, :2]) > 1e-4


def windowed(model, length: int):
    model = model.clone()
    model.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("flat"),
        context_length=length, context_overlap=1, dim=2,
    )  # fmt: skip
    return model


def test_context_windows_keep_frames_and_regions_at_their_absolute_places(t2v, vae):
    """Six latent frames in windows of three with one in common: a reference on the last frames leaves alone
    what is made by the first window only, bit for bit, in any region."""
    latent = empty_latent(frames=6)
    moving = torch.zeros(21, 64, 64)
    moving[17:, :, :32] = 1
    plain = applied(t2v, vae, reference(), latent=latent)
    bare = sample(windowed(plain.model, 3), *TEXTS, latent, steps=1, cfg=1.0)
    for asked in ({"frames": FrameWindow(17, 20)}, {"region": moving}):
        out = applied(t2v, vae, reference(**asked), latent=latent)
        got = sample(windowed(out.model, 3), out.positive, out.negative, latent, steps=1, cfg=1.0)
        assert torch.equal(got[:, :, :3], bare[:, :, :3])
        assert worst(got[:, :, 5:], bare[:, :, 5:]) > 1e-4


def test_an_area_crops_the_region_with_the_latent(t2v, vae):
    """A condition for the left half of the picture, a reference for the right half: it never acts."""
    for region, acts in ((RIGHT, False), (LEFT, True)):
        out = applied(t2v, vae, reference(region=region))
        area = {"area": (3, 8, 4, 0, 0, 0), "strength": 1.0, "set_area_to_bounds": False}
        conds = [[text, {**options, **area}] for text, options in out.positive]
        bare = [[text, area] for text, _ in TEXTS[0]]
        got, without = (
            sample(out.model, one, TEXTS[1], empty_latent(), steps=1, cfg=1.0) for one in (conds, bare)
        )
        assert (worst(got, without) > 1e-4) is acts
        if not acts:
            assert worst(got, without) < 2e-6


def test_conditions_with_other_regions_do_not_share_an_evaluation(t2v, vae):
    evaluations = []
    first, second = (applied(t2v, vae, reference(region=region)) for region in (LEFT, RIGHT))

    def watch(executor, x, *args, **kwargs):
        evaluations.append(len(x))
        return executor(x, *args, **kwargs)

    watched = first.model.clone()
    watched.add_wrapper_with_key("apply_model", "watch", watch)
    together = sample(watched, first.positive, second.positive, empty_latent(), cfg=2.0, steps=1)
    assert evaluations == [1, 1]
    evaluations.clear()
    sample(watched, first.positive, first.positive, empty_latent(), cfg=2.0, steps=1)
    assert evaluations == [2]
    alone = [
        sample(first.model, one.positive, one.positive, empty_latent(), cfg=1.0, steps=1)
        for one in (first, second)
    ]
    assert worst(together, alone[1] + 2 * (alone[0] - alone[1])) < 1e-4


def test_a_batch_of_videos_equals_its_videos_one_by_one(t2v, vae):
    latent = empty_latent(batch=2)
    noise = torch.randn(latent["samples"].shape, generator=torch.Generator().manual_seed(3))
    out = applied(t2v, vae, reference(region=LEFT, strength=0.5), latent=latent)
    both = sample(out.model, out.positive, out.negative, latent, noise=noise, steps=2)
    for row in range(2):
        one = sample(
            out.model, out.positive, out.negative, empty_latent(), noise=noise[row : row + 1], steps=2
        )
        assert (
            worst(both[row : row + 1], one) < 1e-4
        )  # two steps of sums in another order, on values near ten


@pytest.mark.parametrize("sees", ["video", "itself"])
def test_isolated_references_do_not_read_each_other(t2v, vae, sees):
    """After one block a reference's own tokens are what they are without the other one."""

    def own_tokens(*references):
        out, found = applied(t2v, vae, *references), []

        model = out.model.clone()
        original = TailInBlocks.split

        def split(self, done, length):
            found.append(done["img"][:, length:].clone())
            return original(self, done, length)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TailInBlocks, "split", split)
            velocity_at(model, out.positive, out.negative, NOISE, 0.7)
        return found[0]

    one = own_tokens(reference(3, sees=sees))
    joint = own_tokens(reference(3, sees=sees), reference(4))
    assert worst(joint[:, : one.shape[1]], one) < 2e-6
    mixed = own_tokens(reference(3), reference(4))
    assert worst(mixed[:, : one.shape[1]], own_tokens(reference(3))) > 1e-4


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"region": torch.ones(5, 64, 64)}, "region has shape .* each of the video's 9 frames"),
        ({"frames": FrameWindow(4, 9)}, "frame window is 4 to 9; the video has the frames 0 to 8"),
    ],
)
def test_what_does_not_fit_the_video_is_refused_before_anything_is_encoded(
    t2v, vae, asked, message, monkeypatch
):
    monkeypatch.setattr(vae, "encode", lambda *_: pytest.fail("encoded"))
    with pytest.raises(ValueError, match=message):
        applied(t2v, vae, reference(**asked))


def test_a_latent_of_another_length_is_refused(t2v, vae):
    out = applied(t2v, vae, reference(frames=FrameWindow(0, 4)))
    with pytest.raises(ValueError, match="connect the latent that they were applied with"):
        sample(out.model, out.positive, out.negative, empty_latent(frames=5))


def test_controls_that_part_queries_refuse_tokens_of_other_nodes(t2v, vae):
    out = applied(t2v, vae, reference(region=LEFT))
    more = {"time_dim_concat": torch.zeros(1, 16, 1, 8, 8)}
    conds = [[text, {**options, **more}] for text, options in out.positive]
    with pytest.raises(ValueError, match="also carries time_dim_concat of another node"):
        sample(out.model, conds, out.negative, empty_latent(), steps=1)
