"""VACE without ComfyUI: its DiT, its hints, and references in front of the video under control."""

from dataclasses import replace

import pytest
import refvid_riders as plain
import refvid_tiny as tiny
import torch
from refvid_vace import CASES, FRAMES, SIGMA, PublishedVace, references, said

from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.backbones.wan.vace import VaceDiT
from refvid.core.controls import Controls, StepWindow
from refvid.core.frames import GivenFrames
from refvid.core.guidance import CONDITIONED, NULL
from refvid.core.recipes import recipe_named
from refvid.core.references import make_reference
from refvid.hosts.plain.references import encode_pictures, encode_references
from refvid.hosts.plain.vace import encode_hints

GRID, SIZES = (FRAMES, 8, 8), tiny.config()
STATE = tiny.vace_state(SIZES)
PICTURE = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(2))
WORDS = {"positive": torch.randn(1, 12, tiny.TEXT_WIDTH, generator=torch.Generator().manual_seed(1))}


@pytest.fixture(scope="module")
def dit(tmp_path_factory) -> VaceDiT:
    path = tiny.save_dit(tmp_path_factory.mktemp("vace"), "vace.safetensors", SIZES, STATE)
    made, _ = load_dit(path, hints=True)
    assert isinstance(made, VaceDiT)
    return made


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return load_vae(tiny.save_vae(tmp_path_factory.mktemp("vae"), width=2))


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


def test_what_is_asked_of_references_acts(dit, vae, noisy):
    """Each asked of one of two pictures; steps are shares of a schedule of this shift."""
    pictures = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(3))
    left = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)
    neutral = [make_reference(one) for one in pictures]

    def made(first, sigma=SIGMA):
        return velocity(dit, noisy, hints(dit, vae, [first, neutral[1]]), sigma)

    base = made(neutral[0])
    asked = [
        make_reference(pictures[0], None, Controls(0.5)),
        make_reference(pictures[0], left),
        make_reference(pictures[0], None, None, left),
        make_reference(pictures[0], None, Controls(sees="itself")),
        make_reference(pictures[0], None, Controls(steps=StepWindow(0.0, 0.5))),
    ]
    for one in asked:
        assert (made(one) - base).abs().max() > 1e-4
    assert torch.equal(made(asked[-1], 0.99), made(neutral[0], 0.99))
    swapped = velocity(dit, noisy, hints(dit, vae, neutral[::-1]))
    alone = velocity(dit, noisy[:, :, : FRAMES + 1], hints(dit, vae, neutral[:1]))
    for other in (swapped, alone):
        assert (other[:, :, :FRAMES] - base[:, :, :FRAMES]).abs().max() > 1e-4


def test_rows_of_a_batch_and_the_null_pass_have_the_same_frames(dit, vae, noisy):
    rider = hints(dit, vae, references("a region"))
    both = torch.cat([noisy, noisy.flip(1)])
    made = velocity(dit, both, rider)
    for row in range(2):
        assert (made[row : row + 1] - velocity(dit, both[row : row + 1], rider)).abs().max() < 1e-5
    words = {**WORDS, "negative": WORDS["positive"]}
    condition = plain.with_riders(plain.condition(words), rider)
    level = torch.tensor(SIGMA)
    passes = [plain.velocity(dit, noisy, level, condition, entry) for entry in (CONDITIONED, NULL)]
    assert torch.equal(*passes)


def test_the_frames_have_noise_of_their_own_and_the_video_that_of_its_seed(dit, vae):
    rider, noise = hints(dit, vae, references("neutral")), torch.randn(1, 16, *GRID)
    begun = rider.begin(noise, 5)
    assert torch.equal(begun[:, :, :FRAMES], noise) and begun.shape[2] == FRAMES + 2
    assert torch.equal(rider.begin(noise, 5), begun) and not torch.equal(rider.begin(noise, 6), begun)


def test_what_cannot_be_beside_them_is_refused(dit, vae, noisy):
    rider = hints(dit, vae, references("neutral"))
    with pytest.raises(ValueError, match="sees is frames"):
        hints(dit, vae, [replace(references("neutral")[0], controls=Controls(sees="frames"))])
    with pytest.raises(ValueError, match="recipe is vace, whose references are frames"):
        encode_references(dit, vae, references("neutral"), recipe_named("vace"), GRID)
    with pytest.raises(ValueError, match="stand in front of the whole video"):
        rider.over(0, 2)
    with pytest.raises(ValueError, match="hints are missing"):
        dit(noisy, torch.tensor([15.0]), WORDS["positive"])
    behind = encode_references(dit, vae, references("neutral"), recipe_named("phantom"), GRID)
    given = GivenFrames(torch.zeros(1, 16, *GRID), torch.tensor([True, False, False]), "own")
    for other in (behind, plain.FramesRider(given)):
        condition = plain.with_riders(plain.condition(WORDS), rider, other)
        with pytest.raises(ValueError, match="cannot be beside other references"):
            plain.velocity(dit, noisy, torch.tensor(SIGMA), condition, CONDITIONED)


def test_the_branch_is_shown_references_in_order_then_grey_with_a_mask_of_ones(dit, vae):
    given = references("neutral")
    shown, grey = hints(dit, vae, given).shown[0], encode_pictures(vae, torch.full((9, 64, 64, 3), 0.5))[0]
    for index, one in enumerate(given):
        assert torch.equal(shown[:16, index], encode_pictures(vae, one.picture[None])[0, :, 0])
        assert not shown[16:, index].any()
    assert torch.equal(shown[:16, 2:], grey) and torch.equal(shown[16:32, 2:], grey)
    assert shown.shape == (96, 2 + FRAMES, 8, 8) and shown[32:, 2:].eq(1).all()


def test_frames_in_front_begin_with_noise_of_their_own(dit, vae):
    def drawn(frames):
        return torch.randn(1, 16, frames, 8, 8, generator=torch.Generator().manual_seed(4))

    begun = hints(dit, vae, [make_reference(PICTURE)] * 2).begin(drawn(FRAMES), 4)
    assert torch.equal(begun[:, :, :FRAMES], drawn(FRAMES)) and begun.shape[2] == FRAMES + 2
    assert not torch.equal(begun[:, :, FRAMES:], drawn(2))
