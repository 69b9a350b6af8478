"""The Wan VAE: causal, the same in any chunking, exact shortcuts."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from refvid.backbones.wan.loading import load_vae
from refvid.backbones.wan.vae import WanVAE
from refvid.backbones.wan.vae_layers import CausalConv, Downsample, Normalise, Upsample, skip_unused_past
from refvid.core.checkpoint import save_model
from refvid.training.base.vae import centre_latents

# In float64, so that only the norm's own fp32 inverse rounds; width 8, since norms over two channels that are
# both near zero make a rounding a thousand times larger.
CLOSE = {"rtol": 0, "atol": 1e-5}


def fresh() -> WanVAE:
    """Random everywhere, norms and biases included."""
    torch.manual_seed(0)
    vae = WanVAE(8)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return vae.double().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def vae() -> WanVAE:
    return fresh()


def clip(frames: int, height: int = 16, width: int = 24, batch: int = 1) -> Tensor:
    return (
        torch.rand(batch, 3, frames, height, width, generator=torch.Generator().manual_seed(7)).double() * 2
        - 1
    )


def far(a: Tensor, b: Tensor) -> bool:
    return (a - b).abs().max().item() > 1e-4


# ---- chunks and single pictures


@pytest.mark.parametrize("frames", [5, 17])
@pytest.mark.parametrize("chunk", [8, 12, 400])
def test_the_chunk_changes_neither_latents_nor_pictures(vae, frames, chunk):
    latent = vae.encode(clip(frames))
    torch.testing.assert_close(vae.encode(clip(frames), chunk), latent, **CLOSE)
    torch.testing.assert_close(vae.decode(latent, chunk // 4), vae.decode(latent), **CLOSE)


def general(self: CausalConv, x: Tensor) -> Tensor:
    """The published way: zeros for the frames before, all taps."""
    zeros = (0, 0, 0, 0, self.kernel_size[0] - 1, 0)
    return F.conv3d(F.pad(x, zeros), self.weight, self.bias, self.stride, self.padding)


@pytest.mark.parametrize("frames", [1, 5])
def test_the_short_way_for_single_pictures_is_exact(vae, monkeypatch, frames):
    latent = vae.encode(clip(frames))
    pictures, calls = vae.decode(latent), []
    monkeypatch.setattr(
        CausalConv, "_picture_convolution", lambda self, x: calls.append(self) or general(self, x)
    )
    torch.testing.assert_close(vae.encode(clip(frames)), latent, **CLOSE)
    torch.testing.assert_close(vae.decode(latent), pictures, **CLOSE)
    assert calls


def test_the_first_picture_is_coded_as_if_alone_and_a_clip_in_a_batch_too(vae):
    torch.testing.assert_close(vae.encode(clip(9))[:, :, :1], vae.encode(clip(9)[:, :, :1]), **CLOSE)
    both = torch.cat([clip(5), -clip(5)])
    torch.testing.assert_close(vae.encode(both)[1:], vae.encode(-clip(5)), **CLOSE)


# ---- layers against their formulas


def test_a_causal_convolution_in_pieces_is_one_over_zeros_and_everything(vae):
    torch.manual_seed(1)
    convolution, x = CausalConv(3, 4, (3, 3, 3)).double(), torch.randn(2, 3, 7, 5, 4).double()
    expected = general(convolution, x)
    for pieces in ([1, 6], [1, 1, 5], [3, 4], [7], [1] * 7, [2, 1, 4]):
        past = {}
        got = torch.cat([convolution(piece, past) for piece in x.split(pieces, 2)], 2)
        torch.testing.assert_close(got, expected, **CLOSE)


def test_present_only_equals_all_taps_when_those_of_the_past_are_zero():
    short, whole = fresh(), fresh()
    for model in (short, whole):
        for module in model.modules():
            if isinstance(module, CausalConv) and module.kernel_size == (3, 3, 3):
                module.weight[:, :, :2] = 0
                module.present_only = model is short
    latent = whole.encode(clip(9))
    torch.testing.assert_close(short.encode(clip(9)), latent, **CLOSE)
    torch.testing.assert_close(short.decode(latent), whole.decode(latent), **CLOSE)
    assert far(fresh().encode(clip(9)), latent)


def test_only_taps_of_the_past_that_are_all_zero_are_skipped():
    model, whole = fresh(), fresh()
    for one in (model, whole):
        found = [layer for layer in one.modules() if isinstance(layer, CausalConv)]
        for layer in (layer for layer in found if layer.kernel_size == (3, 3, 3)):
            layer.weight[:, :, :2] = 0
        one.encoder.conv1.weight[3, 1, 1, 2, 2] = 0.5  # of the frame just before
    skip_unused_past(model)
    skipping = [layer for layer in model.modules() if isinstance(layer, CausalConv) and layer.present_only]
    assert model.encoder.conv1 not in skipping and model.decoder.conv1 in skipping
    assert all(layer.kernel_size == (3, 3, 3) for layer in skipping)
    latent = whole.encode(clip(9))
    torch.testing.assert_close(model.encode(clip(9)), latent, **CLOSE)
    torch.testing.assert_close(model.decode(latent), whole.decode(latent), **CLOSE)


def test_a_file_s_unused_taps_are_skipped(tmp_path):
    model = fresh().float()
    for layer in (one for one in model.decoder.modules() if isinstance(one, CausalConv)):
        layer.weight[:, :, :-1] = 0
    save_model(dict(model.state_dict()), tmp_path / "vae.safetensors", dtype=torch.float32)
    loaded = load_vae(tmp_path / "vae.safetensors")
    skipped = {name for name, one in loaded.named_modules() if getattr(one, "present_only", False)}
    assert "decoder.conv1" in skipped and all(name.startswith("decoder.") for name in skipped)


def test_time_is_halved_and_doubled_but_never_for_the_first_frame():
    torch.manual_seed(2)
    down, up = Downsample(2, True).double(), Upsample(4, 2, True).double()
    x, y = torch.randn(1, 2, 5, 8, 6).double(), torch.randn(1, 4, 3, 4, 3).double()
    past = {}
    halved = torch.cat([down(piece, past) for piece in (x[:, :, :1], x[:, :, 1:])], 2)
    small = torch.stack([down.resample(frame) for frame in x.unbind(2)], 2)
    torch.testing.assert_close(halved[:, :, :1], small[:, :, :1], **CLOSE)
    torch.testing.assert_close(
        halved[:, :, 1:], F.conv3d(small, down.time_conv.weight, down.time_conv.bias, (2, 1, 1)), **CLOSE
    )
    past = {}
    doubled = torch.cat([up(piece, past) for piece in y.split(1, 2)], 2)
    wide = general(up.time_conv, y[:, :, 1:])  # the second frame starts with an empty past, as published
    frames = [y[:, :, 0]] + [part for frame in wide.unbind(2) for part in frame.chunk(2, 1)]
    torch.testing.assert_close(doubled, torch.stack([up.resample(frame) for frame in frames], 2), **CLOSE)


def test_a_norm_scales_channels_to_unit_root_mean_square_times_gamma():
    norm, x = Normalise(3, 3).double(), torch.randn(2, 3, 2, 4, 5).double()
    torch.nn.init.normal_(norm.gamma)
    expected = x / x.pow(2).mean(1, keepdim=True).sqrt() * norm.gamma
    torch.testing.assert_close(norm(x), expected, **CLOSE)
    assert norm(torch.zeros(1, 3, 1, 1, 1).double()).eq(0).all()


# ---- causality


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


# ---- refusals


@pytest.mark.parametrize(
    ("video", "chunk", "message"),
    [
        (clip(4), 4, r"video has 4 frames; the Wan VAE codes 4k \+ 1"),
        (clip(8), 4, r"video has 8 frames; the Wan VAE codes 4k \+ 1"),
        (clip(5, 20, 24), 4, "video is 20 x 24 pixels; both must be multiples of 8"),
        (clip(5, 16, 23), 4, "video is 16 x 23 pixels; both must be multiples of 8"),
        (clip(5), 0, "chunk is 0 pictures; it must be a positive multiple of 4"),
        (clip(5), 6, "chunk is 6 pictures"),
    ],
)
def test_other_clips_and_chunks_are_refused_with_what_fits(vae, video, chunk, message):
    with pytest.raises(ValueError, match=message):
        vae.encode(video, chunk)


# ---- statistics


def test_latents_leave_under_wans_statistics_and_return_through_them(vae):
    raw = {}
    hook = vae.conv1.register_forward_hook(lambda _, __, out: raw.update(moments=out))
    latent = vae.encode(clip(5))
    hook.remove()
    undone = latent * vae.deviation.double() + vae.mean.double()
    torch.testing.assert_close(undone, raw["moments"][:, :16], **CLOSE)


def test_centring_gives_mean_zero_and_deviation_one_and_keeps_reconstructions():
    model, video = fresh(), clip(9, batch=3)
    before = model.decode(model.encode(video))
    untouched = model.encode(video)
    centre_latents(model, video)
    latent = model.encode(video)
    assert far(untouched.std((0, 2, 3, 4)), torch.ones(16).double())
    torch.testing.assert_close(latent.mean((0, 2, 3, 4)), torch.zeros(16).double(), **CLOSE)
    torch.testing.assert_close(latent.std((0, 2, 3, 4)), torch.ones(16).double(), **CLOSE)
    torch.testing.assert_close(model.decode(latent), before, **CLOSE)
