"""Batches of Saber on clips: a pure function of the run file and the batch's number."""

from dataclasses import replace

import pytest
import torch
from refvid_saber import known_by, mean_latents, saber_settings, small_clips, small_dit, small_models
from torch import Generator, Tensor

from refvid.backbones.wan.text import fold_padding, load_text_encoder
from refvid.core.guidance import CONDITIONED
from refvid.core.ranks import ALONE
from refvid.hosts.plain.evaluation import Text
from refvid.hosts.plain.sampling import Condition, velocity
from refvid.training.engine.noise import Draws
from refvid.training.methods.saber.batch import (
    ClipRow,
    batch_from_rows,
    draw_row,
    padded_words,
    row_generator,
    window_name,
)
from refvid.training.methods.saber.method import OrderedClips, Saber

PREPARED = small_clips()
CLIPS = PREPARED.clips
PLAIN = {"augment": False, "masks": "random", "dropout": 1.0}  # quickly drawn
FIELDS = ("latent", "noise", "sigma", "pictures", "masks", "words")


def rows_of(turns: int, place: int = 0, clip: int = 0, **tables) -> list[ClipRow]:
    settings = saber_settings(tables)
    return [draw_row(PREPARED, CLIPS[clip], settings, turn, place) for turn in range(turns)]


def same(one: ClipRow, other: ClipRow) -> bool:
    return one.name == other.name and all(
        torch.equal(getattr(one, field), getattr(other, field)) for field in FIELDS
    )


def batch_of(turn: int, settings) -> list[ClipRow]:
    order = PREPARED.order(settings.train.batch, settings.seed)
    draws = Draws(Generator(), Generator())
    return list(Saber(PREPARED, "x").draw(settings, OrderedClips(PREPARED, order, ""), draws, turn, ALONE))


def test_a_batch_follows_from_its_number_whatever_was_drawn_before():
    settings = saber_settings()
    one_by_one = [batch_of(turn, settings) for turn in range(8)][7]
    torch.manual_seed(123)
    torch.randn(100)
    alone = batch_of(7, settings)
    assert len(alone) == 2 and all(map(same, one_by_one, alone))
    assert not same(alone[0], batch_of(6, settings)[0])


def test_rows_of_a_batch_and_other_seeds_draw_other_numbers():
    settings = saber_settings()
    row = draw_row(PREPARED, CLIPS[0], settings, 3, 0)
    for other in (
        draw_row(PREPARED, CLIPS[0], settings, 3, 1),
        draw_row(PREPARED, CLIPS[0], settings, 4, 0),
        draw_row(PREPARED, CLIPS[0], replace(settings, seed=1), 3, 0),
    ):
        assert not torch.equal(row.noise, other.noise) and not torch.equal(row.sigma, other.sigma)


def test_purposes_of_random_numbers_do_not_share_them():
    first = [
        row_generator(*one).initial_seed() for one in ((0, 1, 2), (0, 12, 0), (1, 1, 2), (0, "sample", 1))
    ]
    assert len(set(first)) == 4
    assert row_generator(0, 1, 2).initial_seed() == first[0]
    assert row_generator(0, 1, 2).device.type == "cpu"


def test_windows_are_all_seen_and_the_latent_is_the_windows():
    latents = [PREPARED.latent(CLIPS[2], window).float() for window in range(3)]
    seen = [
        next(window for window, latent in enumerate(latents) if torch.equal(row.latent, latent))
        for row in rows_of(60, clip=2, references=PLAIN)
    ]
    for window in range(3):
        assert seen.count(window) == pytest.approx(20, abs=14)  # four deviations


def test_names_say_the_file_and_the_seconds_that_are_seen():
    assert [window_name(PREPARED, CLIPS[0], window) for window in range(3)] == [
        "0.mp4 [0.0–0.9 s]", "0.mp4 [1.0–1.9 s]", "0.mp4 [2.0–2.9 s]",
    ]  # fmt: skip
    later = replace(CLIPS[0], start=16, begin=0.5)
    assert window_name(PREPARED, later, 1) == "0.mp4 [3.5–4.4 s]"
    assert window_name(PREPARED, replace(CLIPS[0], fps=0.0), 0) == "0.mp4"
    names = {row.name for row in rows_of(20)}
    assert names == {window_name(PREPARED, CLIPS[0], window) for window in range(3)}


@pytest.mark.parametrize(("without", "short"), [(0.3, 0.5), (0.0, 0.0), (1.0, 1.0)])
def test_captions_are_dropped_and_shortened_at_their_chances(without, short):
    data = {"caption_dropout": without, "short_captions": short}
    turns = 300 if without == 0.3 else 20
    counts = [len(row.words) for row in rows_of(turns, data=data, references=PLAIN)]
    shares = [counts.count(length) / turns for length in (1, 3, 5)]
    wanted = [without, (1 - without) * short, (1 - without) * (1 - short)]
    assert shares == pytest.approx(wanted, abs=0.12 if without == 0.3 else 0)
    long_alone = [
        len(row.words) for row in rows_of(20, clip=2, data={**data, "caption_dropout": 0.0}, references=PLAIN)
    ]
    assert set(long_alone) == {5}  # a clip without a short caption is told by its long one


def test_words_are_those_of_the_caption_that_was_chosen():
    for name, data in (
        ("text", {"caption_dropout": 0.0, "short_captions": 0.0}),
        ("short_text", {"caption_dropout": 0.0, "short_captions": 1.0}),
        ("no_text", {"caption_dropout": 1.0, "short_captions": 1.0}),
    ):
        (row,) = rows_of(1, clip=1, data=data)
        assert torch.equal(row.words, PREPARED.text(CLIPS[1], name)), name


def test_references_come_in_the_counts_of_the_run_file_and_are_dropped_at_their_chance():
    counts = [len(row.pictures) for row in rows_of(300, references={**PLAIN, "dropout": 0.2})]
    shares = [counts.count(one) / 300 for one in range(5)]
    assert shares == pytest.approx([0.2, 0.44, 0.2, 0.08, 0.08], abs=0.115)
    only = rows_of(30, references={"count": [0.0, 3.0], "dropout": 0.0, "augment": False})
    assert {len(row.pictures) for row in only} == {2}
    none = rows_of(10, references={"dropout": 1.0})
    assert {len(row.pictures) for row in none} == {0}


def test_references_are_of_the_window_that_the_step_sees():
    tables = {"references": {"augment": False, "masks": "random", "dropout": 0.0}}
    for row in rows_of(40, clip=3, **tables):
        window = next(window for window in range(3) if row.name == window_name(PREPARED, CLIPS[3], window))
        first, last = PREPARED.span(CLIPS[3], window)
        for picture, mask in zip(row.pictures, row.masks, strict=True):
            clip, place = known_by(picture[:, mask > 0.5].mean(1))
            number = PREPARED.pool(CLIPS[3])[place][0]
            assert clip == 3 and first <= number <= last


def test_noise_levels_are_those_of_the_run_file():
    low = torch.stack(
        [r.sigma for r in rows_of(50, train={"noise": {"low": 0.2, "high": 0.3}}, references=PLAIN)]
    )
    assert low.ge(0.2).all() and low.le(0.3).all() and low.std() > 0.01
    usual = saber_settings().train.noise
    wanted = usual.sample(20000, Generator().manual_seed(0)).mean()
    assert torch.stack([r.sigma for r in rows_of(200, references=PLAIN)]).mean().item() == pytest.approx(
        wanted.item(), abs=0.06
    )


def test_rows_with_fewer_references_have_masked_out_ones():
    rows = rows_of(40, references={"augment": False})
    few = next(row for row in rows if len(row.pictures) == 1)
    many = next(row for row in rows if len(row.pictures) == 3)
    bare = next(row for row in rows if len(row.pictures) == 0)
    batch = batch_from_rows([few, bare, many], mean_latents)
    assert batch.reference.shape == (3, 16, 3, 6, 6) and batch.masks.shape == (3, 3, 48, 48)
    for place, row in enumerate((few, bare, many)):
        count = len(row.pictures)
        assert torch.equal(batch.masks[place, :count], row.masks) and not batch.masks[place, count:].any()
        if count:
            assert torch.equal(batch.reference[place, :, :count].movedim(0, 1), mean_latents(row.pictures))
        assert not batch.reference[place, :, count:].any()
        for field in ("latent", "noise", "sigma"):
            assert torch.equal(getattr(batch, field)[place], getattr(row, field))
    assert batch.names == (few.name, bare.name, many.name)


def test_a_batch_without_any_reference_encodes_none():
    def refuses(pictures: Tensor) -> Tensor:
        raise AssertionError("encoded nothing")

    batch = batch_from_rows(rows_of(2, references={"dropout": 1.0}), refuses)
    assert batch.reference.shape == (2, 16, 0, 6, 6) and batch.masks.shape[:2] == (2, 0)


def test_padded_words_act_as_the_folded_padding_of_the_text_encoder_does():
    encoder = load_text_encoder(small_models().text_encoder)
    captions = ["a red circle", "", "a blue square goes left and a green star goes right"]
    tokens = encoder.tokenize(captions)
    with torch.no_grad():
        folded = Text(*fold_padding(encoder.states(tokens), tokens))
        mine = padded_words([encoder.states(encoder.tokenize([one]))[0] for one in captions])
    assert (mine.bias is not None and folded.bias is not None) and mine.states.shape == folded.states.shape
    for row in range(3):
        seen = mine.bias[row] > -torch.inf
        assert torch.equal(seen, folded.bias[row] > -torch.inf)
        assert torch.equal(mine.bias[row, seen], folded.bias[row, seen])
        assert (mine.states[row, seen] - folded.states[row, seen]).abs().max() < 1e-4
    alone = padded_words([torch.zeros(512, 4)])
    assert alone.bias[0, -1] == -torch.inf and alone.bias[0, :-1].eq(0).all()
    longer = padded_words([torch.zeros(600, 4)])
    assert longer.bias[0, -1] == -torch.inf


def test_cross_attention_reads_padded_words_as_512_tokens_of_which_most_are_zero():
    dit, draws = small_dit(), Generator().manual_seed(0)
    words = torch.randn(7, 32, generator=draws)
    latent, sigma = torch.randn(1, 16, 1, 4, 4, generator=draws), torch.tensor([0.5])
    whole = Text(torch.nn.functional.pad(words, (0, 0, 0, 505))[None])
    found = []
    with torch.no_grad():
        for text in (whole, padded_words([words]), padded_words([words, torch.randn(20, 32)])):
            both = latent.expand(len(text.states), -1, -1, -1, -1)
            condition = Condition({CONDITIONED.text: text}, ())
            found.append(velocity(dit, both, sigma.expand(len(both)), condition, CONDITIONED)[:1])
    assert (found[0] - found[1]).abs().max() < 1e-5
    assert (found[0] - found[2]).abs().max() < 1e-5
    assert found[0].std() > 0.1


def test_a_batch_moves_to_a_device_as_a_whole():
    batch = batch_from_rows(rows_of(2, references={"dropout": 0.0}), mean_latents).to("meta")
    moved = (
        batch.latent,
        batch.noise,
        batch.sigma,
        batch.reference,
        batch.masks,
        batch.text.states,
        batch.text.bias,
    )
    assert {one.device.type for one in moved if one is not None} == {"meta"} and len(moved) == 7
