"""BiRefNet from its file: strictly read, its deformable convolution, and what a picture is to it."""

import numpy as np
import pytest
import torch
from refvid_birefnet import SIZES, deformed, indices, small, write_birefnet
from torch.nn import functional as F

from refvid.data.models.birefnet import MaskModel, birefnet_sizes, deformable_convolution, load_birefnet


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + shape[-1]))


def test_sizes_and_values_come_from_the_file(tmp_path):
    path, model = write_birefnet(tmp_path / "a.safetensors"), small()
    shapes = {name: tuple(one.shape) for name, one in model.state_dict().items()}
    assert birefnet_sizes(shapes) == SIZES
    picture = drawn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(load_birefnet(path)(picture), model(picture))


def test_a_file_in_half_precision_is_read_as_its_numbers(tmp_path):
    state = {name: one.half() for name, one in small().state_dict().items() if one.is_floating_point()}
    half = load_birefnet(write_birefnet(tmp_path / "half.safetensors", **state))
    name = "bb.layers.0.blocks.1.attn.qkv.weight"
    assert torch.equal(half.state_dict()[name], state[name].float())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bb.other": torch.zeros(1)}, r"has bb.other, which is not known \(1 such keys\)"),
        ({"bb.norm2.weight": torch.zeros(3)}, r"bb.norm2.weight is \(3,\); needed \(32,\)"),
        ({"bb.norm2.weight": torch.full((32,), torch.nan)}, "bb.norm2.weight"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_by_the_key(tmp_path, changed, message):
    with pytest.raises(ValueError, match=message):
        load_birefnet(write_birefnet(tmp_path / "a.safetensors", **changed))


@pytest.mark.parametrize("lost", ["decoder.conv_out1.0.bias", "squeeze_module.0.conv_in.weight"])
def test_a_key_that_is_missing_is_named(tmp_path, lost):
    from safetensors.torch import load_file, save_file

    state = load_file(write_birefnet(tmp_path / "a.safetensors"))
    del state[lost]
    save_file(state, tmp_path / "b.safetensors")
    with pytest.raises(ValueError, match=f"birefnet: .*b.safetensors has no {lost}"):
        load_birefnet(tmp_path / "b.safetensors")


def test_counts_of_batches_may_be_missing_as_in_files_that_others_wrote(tmp_path):
    from safetensors.torch import load_file, save_file

    state = load_file(write_birefnet(tmp_path / "a.safetensors"))
    kept = {name: one for name, one in state.items() if not name.endswith("num_batches_tracked")}
    assert len(kept) < len(state)
    save_file(kept, tmp_path / "b.safetensors")
    load_birefnet(tmp_path / "b.safetensors")


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_without_offsets_a_deformable_convolution_is_a_convolution(kernel):
    x, weight = drawn(2, 4, 9, 13), drawn(5, 4, kernel, kernel)
    offsets, strength = torch.zeros(2, 2 * kernel**2, 9, 13), torch.ones(2, kernel**2, 9, 13)
    found = deformable_convolution(x, offsets, strength, weight)
    assert (found - F.conv2d(x, weight, padding=kernel // 2)).abs().max() < 1e-4


@pytest.mark.parametrize(("kernel", "height", "width"), [(1, 6, 5), (3, 7, 10), (7, 5, 8), (3, 1, 1)])
def test_offsets_read_between_places_and_nothing_outside(kernel, height, width):
    x, weight = drawn(2, 3, height, width).double(), drawn(4, 3, kernel, kernel).double()
    offsets = 3 * drawn(2, 2 * kernel**2, height, width).double()
    strength = drawn(2, kernel**2, height, width).double().sigmoid() * 2
    found = deformable_convolution(x, offsets, strength, weight)
    wanted = deformed(x, offsets, weight, padding=kernel // 2, mask=strength)
    assert (found - wanted).abs().max() < 2e-5 * wanted.abs().max() + 1e-9


def test_a_picture_is_seen_as_a_square_with_imagenets_mean_and_deviation(tmp_path):
    path = write_birefnet(tmp_path / "a.safetensors")
    model, picture = MaskModel(path, 64), noise(48, 160)
    mask = model(picture)
    values = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    square = F.interpolate(values, (64, 64), mode="bilinear", antialias=True)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        wanted = small()((square - mean.view(3, 1, 1)) / std.view(3, 1, 1)).sigmoid()[0, 0]
    assert mask.shape == (64, 64) and mask.std() > 0.05
    assert np.abs(mask - wanted.numpy()).max() < 1e-5


def test_half_precision_changes_little(tmp_path):
    model = MaskModel(write_birefnet(tmp_path / "a.safetensors"), 64)
    whole = model(noise(64, 64))
    model.model, model._dtype = model.model.half(), torch.float16
    half = model(noise(64, 64))
    assert half.dtype == np.float32 and 0 < np.abs(half - whole).max() < 0.05


def test_the_table_of_places_is_as_swins_authors_count():
    table = indices(2)  # of windows of 2 x 2: the middle is 4, a step down 3, a step across 1
    assert table.tolist() == [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
