"""VACE without ComfyUI: its DiT, its hints, and references in front of the video under control."""

import pytest
import refvid_riders as plain
import refvid_tiny as tiny
import torch
from refvid_vace import CASES, FRAMES, SIGMA, PublishedVace, references, said

from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.backbones.wan.vace import VaceDiT
from refvid.core.guidance import CONDITIONED
from refvid.core.recipes import recipe_named
from refvid.hosts.plain.vace import encode_hints

GRID, SIZES = (FRAMES, 8, 8), tiny.config()
STATE = tiny.vace_state(SIZES)
WORDS = {"positive": torch.randn(1, 12, tiny.TEXT_WIDTH, generator=torch.Generator().manual_seed(1))}


@pytest.fixture(scope="module")
def dit(tmp_path_factory) -> VaceDiT:
    path = tiny.save_dit(tmp_path_factory.mktemp("vace"), "vace.safetensors", SIZES, STATE)
    made, _ = load_dit(path, hints=True)
    assert isinstance(made, VaceDiT)
    return made


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return load_vae(tiny.save_vae(tmp_path_factory.mktemp("vae")))


@pytest.fixture(scope="module")
def noisy():
    return torch.randn(1, 16, FRAMES + 2, 8, 8, generator=torch.Generator().manual_seed(9))


def hints(dit, vae, given):
    return encode_hints(dit, vae, given, recipe_named("vace"), GRID)


def velocity(dit, state, rider, sigma=SIGMA, entry=CONDITIONED, **more):
    condition = plain.with_riders(plain.condition(WORDS, shift=3.0, **more), rider)
    return plain.velocity(dit, state, torch.tensor(sigma, dtype=state.dtype), condition, entry)


def test_its_parameters_are_the_published_ones(dit):
    assert dit.state_dict().keys() == STATE.keys()


@pytest.mark.parametrize("name", CASES)
def test_every_control_is_the_published_forward_with_weights_and_infinities(dit, vae, noisy, name):
    rider = hints(dit, vae, references(name))
    double = VaceDiT(dit.config).double()
    double.load_state_dict({key: value.double() for key, value in STATE.items()})
    condition = plain.with_riders(plain.condition({"positive": WORDS["positive"].double()}), rider)
    level = torch.tensor(SIGMA, dtype=torch.float64)
    with torch.no_grad():
        made = plain.velocity(double, noisy.double(), level, condition, CONDITIONED)[0]
    front, video = noisy[0, :, FRAMES:], noisy[0, :, :FRAMES]
    published = PublishedVace(STATE, exact=True)
    x, shown = torch.cat([front, video], dim=1), rider.shown[0]
    wanted = published.velocity(x, shown, WORDS["positive"][0], 1000 * SIGMA, said(name), 1.0)
    wanted = torch.cat([wanted[:, 2:], wanted[:, :2]], dim=1)
    assert made.dtype == torch.float64 and (made - wanted).abs().max() < 1e-6
