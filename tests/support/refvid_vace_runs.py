"""VACE with reference frames inside ComfyUI: core's node, ours, and a run of either."""

import refvid_tiny as tiny
import torch
from comfy_extras.nodes_wan import TrimVideoLatent, WanVaceToVideo
from refvid_in_process import empty_latent, load_model, picture, sample, text

from refvid.core.controls import Controls
from refvid.core.references import make_reference
from refvid.hosts.comfy.references import apply_references

CONTROL = torch.rand(9, 64, 64, 3, generator=torch.Generator().manual_seed(6))


def texts():
    return [[text(1), {}]], [[text(2), {}]]


def cores(vae, reference=None, control=None, strength=0.7, side=64):
    """Conditions and latent of core's own node."""
    return WanVaceToVideo.execute(*texts(), vae, side, side, 9, 1, strength, control, None, reference).result


def apply(model, vae, references, given=None, null="recipe", **more):
    positive, negative, latent, _ = given or (*texts(), empty_latent(), 0)
    return apply_references(model, None, positive, negative, vae, latent, references, "vace", null, **more)


def run(out, **more):
    samples = sample(out.model, out.positive, out.negative, out.latent, **more)
    return TrimVideoLatent.execute({"samples": samples}, out.trim).result[0]["samples"]


FRAMES = 3
LEFT = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)


def controlled(strength=0.5):
    """Two references under control: weights, a mask, a region and what one sees."""
    return [
        make_reference(picture(3), LEFT, Controls(strength)),
        make_reference(picture(4), None, Controls(1.5, sees="video"), LEFT),
    ]


def tiny_vace(folder):
    sizes = tiny.config()
    return load_model(tiny.save_dit(folder, "vace.safetensors", sizes, tiny.vace_state(sizes)))
