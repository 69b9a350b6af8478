"""VACE's own reference frames under control, in ComfyUI's own model."""

import pytest
import refvid_tiny as tiny
import torch
from comfy_extras.nodes_wan import TrimVideoLatent, WanVaceToVideo
from refvid_in_process import empty_latent, load_model, picture, sample, text, worst

from refvid.core.controls import Controls
from refvid.core.references import make_reference
from refvid.hosts.comfy.references import apply_references

pytestmark = pytest.mark.comfy


@pytest.fixture(scope="module")
def model(folder):
    sizes = tiny.config()
    return load_model(tiny.save_dit(folder, "vace.safetensors", sizes, tiny.vace_state(sizes)))


def texts():
    return [[text(1), {}]], [[text(2), {}]]


def cores(vae, reference=None, control=None, strength=0.7, side=64):
    """Conditions and latent of core's own node."""
    return WanVaceToVideo.execute(
        *texts(), vae, side, side, 9, 1, strength, control, None, reference
    ).result


def control():
    return torch.rand(9, 64, 64, 3, generator=torch.Generator().manual_seed(6))


def apply(model, vae, references, given=None, null="recipe", **more):
    positive, negative, latent, _ = given or (*texts(), empty_latent(), 0)
    return apply_references(model, None, positive, negative, vae, latent, references, "vace", null, **more)


def run(out, **more):
    samples = sample(out.model, out.positive, out.negative, out.latent, **more)
    return TrimVideoLatent.execute({"samples": samples}, out.trim).result[0]["samples"]


@pytest.mark.parametrize("given", [True, False])
def test_a_neutral_reference_is_core_own_to_the_last_bit(model, vae, given):
    shown = control() if given else None
    positive, negative, latent, trim = cores(vae, picture(3)[None], shown)
    samples = sample(model, positive, negative, latent)
    wanted = TrimVideoLatent.execute({"samples": samples}, trim).result[0]["samples"]
    out = apply(model, vae, [make_reference(picture(3))], cores(vae, None, shown))
    assert out.trim == trim == 1 and out.latent["samples"].shape == latent["samples"].shape
    assert torch.equal(run(out), wanted)
