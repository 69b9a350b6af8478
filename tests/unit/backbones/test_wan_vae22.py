"""The Wan 2.2 VAE: pixels folded into channels, shortcuts around every stage, causal, the same in any
chunking."""

from itertools import product

import pytest
import refvid_tiny as tiny
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refvid.backbones.wan.geometry import WAN_2_2
from refvid.backbones.wan.vae22 import (
    LATENT_DEVIATION_48,
    LATENT_MEAN_48,
    AverageDown,
    CopyUp,
    DownStage,
    UpStage,
    Wan22VAE,
)
from refvid.backbones.wan.vae_layers import CausalConv, Residual

# In float64, so that only the norm's own fp32 inverse rounds.
CLOSE = {"rtol": 0, "atol": 1e-5}


@pytest.fixture(scope="module")
def vae() -> Wan22VAE:
    return tiny.vae22(8, 12).double()


def clip(frames: int, height: int = 32, width: int = 48, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return 2 * torch.rand(batch, 3, frames, height, width, generator=generator).double() - 1


def far(a: Tensor, b: Tensor) -> bool:
    return (a - b).abs().max().item() > 1e-4


# ---- shortcuts against their formulas


def averaged(x: Tensor, channels: int, frames: int, side: int) -> Tensor:
    """Means of neighbours among all values of a cell, in the order of channel, frame, row, column."""
    if x.shape[2] % frames:
        x = torch.cat([torch.zeros_like(x[:, :, :1]), x], dim=2)
    places = product(range(x.shape[1]), range(frames), range(side), range(side))
    values = [x[:, c, p::frames, q::side, r::side] for c, p, q, r in places]
    many = len(values) // channels
    return torch.stack([sum(values[k * many : (k + 1) * many]) / many for k in range(channels)], dim=1)


def copied(x: Tensor, channels: int, frames: int, side: int) -> Tensor:
    """The values of a cell, each so many times, dealt in the order of channel, frame, row, column; of the
    first frame's the last ones."""
    batch, held, count, rows, columns = x.shape
    out = x.new_zeros(batch, channels, count * frames, rows * side, columns * side)
    many = channels * frames * side * side // held
    for n, (c, p, q, r) in enumerate(product(range(channels), range(frames), range(side), range(side))):
        out[:, c, p::frames, q::side, r::side] = x[:, n // many]
    return out[:, :, frames - 1 :]


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize(
    ("channels", "frames", "side"), [(4, 1, 1), (4, 1, 2), (8, 1, 2), (4, 2, 2), (8, 2, 2)]
)
def test_a_shortcut_down_is_means_of_a_cells_values(channels, frames, side):
    down, x = AverageDown(channels, frames, side), drawn(2, 4, 5, 4, 6)
    expected = averaged(x, channels, frames, side)
    torch.testing.assert_close(down(x), expected)
    apart = torch.cat([down(x[:, :, :1]), down(x[:, :, 1:])], dim=2)
    torch.testing.assert_close(apart, expected, msg="the first picture has zeros before it, alone too")


@pytest.mark.parametrize(
    ("channels", "frames", "side"), [(4, 1, 1), (4, 1, 2), (2, 1, 2), (4, 2, 2), (2, 2, 2)]
)
def test_a_shortcut_up_is_copies_of_a_cells_values(channels, frames, side):
    x = drawn(2, 4, 4, 3, 2)
    expected = copied(x, channels, frames, side)
    for pieces in ([1, 3], [1, 1, 2], [1, 1, 1, 1], [4]):
        up, past = CopyUp(channels, frames, side), {}
        got = torch.cat([up(piece, past) for piece in x.split(pieces, 2)], dim=2)
        torch.testing.assert_close(got, expected)


def test_means_of_copies_are_what_was_copied():
    up, x = CopyUp(2, 2, 2), drawn(1, 8, 3, 2, 2)
    torch.testing.assert_close(AverageDown(8, 2, 2)(up(x, {up: None})), x)


def silenced(vae: Wan22VAE) -> Wan22VAE:
    """All that is beside the shortcuts of stages says nothing: residual blocks add nothing, what they end in
    is zero."""
    for module in vae.modules():
        if isinstance(module, Residual):
            for parameter in module.residual[-1].parameters():
                parameter.zero_()
        if isinstance(module, DownStage | UpStage) and isinstance(module.avg_shortcut, AverageDown | CopyUp):
            last = list(module.children())[-1][-1]
            for parameter in (last.shortcut if isinstance(last, Residual) else last).parameters():
                parameter.zero_()
    for part in (vae.encoder, vae.decoder):
        for parameter in part.middle[1].proj.parameters():
            parameter.zero_()
    return vae


def convolved(layer: CausalConv, x: Tensor) -> Tensor:
    """Zeros for the frames before, all taps."""
    zeros = (0, 0, 0, 0, layer.kernel_size[0] - 1, 0)
    return F.conv3d(F.pad(x, zeros), layer.weight, layer.bias, layer.stride, layer.padding)


def ended(head: nn.Sequential, x: Tensor) -> Tensor:
    norm, activation, layer = head
    return convolved(layer, activation(norm(x)))


def test_stages_halve_the_side_three_times_and_time_in_the_last_two_and_double_it_in_the_first_two():
    """Shortcuts with all else silenced, by their formulas alone."""
    vae, video = silenced(tiny.vae22(8, 12).double()), clip(9)
    folded = torch.stack(
        [video[:, c, :, q::2, r::2] for c in range(3) for r in range(2) for q in range(2)], dim=1
    )
    x = convolved(vae.encoder.conv1, folded)
    for channels, frames, side in ((8, 1, 2), (16, 2, 2), (32, 2, 2)):
        x = averaged(x, channels, frames, side)
    bias = vae.encoder.downsamples[3].downsamples[1].residual[-1].bias
    bias.copy_(torch.linspace(-1, 1, len(bias)))  # the head's norm would take 2 x for x
    x = 2 * x + bias.view(1, -1, 1, 1, 1)  # the last stage keeps its size: what goes through, and it itself
    moments = convolved(vae.conv1, ended(vae.encoder.head, x))
    latent = (moments[:, :48] - vae.mean.double()) / vae.deviation.double()
    torch.testing.assert_close(vae.encode(video), latent, **CLOSE)
    y = convolved(vae.decoder.conv1, convolved(vae.conv2, latent * vae.deviation + vae.mean))
    for channels, frames, side in ((48, 2, 2), (48, 2, 2), (24, 1, 2)):
        y = copied(y, channels, frames, side)
    last = vae.decoder.upsamples[3].upsamples[0].shortcut
    out = ended(vae.decoder.head, convolved(last, y))
    pictures = torch.zeros_like(video)
    for n, (c, r, q) in enumerate(product(range(3), range(2), range(2))):
        pictures[:, c, :, q::2, r::2] = out[:, n]
    torch.testing.assert_close(vae.decode(latent), pictures, **CLOSE)


# ---- pixels


def test_four_pixels_are_channels_by_colour_then_column_then_row(vae):
    seen, said, video = [], [], clip(1)
    hooks = [
        vae.encoder.conv1.register_forward_pre_hook(lambda _, given: seen.append(given[0])),
        vae.decoder.head.register_forward_hook(lambda _, given, out: said.append(out)),
        vae.decoder.head[2].register_forward_hook(lambda _, given, out: said.append(out)),
    ]
    pictures = vae.decode(vae.encode(video))
    for hook in hooks:
        hook.remove()
    for n, (c, r, q) in enumerate(product(range(3), range(2), range(2))):
        assert torch.equal(seen[0][:, n], video[:, c, :, q::2, r::2])
        assert torch.equal(said[-1][:, n], pictures[:, c, :, q::2, r::2])


# ---- chunks, single pictures, causality


@pytest.mark.parametrize("frames", [5, 17])
@pytest.mark.parametrize("chunk", [8, 12, 400])
def test_the_chunk_changes_neither_latents_nor_pictures(vae, frames, chunk):
    video = clip(frames, 16, 32)
    latent = vae.encode(video)
    torch.testing.assert_close(vae.encode(video, chunk), latent, **CLOSE)
    torch.testing.assert_close(vae.decode(latent, chunk // 4), vae.decode(latent), **CLOSE)


def test_the_first_picture_is_coded_as_if_alone_and_a_clip_in_a_batch_too(vae):
    latent = vae.encode(clip(9))
    torch.testing.assert_close(latent[:, :, :1], vae.encode(clip(9)[:, :, :1]), **CLOSE)
    torch.testing.assert_close(vae.decode(latent)[:, :, :1], vae.decode(latent[:, :, :1]), **CLOSE)
    both = torch.cat([clip(5), -clip(5)])
    torch.testing.assert_close(vae.encode(both)[1:], vae.encode(-clip(5)), **CLOSE)


@pytest.mark.parametrize("changed", [1, 4, 5, 8])
def test_a_later_picture_never_changes_an_earlier_latent(vae, changed):
    video = clip(9)
    before = vae.encode(video, chunk=8)
    video[:, :, changed] += 0.5
    after, owner = vae.encode(video, chunk=8), (changed + 3) // 4
    assert torch.equal(after[:, :, :owner], before[:, :, :owner])
    assert far(after[:, :, owner], before[:, :, owner])


@pytest.mark.parametrize("changed", [1, 2])
def test_a_later_latent_never_changes_an_earlier_picture(vae, changed):
    latent = vae.encode(clip(9))
    before = vae.decode(latent, chunk=2)
    latent[:, :, changed] += 0.5
    after, first = vae.decode(latent, chunk=2), 4 * changed - 3
    assert torch.equal(after[:, :, :first], before[:, :, :first])
    assert far(after[:, :, first], before[:, :, first])


# ---- refusals, statistics


@pytest.mark.parametrize(
    ("video", "chunk", "message"),
    [
        (clip(4), 4, r"video has 4 frames; the Wan VAE codes 4k \+ 1"),
        (clip(5, 24, 32), 4, "video is 24 x 32 pixels; both must be multiples of 16"),
        (clip(5, 32, 40), 4, "video is 32 x 40 pixels; both must be multiples of 16"),
        (clip(5), 6, "chunk is 6 pictures; it must be a positive multiple of 4"),
    ],
)
def test_other_clips_and_chunks_are_refused_with_what_fits(vae, video, chunk, message):
    with pytest.raises(ValueError, match=message):
        vae.encode(video, chunk)


def test_its_statistics_are_the_published_ones():
    """Compares by sums, which a number that is mistyped or in another place changes; inside ComfyUI they are
    compared with core's."""
    places = torch.arange(1, 49).double()
    for values, sums in (
        (LATENT_MEAN_48, (-0.5589, -7.6248, -303.5958)),
        (LATENT_DEVIATION_48, (32.536, 790.8891, 25580.2841)),
    ):
        found = torch.tensor(values, dtype=torch.float64)
        weighted = torch.stack([(places**power * found).sum() for power in range(3)])
        torch.testing.assert_close(weighted, torch.tensor(sums, dtype=torch.float64), rtol=0, atol=1e-6)


def test_latents_leave_under_wans_statistics_and_return_through_them(vae):
    raw = {}
    hooks = [
        vae.conv1.register_forward_hook(lambda _, __, out: raw.update(moments=out)),
        vae.conv2.register_forward_pre_hook(lambda _, given: raw.update(returned=given[0])),
    ]
    latent = vae.encode(clip(5))
    vae.decode(latent)
    for hook in hooks:
        hook.remove()
    undone = latent * vae.deviation.double() + vae.mean.double()
    torch.testing.assert_close(undone, raw["moments"][:, :48], **CLOSE)
    torch.testing.assert_close(undone, raw["returned"], **CLOSE)


def test_its_geometry_is_wan_2_2s_and_its_latents_have_it(vae):
    assert vae.geometry is WAN_2_2
    latent = vae.encode(clip(9, 32, 64))
    assert latent.shape[1:] == (48, *WAN_2_2.latent(9, 32, 64))
    assert vae.decode(latent).shape == (1, 3, 9, 32, 64)
