"""Automatic regions on the plain host: maps of the step before, of each pass, row and frame."""

from dataclasses import replace

import pytest
import torch
from refvid_plain import guided_velocity, said, texts, velocity
from refvid_plain_cases import Case, Host, condition

from refvid.core.controls import Controls
from refvid.core.editing import Windows
from refvid.core.guidance import CONDITIONED, NULL, Scale, joint
from refvid.hosts.plain.recall import Kept

LEVELS = tuple(torch.tensor(s) for s in (0.9, 0.5, 0.2))
NOW = {"focus": 8.0, "focus_start": 0.0}


@pytest.fixture(scope="module")
def host() -> Host:
    return Host(16, (2, 4, 4), torch.float32, torch.float64, torch.device("cpu"))


def asked(host, *controls, **more):
    return replace(condition(host, Case(controls, **more), "auto"), texts=said(texts(host)))


def steps(host, given, levels=LEVELS, frames=None, batch=2):
    kept = Kept()
    return [
        velocity(host.dit, host.latent(6 + k, batch=batch, frames=frames), sigma, given, CONDITIONED, kept)
        for k, sigma in enumerate(levels)
    ]


def test_the_first_evaluation_is_bit_identical_to_none_and_later_ones_are_not(host):
    found, plain = steps(host, asked(host, Controls(**NOW))), steps(host, asked(host, Controls()))
    assert torch.equal(found[0], plain[0])
    assert all((one - other).abs().max() > 1e-4 for one, other in zip(found[1:], plain[1:], strict=True))
    late = steps(host, asked(host, Controls(focus=8.0, focus_start=0.99)))
    off = steps(host, asked(host, Controls(focus=1.0, focus_start=0.0)))
    for one, other, right in zip(late, off, plain, strict=True):
        assert torch.equal(one, right) and torch.equal(other, right)


def test_rows_of_a_batch_have_their_own_maps(host):
    given, kept, alone = asked(host, Controls(**NOW), Controls()), Kept(), (Kept(), Kept())
    for k, sigma in enumerate(LEVELS):
        latent = host.latent(6 + k, batch=2)
        both = velocity(host.dit, latent, sigma, given, CONDITIONED, kept)
        for row, own in enumerate(alone):
            one = velocity(host.dit, latent[row : row + 1], sigma, given, CONDITIONED, own)
            torch.testing.assert_close(both[row : row + 1], one, rtol=0, atol=1e-10)


def test_the_passes_of_guidance_have_their_own_maps(host):
    given, kept = asked(host, Controls(**NOW), recipe="phantom"), {CONDITIONED: Kept(), NULL: Kept()}
    guided = guided_velocity(host.dit, given, joint(Scale(3.0)))
    for k, sigma in enumerate(LEVELS):
        latent = host.latent(6 + k)
        cond, null = (velocity(host.dit, latent, sigma, given, entry, own) for entry, own in kept.items())
        torch.testing.assert_close(guided(latent, sigma), null + 3 * (cond - null), rtol=0, atol=1e-10)
    shown = [torch.cat([*own.maps._now.values()], 2) for own in kept.values()]
    assert (shown[0] - shown[1]).abs().max() > 1e-3  # of pictures, and of zero latents in their places


def test_a_pass_that_keeps_nothing_is_refused(host):
    with pytest.raises(ValueError, match=r"focus is \[8.0\], but this pass keeps nothing"):
        velocity(host.dit, host.latent(6), LEVELS[0], asked(host, Controls(**NOW)), CONDITIONED)


def test_windows_of_a_long_video_have_the_maps_of_their_frames(host):
    """Where one window holds the whole, it is as without windows; more of them have maps, too."""
    given = asked(host, Controls(**NOW))
    whole, one = (steps(host, replace(given, windows=w), frames=5) for w in (None, Windows(4, 17, 4)))
    assert all(map(torch.equal, whole, one))
    cut = replace(given, windows=Windows(4, 9, 4))
    off = replace(asked(host, Controls()), windows=Windows(4, 9, 4))
    found, plain = steps(host, cut, frames=5), steps(host, off, frames=5)
    kept = Kept()
    velocity(host.dit, host.latent(6, batch=2, frames=5), LEVELS[0], cut, CONDITIONED, kept)
    assert sorted(kept.maps._now) == [0, 1, 2, 3, 4]
    assert torch.equal(found[0], plain[0])
    for one, other in zip(found[1:], plain[1:], strict=True):
        assert ((one - other).abs().amax((0, 1, 3, 4)) > 1e-5).all(), "a frame without a focus"


def test_kept_keys_and_a_focus_say_what_a_new_evaluation_says(host, monkeypatch):
    given = asked(host, Controls(sees="itself", strength=0.5, **NOW), recipe="videomaker")
    kept = steps(host, given)
    monkeypatch.setattr("refvid.hosts.plain.tail.recalling", lambda tail, *_: tail)
    for one, other in zip(kept, steps(host, given), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
