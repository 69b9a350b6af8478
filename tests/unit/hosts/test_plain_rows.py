"""A batch whose rows are conditioned on different things, against each row evaluated alone; riders and their
order."""

from dataclasses import replace

import pytest
import torch
from refvid_plain_cases import Host, drawn
from refvid_riders import (
    Condition,
    FramesRider,
    PeopleRider,
    Person,
    ReferencesRider,
    SourceRider,
    Text,
    evaluate_pass,
    references_in_rows,
    velocity,
)
from torch import Tensor

from refvid.backbones.wan.text import fold_padding
from refvid.core.controls import Controls
from refvid.core.frames import GivenFrames
from refvid.core.guidance import CONDITIONED, NULL
from refvid.core.layout import Layout, Stream
from refvid.core.recipes import recipe_named, sama
from refvid.core.references import Arranged
from refvid.hosts.plain.evaluation import Rider, in_order
from refvid.hosts.plain.recall import Kept

GRID, WIDTH, BATCH = (3, 4, 4), 32, 3
CLOSE = {"rtol": 0, "atol": 1e-9}
EVERY = tuple(range(BATCH))
SEEN = torch.tensor([[1, 1, 1, 0, 1, 0, 0, 1], [0, 1, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 0, 1, 0]]).bool()


@pytest.fixture(scope="module")
def host() -> Host:
    return Host(16, GRID, torch.float64, torch.float64, torch.device("cpu"))


def latents(host: Host, seed: int, frames: int = 1) -> Tensor:
    return host.latent(seed, BATCH, frames)


def alone(host: Host, rows: Tensor, row: int, recipe: str, sees: str) -> ReferencesRider:
    """One row's references: those tokens that it has, and no others."""
    stream = Stream(2, 2, 4, Controls(sees=sees))
    kept = SEEN[row].nonzero()[:, 0]
    streams = tuple(
        replace(stream, kept=int(SEEN[row, 4 * k : 4 * k + 4].sum())) for k in range(rows.shape[2])
    )
    layout = Layout(recipe_named(recipe), streams, host.dit.geometry)
    return ReferencesRider(Arranged(layout, kept[kept < 4 * rows.shape[2]], None), (rows[row : row + 1],))


@pytest.mark.parametrize(
    ("recipe", "sees", "count"), [("saber", "all", 2), ("videomaker", "frames", 1), ("videomaker_no_text", "itself", 1)]
)  # fmt: skip
@pytest.mark.parametrize("entry", [CONDITIONED, NULL], ids=["conditioned", "null"])
def test_rows_keep_the_tokens_of_their_own_references(host, recipe, sees, count, entry):
    rows, seen = latents(host, 11, count), SEEN[:, : 4 * count]
    stream = Stream(2, 2, 4, Controls(sees=sees))
    together = references_in_rows(rows, seen, stream, recipe_named(recipe), host.dit.geometry)
    texts = {name: Text(host.put(drawn(1, 5, WIDTH, seed=2))) for name in ("positive", "negative")}
    state, sigma = host.latent(6, BATCH), torch.tensor(0.6).double()
    got = velocity(host.dit, state, sigma, Condition(texts, (together,)), entry)
    for row in EVERY:
        condition = Condition(texts, (alone(host, rows, row, recipe, sees),))
        torch.testing.assert_close(
            got[row : row + 1], velocity(host.dit, state[row : row + 1], sigma, condition, entry), **CLOSE
        )
    other = references_in_rows(rows, ~seen, stream, recipe_named(recipe), host.dit.geometry)
    if entry.conditions:
        assert (velocity(host.dit, state, sigma, Condition(texts, (other,)), entry) - got).abs().max() > 1e-3


def test_what_is_kept_of_references_that_read_only_themselves_is_each_rows(host):
    rows, stream = latents(host, 11), Stream(2, 2, 4, Controls(0.5, sees="itself"))
    made = references_in_rows(rows, SEEN[:, :4], stream, recipe_named("videomaker"), host.dit.geometry)
    asked = Condition({"positive": Text(host.put(drawn(1, 5, WIDTH, seed=2)))}, (made,))
    kept = Kept()
    for turn in range(3):
        given = (
            host.dit,
            host.latent(6 + turn, BATCH),
            torch.tensor(0.9 - 0.3 * turn).double(),
            asked,
            CONDITIONED,
        )
        torch.testing.assert_close(velocity(*given, kept), velocity(*given), **CLOSE)
    assert kept.keys is not None and len(kept.keys) == len(host.dit.blocks)


def test_references_of_rows_have_noise_levels_of_their_own(host):
    """The timestep of each row's is its own level's, which the tokens behind the video show."""
    rows, levels = latents(host, 12), torch.tensor([0.0, 0.1, 0.3]).double()
    stream = Stream(2, 2, 4)
    made = references_in_rows(rows, SEEN[:, :4] | True, stream, recipe_named("videomaker"), host.dit.geometry)
    texts = {"positive": Text(host.put(drawn(1, 5, WIDTH, seed=2)))}
    state, sigma = host.latent(6, BATCH), torch.tensor(0.6).double()
    said, after = evaluate_pass(
        host.dit, state, sigma, Condition(texts, (replace(made, level=levels),)), CONDITIONED
    )
    for row in EVERY:
        part = slice(row, row + 1)
        one = replace(made, inputs=(rows[part],), seen=made.seen[part], level=levels[part])
        out, tokens = evaluate_pass(host.dit, state[part], sigma, Condition(texts, (one,)), CONDITIONED)
        torch.testing.assert_close(said[part], out, **CLOSE)
        torch.testing.assert_close(after[part], tokens, **CLOSE)
    clean, _ = evaluate_pass(host.dit, state, sigma, Condition(texts, (made,)), CONDITIONED)
    torch.testing.assert_close(said[:1], clean[:1], **CLOSE)
    assert (said - clean)[1:].abs().amax((1, 2, 3, 4)).min() > 1e-4


def test_rows_read_texts_and_people_of_their_own(host):
    """Padding is folded by a bias of the text's keys; of a person's tokens each row reads some."""
    tokens = torch.tensor([[7, 8, 1, 0], [5, 1, 0, 0], [3, 4, 9, 1]])
    states = host.put(drawn(BATCH, 4, WIDTH, seed=3)) * tokens.ne(0)[..., None]
    told = Text(*fold_padding(states, tokens, 12))
    who = host.put(drawn(BATCH, 3, host.dit.width, seed=4))
    reads = torch.tensor([[1, 1, 1], [1, 0, 1], [0, 1, 0]]).bool()
    nobody = host.put(drawn(2, host.dit.width, seed=5))
    second = Person(host.put(drawn(2, host.dit.width, seed=6)), 0.3)
    people = PeopleRider((Person(who, 2.0, seen=reads), second), nobody)
    state, sigma = host.latent(6, BATCH), torch.tensor([0.2, 0.5, 0.9]).double()
    got = velocity(host.dit, state, sigma, Condition({"positive": told}, (people,)), CONDITIONED)
    for row in EVERY:
        part = slice(row, row + 1)
        padded = Text(torch.nn.functional.pad(states[part], (0, 0, 0, 8)))
        person = Person(who[row, reads[row]], 2.0)
        condition = Condition({"positive": padded}, (PeopleRider((person, second), nobody),))
        wanted = velocity(host.dit, state[part], sigma[part], condition, CONDITIONED)
        torch.testing.assert_close(got[part], wanted, rtol=0, atol=1e-6)  # the bias is float32


@pytest.mark.parametrize("clock", ["own", "shared"])
def test_rows_are_given_frames_of_their_own(host, clock):
    replaced = torch.tensor([[1, 0, 0], [0, 0, 0], [1, 0, 1]]).bool()
    clean = host.latent(21, BATCH)
    texts = {"positive": Text(host.put(drawn(1, 5, WIDTH, seed=2)))}
    state, sigma = host.latent(6, BATCH), torch.tensor([0.2, 0.5, 0.9]).double()
    together = Condition(texts, (FramesRider(GivenFrames(clean, replaced, clock)),))
    got = velocity(host.dit, state, sigma, together, CONDITIONED)
    for row in EVERY:
        part = slice(row, row + 1)
        one = Condition(texts, (FramesRider(GivenFrames(clean[part], replaced[row], clock)),))
        wanted = velocity(host.dit, state[part], sigma[part], one, CONDITIONED)
        torch.testing.assert_close(got[part], wanted, **CLOSE)
    ended = state - sigma.view(-1, 1, 1, 1, 1) * got
    assert torch.allclose(
        ended[replaced[:, None].expand(-1, 16, -1)], clean[replaced[:, None].expand(-1, 16, -1)]
    )


def test_rows_have_sources_of_their_own(host):
    sources = host.latent(20, BATCH)
    texts = {"positive": Text(host.put(drawn(1, 5, WIDTH, seed=2)))}
    together = Condition(texts, (SourceRider(sources, sama(), host.semantic),))
    state = torch.cat([together.begin(host.latent(6 + row), row) for row in EVERY])
    sigma = torch.tensor([0.2, 0.5, 0.9]).double()
    got = velocity(host.dit, state, sigma, together, CONDITIONED)
    for row in EVERY:
        part = slice(row, row + 1)
        one = Condition(texts, (SourceRider(sources[part], sama(), host.semantic),))
        torch.testing.assert_close(
            got[part], velocity(host.dit, state[part], sigma[part], one, CONDITIONED), **CLOSE
        )


class Unknown(Rider):
    """Rider of no registered kind."""


def test_riders_act_in_the_order_of_their_kinds_and_strangers_are_refused(host):
    source = SourceRider(host.latent(20), recipe_named("in_context"))
    frames = FramesRider(GivenFrames(host.latent(21), torch.tensor([True, False, False])))
    assert in_order([source, frames]) == in_order([frames, source]) == [frames, source]
    for wrong in ([Unknown()], [source, source]):
        with pytest.raises(
            ValueError,
            match=r"^riders: .* needed one each of ReferencesRider, PeopleRider, FramesRider, SourceRider",
        ):
            in_order(wrong)


def test_two_recipes_in_one_evaluation_are_refused(host):
    reference = references_in_rows(
        latents(host, 11), SEEN[:, :4], Stream(2, 2, 4), recipe_named("saber"), host.dit.geometry
    )
    texts = {"positive": Text(host.put(drawn(1, 5, WIDTH, seed=2)))}
    both = Condition(texts, (reference, SourceRider(host.latent(20), recipe_named("in_context"))))
    with pytest.raises(ValueError, match="recipe is saber for one rider and in_context for another"):
        velocity(host.dit, host.latent(6, BATCH), torch.tensor(0.6).double(), both, CONDITIONED)
