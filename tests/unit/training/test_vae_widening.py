"""A VAE made wider does what it did, and its copies do not stay alike."""

import pytest
import torch
from torch import Generator

from refvid.backbones.wan.vae import WanVAE
from refvid.training.base.vae_widening import widened_vae


def drawn(seed: int) -> Generator:
    return Generator().manual_seed(seed)


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_it_codes_and_decodes_as_before(copies):
    torch.manual_seed(0)
    narrow = WanVAE(2).double()
    for parameter in narrow.parameters():  # gammas of one and small attention would hide faults
        parameter.data = torch.randn_like(parameter) * 0.2 + (parameter.data if parameter.ndim > 1 else 1)
    wide = widened_vae(narrow, 2 * copies, drawn(0)).double()
    video = torch.rand(1, 3, 9, 32, 32, generator=drawn(1), dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        latent = narrow.encode(video)
        torch.testing.assert_close(wide.encode(video), latent, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(wide.decode(latent), narrow.decode(latent), rtol=1e-4, atol=1e-4)


def test_copies_of_a_channel_are_read_in_shares_of_their_own_by_the_seed():
    narrow = WanVAE(2)
    first, again, other = (widened_vae(narrow, 4, drawn(seed)) for seed in (0, 0, 1))
    name = "encoder.downsamples.0.residual.2.weight"
    one, two = (first.get_parameter(name)[:, part] for part in (slice(0, 2), slice(2, 4)))
    assert not torch.allclose(one, two, atol=1e-3)
    assert torch.equal(first.get_parameter(name), again.get_parameter(name))
    assert not torch.equal(first.get_parameter(name), other.get_parameter(name))


def test_a_width_that_is_no_multiple_is_refused():
    with pytest.raises(
        ValueError, match=r"--from is a VAE of width 4; needed one whose width divides train\.width, 6"
    ):
        widened_vae(WanVAE(4), 6, drawn(0))
