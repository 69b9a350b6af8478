"""A long edit without ComfyUI: what is evaluated in windows, against a loop over the windows by hand."""

from dataclasses import replace

import pytest
import refvid_tiny as tiny
import torch
from refvid_plain import (
    Condition,
    FramesRider,
    GivenFrames,
    PeopleRider,
    ReferencesRider,
    SourceRider,
    condition,
    rider,
    texts,
    velocity,
    with_riders,
)
from refvid_plain_cases import Case, Host, drawn, edited, people
from refvid_plain_cases import condition as made
from torch import Tensor

from refvid.backbones.wan.dit import WanDiT
from refvid.core.controls import Controls, FrameWindow
from refvid.core.editing import Windows
from refvid.core.guidance import CONDITIONED, NULL

FRAMES, SIDE = 7, 4
SIGMA = torch.tensor(0.6)
WINDOWS = Windows(4, 9, 4)  # pictures: three latent frames, of which neighbours share one
SPANS, PYRAMID = ((0, 3), (2, 5), (4, 7)), torch.tensor([1.0, 2.0, 1.0])


@pytest.fixture(scope="module")
def host() -> Host:
    return Host(16, (FRAMES, SIDE, SIDE), torch.float32, torch.float64, torch.device("cpu"))


def frames_now_and_then(host: Host) -> dict:
    """The first frame of one window, the middle of another, none of the third's own."""
    replaced = torch.tensor([True, False, False, True, False, False, False])
    return {"frames": GivenFrames(host.latent(21) * replaced[:, None, None], replaced)}


def people_here_and_there(host: Host) -> dict:
    """Identities on other cells in every frame."""
    (given,) = people(cells=True)(host).values()
    left = torch.arange(SIDE) < SIDE // 2
    first = torch.stack([left if frame % 2 else ~left for frame in range(FRAMES)])
    first[FRAMES - 1] = False
    cells = 2 + first.long()[:, None].expand(-1, SIDE, -1)
    return {"people": PeopleRider(given.persons, given.nobody, cells.contiguous())}


MORE = {
    "alone": ((), (), lambda host: {}),
    "references": ((Controls(frames=FrameWindow(9, 20)), Controls(0.5)), (0, None), lambda host: {}),
    "given frames": ((), (), frames_now_and_then),
    "identities in some cells": ((Controls(),), (), people_here_and_there),
}  # fmt: skip


def long_edit(host: Host, name: str, semantic: bool) -> Condition:
    controls, sides, more = MORE[name]
    both = lambda host: {**edited(semantic)(host), **more(host)}  # noqa: E731
    asked = made(host, Case(controls, sides, "sama" if semantic else "in_context", both), "auto")
    return with_riders(condition(texts(host)), *asked.riders)


def in_window(asked: Condition, first: int, stop: int) -> Condition:
    """Parts that are asked of latent frames [first, stop), piece by piece."""
    kinds = (ReferencesRider, PeopleRider, FramesRider, SourceRider)
    references, who, given, edit = (rider(asked, kind) for kind in kinds)
    if references is not None and references.cells is not None:
        references = ReferencesRider(
            references.arranged, references.inputs, references.cells[first:stop].clone()
        )
    if who is not None:
        assert who.cells is not None
        who = PeopleRider(who.persons, who.nobody, who.cells[first:stop].clone())
    if given is not None:
        whole = given.given
        given = FramesRider(
            GivenFrames(
                whole.latent[:, :, first:stop].clone(), whole.replaced[first:stop].clone(), whole.clock
            )
        )
    assert edit is not None
    source = SourceRider(edit.latent[:, :, first:stop].clone(), edit.recipe, edit.modules)
    parts = [one for one in (references, who, given, source) if one is not None]
    return Condition(asked.texts, tuple(parts))


def by_hand(host: Host, latent: Tensor, asked: Condition, entry) -> Tensor:
    """Each window led by the frame before it, which is thrown away; frames by weights that rise and fall;
    semantic tokens, behind the video, go into each window whole, and their mean comes out."""
    video, tokens = latent[:, :, :FRAMES], latent[:, :, FRAMES:]
    parts: list[list[tuple[float, Tensor]]] = [[] for _ in range(FRAMES)]
    said = []
    for start, stop in SPANS:
        first = start if start == 0 else start - 1
        part = torch.cat([video[:, :, first:stop], tokens], 2)
        out = velocity(host.dit, part, SIGMA, in_window(asked, first, stop), entry)
        for frame in range(start, stop):
            parts[frame].append((float(PYRAMID[frame - start]), out[:, :, frame - first]))
        said.append(out[:, :, stop - first :])
    frames = [sum(w * out for w, out in found) / sum(w for w, _ in found) for found in parts]
    return torch.cat([torch.stack(frames, 2), sum(said) / len(said)], 2)


@pytest.mark.parametrize("entry", [CONDITIONED, NULL], ids=["conditioned", "null"])
@pytest.mark.parametrize("semantic", [False, True], ids=["in context", "SAMA"])
@pytest.mark.parametrize("name", MORE)
def test_a_long_edit_is_the_weighted_mean_of_its_windows(host, name, semantic, entry):
    asked = long_edit(host, name, semantic)
    latent = asked.begin(host.latent(6, batch=2), seed=1)
    got = velocity(host.dit, latent, SIGMA, replace(asked, windows=WINDOWS), entry)
    torch.testing.assert_close(got, by_hand(host, latent, asked, entry), rtol=0, atol=1e-6)
    at_once = velocity(host.dit, latent, SIGMA, asked, entry)
    assert (got - at_once).abs().max() > 1e-3, "windows know less than the whole"
    assert got.shape == latent.shape and (latent.shape[2] > FRAMES) == semantic


def test_an_edit_that_fits_one_window_is_evaluated_at_once(host):
    asked = long_edit(host, "alone", semantic=True)
    latent = asked.begin(host.latent(6), seed=1)
    windowed = replace(asked, windows=Windows(4, 4 * FRAMES - 3, 4))
    one = velocity(host.dit, latent, SIGMA, windowed, CONDITIONED)
    assert torch.equal(one, velocity(host.dit, latent, SIGMA, asked, CONDITIONED))


def test_windows_take_their_own_part_of_what_fills_a_masked_input():
    """Windows without a source, over any longer video."""
    dit = WanDiT(tiny.config(36, layers=1))
    dit.load_state_dict(tiny.dit_state(dit.config))
    text, padding = drawn(1, 4, tiny.TEXT_WIDTH, seed=1), drawn(1, 20, FRAMES, SIDE, SIDE, seed=2)
    asked = condition({"positive": text}, padding=padding, windows=WINDOWS)
    video = drawn(1, 16, FRAMES, SIDE, SIDE, seed=3)
    got = velocity(dit, video, SIGMA, asked, CONDITIONED)
    total, count = torch.zeros_like(video), torch.zeros(FRAMES, 1, 1)
    for start, stop in SPANS:
        first = max(0, start - 1)
        shown = torch.cat([video, padding], 1)[:, :, first:stop]
        out = dit(shown, 1000 * SIGMA[None], text)
        for frame in range(start, stop):
            weight = PYRAMID[frame - start]
            total[:, :, frame] += weight * out[:, :, frame - first]
            count[frame] += weight
    torch.testing.assert_close(got, total / count, rtol=0, atol=1e-5)
