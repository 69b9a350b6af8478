"""Public methods on the plain host, in float64, against forwards written from what was published."""

from functools import cache

import pytest
import refvid_riders as plain
import refvid_tiny as tiny
import torch
from refvid_published_references import METHODS, MOST, PublishedWan, guided, prepared
from torch import Tensor

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.vae import WanVAE
from refvid.core.guidance import CONDITIONED, MIDDLE, NULL, Guidance, Scale
from refvid.core.recipes import recipe_named
from refvid.core.references import make_reference
from refvid.hosts.plain.pipeline import Settings

SIGMA = 1 / 64  # late: timesteps are waves in float32, whose phase is off by more early
GRID = (3, 8, 12)  # of the video's latent
SIZES = ((41, 50), (50, 33), (96, 64))  # odd ones, one wide, one high, one larger than the video
SIDES = [(name, MOST.get(name, 3)) for name in METHODS] + [("skyreels_v3", 1), ("kaleido", 1)]


@cache
def weights() -> dict[str, Tensor]:
    return tiny.dit_state(tiny.config())


@pytest.fixture(scope="module")
def dit():
    made = WanDiT(tiny.config())
    made.load_state_dict(weights())
    return made.double().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return WanVAE(8).eval().requires_grad_(False)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


WORDS = {"positive": drawn(1, 6, tiny.TEXT_WIDTH, seed=1), "negative": drawn(1, 4, tiny.TEXT_WIDTH, seed=2)}
VIDEO = drawn(2, 16, *GRID, seed=9)


def pictures(count: int) -> list[Tensor]:
    return [
        torch.rand(*size, 3, generator=torch.Generator().manual_seed(3 + k))
        for k, size in enumerate(SIZES[:count])
    ]


def condition(dit, vae, name: str, shown: list[Tensor]) -> plain.Condition:
    references = [make_reference(one) for one in shown]
    return plain.condition(WORDS, plain.encode_references(dit, vae, references, recipe_named(name), GRID))


def said(vae, name: str, shown: list[Tensor], row: int) -> tuple[Tensor, Tensor, Tensor]:
    """Passes of a row as published."""
    method = METHODS[name]
    latents = [
        plain.encode_pictures(vae, prepared(one, method, 8 * GRID[1], 8 * GRID[2])[None])[0] for one in shown
    ]
    words = {side: states[0] for side, states in WORDS.items()}
    return PublishedWan(weights()).passes(method, VIDEO[row], latents, words, 1000 * SIGMA)


@pytest.mark.parametrize(("name", "count"), SIDES)
@torch.no_grad()
def test_every_pass_of_a_batch_and_their_guidance_are_as_published(dit, vae, name, count):
    asked, level = condition(dit, vae, name, pictures(count)), torch.tensor(SIGMA, dtype=torch.float64)
    got = [plain.velocity(dit, VIDEO, level, asked, entry) for entry in (CONDITIONED, MIDDLE, NULL)]
    scales = METHODS[name].scales
    mixed = plain.guided_velocity(dit, asked, Guidance(*(Scale(one) for one in scales)))(VIDEO, level)
    for row in range(len(VIDEO)):
        wanted = said(vae, name, pictures(count), row)
        for one, other in zip(got, wanted, strict=True):
            torch.testing.assert_close(one[row], other, rtol=0, atol=1e-6)
        torch.testing.assert_close(mixed[row], guided(wanted, scales), rtol=0, atol=1e-5)
    hints = recipe_named(name).hints
    assert hints is None or (hints.image_scale, hints.text_scale) == scales


@pytest.mark.parametrize("name", METHODS)
@torch.no_grad()
def test_every_picture_and_their_order_and_number_matter(dit, vae, name):
    shown, level = pictures(MOST.get(name, 3)), torch.tensor(SIGMA, dtype=torch.float64)

    def of(given):
        return plain.velocity(dit, VIDEO[:1], level, condition(dit, vae, name, given), CONDITIONED)

    first = of(shown)
    others = [[1 - shown[0], *shown[1:]]]
    if len(shown) > 1:
        others += [shown[::-1], shown[:-1]]
    for other in others:
        assert (of(other) - first).abs().max() > 1e-4


def test_published_settings_are_all_of_the_recipes():
    made = Settings(seed=7).published(recipe_named("skyreels_v3"))
    assert made == Settings(1280, 720, 121, 8, 1.0, 5.0, 24, 7)
    assert Settings(shift=3.0).published(recipe_named("kaleido")).shift == 3.0, "none is known"
