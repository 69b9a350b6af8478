"""The Wan 2.2 VAE and ComfyUI's own: same names, same numbers."""

import comfy.latent_formats
import comfy.ldm.wan.vae2_2 as core
import pytest
import refvid_in_process as run
import refvid_tiny as tiny
import torch

from refvid.backbones.wan.loading import load_vae
from refvid.backbones.wan.vae22 import Wan22VAE
from refvid.hosts.comfy.files import VAE_CONFIG

pytestmark = pytest.mark.comfy
PUBLISHED = (160, 256)  # channels of the first and of the last layer


def core_vae(width: int, decoder_width: int) -> torch.nn.Module:
    return core.WanVAE(dim=width, dec_dim=decoder_width, z_dim=48, **VAE_CONFIG)


def test_every_name_and_shape_of_the_published_size_is_cores():
    with torch.device("meta"):
        ours, theirs = Wan22VAE(*PUBLISHED), core_vae(*PUBLISHED)
    shapes = [{name: value.shape for name, value in one.state_dict().items()} for one in (ours, theirs)]
    assert shapes[0] == shapes[1] and len(shapes[0]) > 150


def test_its_statistics_are_cores():
    known, vae = comfy.latent_formats.Wan22(), Wan22VAE(1)
    assert torch.equal(vae.mean, known.latents_mean) and torch.equal(vae.deviation, known.latents_std)


@pytest.mark.parametrize("widths", [(8, 12), (12, 8)])
@pytest.mark.parametrize("frames", [1, 5, 17])
def test_its_numbers_are_cores(tmp_path, widths, frames):
    ours = load_vae(tiny.save_vae22(tmp_path, "vae22.safetensors", *widths))
    theirs = core_vae(*widths).eval()
    theirs.load_state_dict(ours.state_dict())
    known = comfy.latent_formats.Wan22()
    clip = torch.rand(2, 3, frames, 48, 32, generator=torch.Generator().manual_seed(frames)) * 2 - 1
    with torch.no_grad():
        latent, expected = ours.encode(clip), theirs.encode(clip)
        assert run.worst(latent, known.process_in(expected)) < 1e-4
        assert run.worst(ours.decode(latent), theirs.decode(known.process_out(latent))) < 1e-4


@pytest.mark.slow
def test_the_numbers_of_the_published_size_are_cores():
    """Both in the same memory: it is large."""
    ours = Wan22VAE(*PUBLISHED).eval().requires_grad_(False)
    with torch.device("meta"):
        theirs = core_vae(*PUBLISHED).eval()
    theirs.load_state_dict(ours.state_dict(), assign=True)
    known = comfy.latent_formats.Wan22()
    video = torch.rand(1, 3, 5, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        latent = ours.encode(video)
        assert run.worst(latent, known.process_in(theirs.encode(video))) < 1e-4
        assert run.worst(latent, ours.encode(-video)) > 1e-2, "it is of this video"
        assert run.worst(ours.decode(latent), theirs.decode(known.process_out(latent))) < 1e-4
        assert run.worst(ours.decode(latent), ours.decode(-latent)) > 1e-2
