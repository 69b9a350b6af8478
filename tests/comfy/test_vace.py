"""VACE's own reference frames under control, in ComfyUI's own model: what they are equal to, and what is
refused."""

from dataclasses import replace

import comfy.context_windows
import comfy.sd
import pytest
import refvid_tiny as tiny
import torch
from comfy_extras.nodes_wan import TrimVideoLatent, WanVaceToVideo
from refvid_in_process import empty_latent, in_float64, picture, sample, text, velocity_at, worst
from refvid_vace import CASES, SIGMA, PublishedVace, references, said
from refvid_vace_runs import CONTROL, FRAMES, apply, controlled, cores, run, texts, tiny_vace

from refvid.core.controls import Controls
from refvid.core.frames import Placed
from refvid.core.references import make_reference
from refvid.hosts.comfy.frames import replace_frames
from refvid.hosts.comfy.references import apply_references

pytestmark = pytest.mark.comfy


@pytest.fixture(scope="module")
def model(folder):
    return tiny_vace(folder)


@pytest.mark.parametrize("given", [True, False])
def test_a_neutral_reference_is_core_own_to_the_last_bit(model, vae, given):
    shown = CONTROL if given else None
    positive, negative, latent, trim = cores(vae, picture(3)[None], shown)
    samples = sample(model, positive, negative, latent)
    wanted = TrimVideoLatent.execute({"samples": samples}, trim).result[0]["samples"]
    out = apply(model, vae, [make_reference(picture(3))], cores(vae, None, shown))
    assert out.trim == trim == 1 and out.latent["samples"].shape == latent["samples"].shape
    assert torch.equal(run(out), wanted)


def test_a_neutral_reference_without_a_control_is_that_of_a_grey_one(model, vae):
    positive, negative, latent, trim = cores(vae, picture(3)[None], strength=1.0)
    wanted = sample(model, positive, negative, latent)[:, :, trim:]
    assert torch.equal(run(apply(model, vae, [make_reference(picture(3))])), wanted)


# ---- against the published forward


@pytest.fixture(scope="module")
def shown(vae):
    return cores(vae, None, CONTROL)


@pytest.mark.parametrize("name", CASES)
def test_every_control_is_the_published_forward_with_weights_and_infinities(model, vae, shown, name):
    out = apply(model, vae, references(name), shown)
    x = torch.randn(1, 16, 2 + FRAMES, 8, 8, generator=torch.Generator().manual_seed(9))
    with in_float64(model) as made:
        model.model.diffusion_model.vace_patch_embedding.float()
        velocity_at(out.model, out.positive, out.negative, x, SIGMA)
        model.model.diffusion_model.vace_patch_embedding.double()
    hint = torch.cat(
        [inside(model, out.positive[0][1]["vace_frames"][0]), out.positive[0][1]["vace_mask"][0]], 1
    )
    published = PublishedVace(tiny.vace_state(tiny.config()))
    wanted = published.velocity(x[0], hint[0], text(1)[0], 1000 * SIGMA, said(name), 0.7)
    assert made[0].dtype == torch.float64 and worst(made[0][0], wanted) < 1e-6


def inside(model, latents):
    return torch.cat([model.model.process_latent_in(part) for part in latents.split(16, dim=1)], dim=1)


# ---- refusals


@pytest.fixture(scope="module")
def out(model, vae):
    return apply(model, vae, controlled())


def test_what_does_not_fit_is_refused_before_anything_is_encoded(model, t2v, vae):
    one = [make_reference(picture(3))]

    class Unused:
        first_stage_model, latent_channels = vae.first_stage_model, vae.latent_channels

        def encode(self, pictures):
            raise AssertionError("encoded")

    def refused(said, references=one, given=None, null="recipe", of=model, low=None):
        positive, negative, latent, _ = given or (*texts(), empty_latent(), 0)
        with pytest.raises(ValueError, match=said):
            apply_references(of, low, positive, negative, Unused(), latent, references, "vace", null)

    refused("model is WAN21, not a VACE model", of=t2v)
    refused("low_noise_model is WAN21, not a VACE model", low=t2v)
    refused("null_pass is drop", null="drop")
    refused("sees is frames", [make_reference(picture(3), None, Controls(sees="frames"))])
    refused("takes at most 8", one * 9)
    refused("reference_image of WanVaceToVideo", given=cores(vae, picture(3)[None]))
    positive, negative, *_ = cores(vae)
    refused("latent has 4 frames of 8x8 cells, the control", given=(positive, negative, empty_latent(4), 0))
    first = apply(model, vae, one)
    refused("connect the latent", given=(first.positive, first.negative, empty_latent(), 0))
    refused("different numbers", given=(first.positive, texts()[1], first.latent, 0))
    other = apply_references(model, None, *texts(), vae, empty_latent(), one, "saber")
    refused(
        "recipe is vace, but the conditioning carries references",
        given=(other.positive, other.negative, empty_latent(), 0),
    )
    with pytest.raises(ValueError, match="recipe is saber, but"):
        apply_references(model, None, first.positive, first.negative, vae, first.latent, one, "saber")


def test_a_run_that_would_lose_them_is_refused(model, t2v, vae, out):
    def refused(said, made=None, on=None, **parts):
        halves = replace(made or out, **parts)
        with pytest.raises(ValueError, match=said):
            sample(on or halves.model, halves.positive, halves.negative, halves.latent, steps=1)

    refused("latent has 3 frames, the conditioning 5, of which 2", latent=empty_latent())
    refused("the other does", negative=texts()[1])
    refused(
        "is WAN21, not a VACE model",
        on=apply_references(t2v, None, *texts(), vae, empty_latent(), controlled(), "saber").model,
    )
    after = WanVaceToVideo.execute(out.positive, out.negative, vae, 64, 64, 9, 1, 1.0).result
    refused("put no other control behind", positive=after[0])
    area = [[words, {**options, "area": (5, 8, 4, 0, 0, 0)}] for words, options in out.positive]
    refused("is set to an area", positive=area)
    windows = out.model.clone()
    windows.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("pyramid"),
        context_length=4, context_overlap=1, dim=2,
    )  # fmt: skip
    refused("model has context windows", model=windows)
    given = Placed(torch.rand(1, 64, 64, 3), (0,), "shared")
    (patched,), positive, negative, latent = replace_frames(
        [out.model], out.positive, out.negative, vae, out.latent, given
    )
    refused(
        "carries replaced frames of Replace Frames",
        model=patched,
        positive=positive,
        negative=negative,
        latent=latent,
    )


def test_text_as_long_as_the_sequence_is_refused(model, out):
    long = [[text(1, 16 * (2 + FRAMES)), options] for _, options in out.positive]
    with pytest.raises(ValueError, match="have 80 tokens, as many as the text"):
        sample(out.model, long, out.negative, out.latent, steps=1)
