"""Streams that several riders put behind the video and behind the text, joined: bit for bit against loops
over streams and cells."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from refvid_plain_cases import Host, drawn
from refvid_riders import Condition, SourceRider, Text, evaluate_pass, references_in_rows, tail, velocity
from torch import Tensor

from refvid.backbones.wan.geometry import WAN_2_1
from refvid.core.controls import Controls, StepWindow
from refvid.core.guidance import CONDITIONED
from refvid.core.layout import Layout, Stream
from refvid.core.recipes import saber, sama
from refvid.core.references import Arranged
from refvid.core.semantic import as_tokens
from refvid.hosts.plain import evaluation
from refvid.hosts.plain.evaluation import (
    Evaluation,
    Rider,
    TokensBehindText,
    TokensBehindVideo,
    register_rider,
)
from refvid.hosts.plain.tail import _joined, _joined_text

GRID = (2, 4, 4)
COUNTS = (2, 3)


def grid(count: int, seed: int) -> Tensor:
    return torch.randint(0, 1 << count, GRID, generator=torch.Generator().manual_seed(seed))


def behind(count: int, seed: int, cells: bool, seen: bool, soft: bool) -> TokensBehindVideo:
    streams = tuple(Stream(2, 2, 3) for _ in range(count))
    keep = torch.cat([4 * k + torch.tensor([0, 2, 3]) for k in range(count)])
    generator = torch.Generator().manual_seed(seed)
    return TokensBehindVideo(
        Arranged(
            Layout(saber(), streams, WAN_2_1),
            keep,
            -torch.rand(1, 3 * count, generator=generator) if soft else None,
        ),
        [drawn(1, 4, 8, seed=seed + k) for k in range(count)],
        grid(count, seed) if cells else None,
        torch.rand(2, 3 * count, generator=generator) < 0.5 if seen else None,
    )


def acts(one: TokensBehindVideo, stream: int) -> Tensor:
    """Cells of a stream."""
    return torch.ones(GRID, dtype=torch.bool) if one.cells is None else (one.cells >> stream & 1).bool()


@pytest.mark.parametrize(
    ("cells", "seen", "soft"), [*product([(0, 1), (1, 0), (1, 1)], [(0, 1), (1, 1)], [(1, 0), (0, 1)])]
)
def test_streams_of_two_riders_keep_what_is_theirs(cells, seen, soft):
    first, second = (
        behind(count, 7 * k + 1, bool(cells[k]), bool(seen[k]), bool(soft[k]))
        for k, count in enumerate(COUNTS)
    )
    whole = _joined(first, second)
    assert whole.arranged.layout.streams == (*first.arranged.layout.streams, *second.arranged.layout.streams)
    assert whole.arranged.keep.tolist() == [4 * k + n for k in range(5) for n in (0, 2, 3)]
    assert whole.tokens == [*first.tokens, *second.tokens]
    for stream in range(5):
        part, own = (first, stream) if stream < COUNTS[0] else (second, stream - COUNTS[0])
        assert torch.equal(acts(whole, stream), acts(part, own))
        assert whole.seen is not None and whole.arranged.soft is not None
        mine, its = slice(3 * stream, 3 * stream + 3), slice(3 * own, 3 * own + 3)
        wanted = torch.ones(2, 3, dtype=torch.bool) if part.seen is None else part.seen[:, its]
        assert torch.equal(whole.seen[:, mine], wanted)
        share = torch.zeros(1, 3) if part.arranged.soft is None else part.arranged.soft[:, its]
        assert torch.equal(whole.arranged.soft[:, mine], share)


def test_two_riders_that_ask_for_nothing_join_to_nothing():
    whole = _joined(*(behind(count, 1, False, False, False) for count in COUNTS))
    assert whole.cells is None and whole.seen is None and whole.arranged.soft is None and whole.level is None


@pytest.mark.parametrize("weighed", [(True, False), (False, True), (False, False)])
def test_tokens_of_two_riders_behind_the_text_keep_what_is_theirs(weighed):
    first = TokensBehindText(
        drawn(1, 5, 8, seed=1), (2, 3), drawn(1, 5, seed=2) if weighed[0] else None, grid(2, 3)
    )
    second = TokensBehindText(drawn(3, 4, 8, seed=4), (4,), drawn(3, 4, seed=5) if weighed[1] else None)
    whole = _joined_text(first, second)
    assert whole.sizes == (2, 3, 4) and whole.tokens.shape == (3, 9, 8)
    for row in range(3):
        assert torch.equal(whole.tokens[row], torch.cat([first.tokens[0], second.tokens[row]]))
    assert (whole.bias is None) == (not any(weighed))
    if whole.bias is not None:
        parts = [
            (torch.zeros(1, size) if one.bias is None else one.bias).expand(len(whole.bias), -1)
            for one, size in ((first, 5), (second, 4))
        ]
        assert torch.equal(whole.bias, torch.cat(parts, 1))
    assert whole.cells is not None and first.cells is not None
    assert torch.equal(whole.cells & 3, first.cells) and (whole.cells >> 2 == 1).all()


def test_rows_see_their_own_of_the_references_that_act_now():
    """References of which one acts late: before, its columns are nobody's."""
    host = Host(16, GRID, torch.float64, torch.float64, torch.device("cpu"))
    latents, seen = (
        host.latent(11, 2, 2),
        torch.tensor([[0, 0, 1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 1, 1, 1]]).bool(),
    )
    stream, recipe = Stream(2, 2, 4), saber()
    both = references_in_rows(latents, seen, stream, recipe, host.dit.geometry)
    late = Stream(2, 2, 4, Controls(steps=StepWindow(0.9)))
    layout = Layout(recipe, (late, stream), host.dit.geometry)
    first = TokensBehindVideo(Arranged(layout, both.arranged.keep, None), [])
    assert first.arranged.layout.timed
    both = type(both)(first.arranged, both.inputs, seen=seen)
    alone = references_in_rows(latents[:, :, 1:], seen[:, 4:], stream, recipe, host.dit.geometry)
    texts = {"positive": Text(host.put(drawn(1, 5, 32, seed=2)))}
    state, sigma = host.latent(6, 2), torch.tensor(0.6).double()
    # Alone it would stand a frame nearer: positions of saber's references follow their number.
    got, other = (
        velocity(host.dit, state, sigma, Condition(texts, (one,)), CONDITIONED) for one in (both, alone)
    )
    moved = velocity(
        host.dit,
        state,
        sigma,
        Condition(texts, (type(both)(first.arranged, both.inputs, seen=~seen),)),
        CONDITIONED,
    )
    assert (got - moved).abs().max() > 1e-3 and (got - other).abs().max() > 1e-6
    for row in range(2):
        part = slice(row, row + 1)
        kept = 4 + seen[row, 4:].nonzero()[:, 0]
        streams = (Stream(2, 2, 0, late.controls), Stream(2, 2, len(kept)))
        one = type(both)(Arranged(Layout(recipe, streams, host.dit.geometry), kept, None), (latents[part],))
        wanted = velocity(host.dit, state[part], sigma, Condition(texts, (one,)), CONDITIONED)
        torch.testing.assert_close(got[part], wanted, rtol=0, atol=1e-9)


def test_pictures_beside_a_source_are_told_apart_by_its_type_embedding():
    host = Host(16, GRID, torch.float64, torch.float64, torch.device("cpu"))
    pictures = references_in_rows(
        host.latent(11, 1, 1), torch.ones(1, 4, dtype=torch.bool), Stream(2, 2, 4), sama(), host.dit.geometry
    )
    source = SourceRider(host.latent(20), sama(), host.semantic)
    state = Condition({}, (source,)).begin(host.latent(6), 1)
    made = tail(host.dit, pictures, state, source=source)
    assert made is not None and made.unturned is not None and made.video_type is not None
    clean, semantic, video = host.semantic.segment_embedding.weight
    parts = [host.dit.embed_patches(one) + clean for one in (pictures.inputs[0], source.latent)]
    torch.testing.assert_close(made.tokens[:, : 4 + 8], torch.cat(parts, 1))
    assert torch.equal(made.video_type, video) and not torch.equal(clean, semantic)
    assert made.unturned.tolist() == [False] * 12 + [True] * 65


class Mood(Rider):
    """A further rider: two learned tokens behind all others, in the recipe of what stands there."""

    def now(self, evaluation: Evaluation) -> Evaluation:
        layout = Layout(sama(), (Stream(1, 2, 2),), evaluation.dit.geometry)
        mine = TokensBehindVideo(Arranged(layout, torch.arange(2), None), [drawn(1, 2, 32, seed=9)])
        return replace(evaluation, behind=(*evaluation.behind, mine))


@pytest.fixture
def mood():
    register_rider(Mood)
    yield Mood()
    evaluation._kinds.remove(Mood)


def test_a_source_finds_its_semantic_tokens_before_those_of_a_rider_behind_it(mood):
    """Results are the same in whichever order the two stand in the sequence: attention has no order but
    positions."""
    host = Host(16, GRID, torch.float32, torch.float64, torch.device("cpu"))
    source = SourceRider(host.latent(20), sama(), host.semantic)
    texts = {"positive": Text(host.put(drawn(1, 5, 32, seed=2)))}
    state, sigma = Condition({}, (source,)).begin(host.latent(6), 1), torch.tensor(0.6).double()
    out, after = evaluate_pass(host.dit, state, sigma, Condition(texts, (source, mood)), CONDITIONED)
    assert after.shape[1] == 8 + 65 + 2
    said = host.semantic.semantic_head(after[:, 8:73])
    torch.testing.assert_close(as_tokens(out[:, :, GRID[0] :], 65, 24), said)
    alone, _ = evaluate_pass(host.dit, state, sigma, Condition(texts, (source,)), CONDITIONED)
    assert (out - alone).abs().max() > 1e-4
