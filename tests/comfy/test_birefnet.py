"""BiRefNet from its file, against ComfyUI's own classes."""

import json
from pathlib import Path

import comfy.background_removal.birefnet as core
import comfy.model_patcher
import comfy.ops
import pytest
import torch
from comfy import bg_removal_model
from comfy_extras.nodes_bg_removal import RemoveBackground
from refvid_birefnet import deformed, randomise
from safetensors.torch import save_file
from torch import nn

from refvid.data.models import subject_cutter
from refvid.data.models.birefnet import BiRefNet, birefnet_sizes, load_birefnet

pytestmark = pytest.mark.comfy
SETTINGS = json.loads(Path(core.__file__).with_name("birefnet.json").read_text("utf-8"))
TRAINING = ("decoder.conv_ms_spvn_", "decoder.gdt_convs_pred_")


@pytest.fixture
def operators(monkeypatch):
    """torchvision's own operator, or the same by another way where its library does not load."""
    try:
        torch.ops.torchvision.deform_conv2d  # noqa: B018
    except AttributeError:
        by_keyword = {"input": "x"}
        monkeypatch.setattr(
            core, "deform_conv2d", lambda **how: deformed(**{by_keyword.get(a, a): b for a, b in how.items()})
        )


def small() -> nn.Module:
    """ComfyUI's BiRefNet of its own parts, smaller than the one size it has."""
    how = {"device": None, "dtype": torch.float32, "operations": comfy.ops.manual_cast}
    model, widths = nn.Module.__new__(core.BiRefNet), [256, 128, 64, 32]
    nn.Module.__init__(model)
    model.bb = core.SwinTransformer(
        embed_dim=16, depths=[2, 3, 2, 2], num_heads=[1, 2, 4, 8], window_size=5, **how
    )
    model.squeeze_module = nn.Sequential(core.BasicDecBlk(sum(widths), widths[0], **how))
    model.decoder = core.Decoder(widths, **how)
    return randomise(model)


@pytest.mark.parametrize("size", [(96, 64), (64, 160)])
def test_a_small_model_says_what_comfyuis_own_says(tmp_path, operators, size):
    theirs = small()
    save_file(
        {name: one.contiguous() for name, one in theirs.state_dict().items()}, tmp_path / "small.safetensors"
    )
    ours = load_birefnet(tmp_path / "small.safetensors")
    picture = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        wanted, found = theirs(picture), ours(picture)
    assert wanted.std() > 0.1 and found.shape == wanted.shape == (2, 1, *size)
    assert (found - wanted).abs().max() / wanted.std() < 1e-4  # of logits: a sigmoid may hide much
    assert (found.sigmoid() - wanted.sigmoid()).abs().max() < 1e-4


@torch.no_grad()
def test_a_cut_out_subject_is_that_of_remove_background(tmp_path, operators, monkeypatch):
    monkeypatch.setattr(subject_cutter, "CUTTER_SIDE", 64)
    theirs, cpu = object.__new__(bg_removal_model.BackgroundRemovalModel), torch.device("cpu")
    theirs.image_size, theirs.load_device, theirs.model = 64, cpu, small()
    theirs.image_mean, theirs.image_std = SETTINGS["image_mean"], SETTINGS["image_std"]
    theirs.patcher = comfy.model_patcher.CoreModelPatcher(theirs.model, cpu, cpu)
    state = {name: one.contiguous() for name, one in theirs.model.state_dict().items()}
    save_file(state, tmp_path / "small.safetensors")
    ours = subject_cutter.SubjectCutter(tmp_path / "small.safetensors")
    picture = torch.rand(1, 50, 90, 3, generator=torch.Generator().manual_seed(5))
    (wanted,) = RemoveBackground.execute(theirs, picture).args
    found = ours(picture[0])
    assert found.shape == (50, 90) and wanted.std() > 0.02
    assert (found - wanted[0]).abs().max() < 1e-5


def test_the_square_of_a_cut_out_is_that_of_comfyui():
    assert SETTINGS["image_size"] == subject_cutter.CUTTER_SIDE


def test_the_published_size_has_the_same_names_and_shapes():
    with torch.device("meta"):
        theirs = core.BiRefNet(dtype=torch.float32, device="meta", operations=comfy.ops.manual_cast)
        shapes = {name: tuple(one.shape) for name, one in theirs.state_dict().items()}
        ours = BiRefNet(birefnet_sizes(shapes))
    used = {name: shape for name, shape in shapes.items() if not name.startswith(TRAINING)}
    assert {name: tuple(one.shape) for name, one in ours.state_dict().items()} == used
    assert len(shapes) > len(used) > 700
