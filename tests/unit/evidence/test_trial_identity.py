"""How an identity is measured: clips are those that users make, readings what they say, and the truth scores
as the truth."""

from dataclasses import replace

import pytest
import refvid_tiny as tiny
import torch
from torch import Tensor

from refvid.backbones.wan.dit import DiTConfig
from refvid.backbones.wan.geometry import WAN
from refvid.backbones.wan.lora import merge_lora
from refvid.core.adapter import load_adapter
from refvid.core.references import make_reference
from refvid.evidence.trials import identity as measured
from refvid.evidence.trials.identity import (
    PICTURED,
    READINGS,
    TOGETHER,
    IdentityTrial,
    Known,
    clips_of_identity,
    evaluate_base,
    masked_pictures,
    read_tokens,
)
from refvid.hosts.plain.identities import PeopleRider, Person, encode_identity, slot_encoder
from refvid.hosts.plain.pipeline import Pipeline, Request, Settings, generate, load_pipeline

SIZES = DiTConfig(48, 64, 2, 1, 16, 16, 32)
SETTINGS = Settings(width=64, height=64, frames=5, steps=2, scale=2.0, shift=3.0, seed=7)
TOYS = 2


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    dit, _, text = tiny.save_models(folder, SIZES)
    vae = tiny.save_vae(folder)  # wide enough for clips to be compared
    return dit, vae, text, tiny.save_adapter(folder, SIZES)


@pytest.fixture
def backbone(files) -> Pipeline:
    return replace(load_pipeline(*files[:3]), settings=SETTINGS, recipe="saber")


@pytest.fixture(scope="module")
def adapter(files):
    return load_adapter(files[3], WAN)


@pytest.fixture(scope="module")
def trial(adapter) -> IdentityTrial:
    return IdentityTrial(TOYS, SETTINGS, adapter.config)


def asked(
    backbone: Pipeline, trial: IdentityTrial, toy: int, people: PeopleRider | None = None, references=()
) -> Tensor:
    settings = replace(SETTINGS, seed=SETTINGS.seed + toy + 1000)
    return generate(backbone, Request(trial.prompts[toy], settings, tuple(references), people=people))


def test_clips_are_those_that_the_plain_host_makes(backbone, adapter, trial):
    words = clips_of_identity(backbone, trial, None, noise=1)
    for toy in range(TOYS):
        torch.testing.assert_close(words[toy], asked(backbone, trial, toy), rtol=0, atol=1e-4)
    merge_lora(backbone.dit, adapter.lora)
    encoder = slot_encoder(adapter)
    tokens = read_tokens(trial, backbone.vae, encoder, READINGS["own video"])
    told = clips_of_identity(backbone, trial, Known(tokens, encoder.nobody()), noise=1)
    film = trial.videos[1]
    identity, *_ = encode_identity(adapter, backbone.vae, film.pictures, film.masks, film.anchor)
    people = PeopleRider((Person(identity.tokens("both")),), adapter.nobody)
    torch.testing.assert_close(told[1], asked(backbone, trial, 1, people), rtol=0, atol=2e-3)
    assert (told - words).abs().max() > 0.05


def test_a_picture_beside_a_video_is_a_masked_reference_of_the_plain_host(backbone, adapter, trial):
    merge_lora(backbone.dit, adapter.lora)
    encoder = slot_encoder(adapter)
    assert READINGS[PICTURED].picture and READINGS[PICTURED].nobody
    assert READINGS[TOGETHER].picture and READINGS[TOGETHER].slots and READINGS[TOGETHER].anchor
    tokens = read_tokens(trial, backbone.vae, encoder, READINGS[TOGETHER])
    shown = masked_pictures(trial, backbone)
    both = clips_of_identity(backbone, trial, Known(tokens, encoder.nobody(), shown), noise=1)
    film = trial.videos[1]
    reference = make_reference(film.pictures[film.anchor], film.masks[film.anchor])
    people = PeopleRider((Person(tokens[1:]),), encoder.nobody())
    wanted = asked(backbone, trial, 1, people, (reference,))
    torch.testing.assert_close(both[1], wanted, rtol=0, atol=2e-3)
    without = clips_of_identity(backbone, trial, Known(tokens, encoder.nobody()), noise=1)
    assert (both - without).abs().max() > 0.01


def test_readings_are_what_they_say(backbone, adapter, trial):
    encoder, anchors = slot_encoder(adapter), adapter.config.anchors
    read = {name: read_tokens(trial, backbone.vae, encoder, how) for name, how in READINGS.items()}
    own = read["own video"]
    assert torch.equal(read["anchor alone"], own[:, :anchors])
    assert torch.equal(read["slots alone"], own[:, anchors:])
    assert torch.equal(read["another's video"], own.roll(-1, 0))
    assert torch.equal(read["nobody"], adapter.nobody.expand(TOYS, -1, -1))
    shuffled = read["own video, frames shuffled"]
    assert torch.equal(shuffled[:, :anchors], own[:, :anchors]), "the anchor is one picture"
    assert (shuffled[:, anchors:] - own[:, anchors:]).abs().amax() > 1e-4


def test_the_truth_scores_as_the_truth_and_a_still_picture_does_not_move():
    trial = IdentityTrial(12, replace(SETTINGS, frames=9), measured.SlotsConfig(16, 48))
    truth = trial.measure(trial.truth)
    assert {name: truth[name].nanmean() for name in ("direction", "background", "dynamics")} == {
        "direction": 1,
        "background": 1,
        "dynamics": 1,
    }
    assert (
        truth["retrieval"].mean() > 0.8 and truth["dynamics"].isnan().sum() == trial.toys.dynamics.eq(0).sum()
    )
    still = trial.measure(trial.truth[:, :, :1].expand_as(trial.truth))
    assert still["dynamics"].nanmean() < 0.3


def test_a_caption_that_names_a_toy_says_how_it_moves(backbone, adapter, monkeypatch):
    said = []
    monkeypatch.setattr(
        measured, "clips_of_identity", lambda _, trial, *who: said.append((trial, who)) or trial.truth
    )
    monkeypatch.setattr(measured, "through", lambda vae, clips: clips.flip(2))
    found = evaluate_base(backbone, adapter.config, TOYS, noises=2)
    (trial, who), _ = said
    assert who == (None, 0)
    told = measured.captions.telling(TOYS, "shape", "motion")
    names = measured.captions.names(trial.toys, trial.scenes, told)
    for row, prompt in enumerate(trial.prompts):
        assert f" {names[row]} " in prompt
    unnamed = IdentityTrial(TOYS, SETTINGS, adapter.config)
    assert torch.equal(unnamed.truth, trial.truth) and all(" toy " in prompt for prompt in unnamed.prompts)
    assert found[measured.NAMED_BY_CAPTION]["direction"].tolist() == [1] * TOYS
    backwards = trial.measure(trial.truth.flip(2))["direction"]
    assert torch.equal(found[measured.CODED]["direction"], backwards) and backwards.sum() < TOYS


def test_every_reading_has_its_own_tokens_and_a_picture_only_where_it_says_so(backbone, adapter, monkeypatch):
    encoder, made, told = slot_encoder(adapter), [], []
    monkeypatch.setattr(
        measured, "clips_of_identity", lambda _, trial, read, noise: made.append((read, noise)) or trial.truth
    )
    values = measured.evaluate_identity(
        backbone, adapter.config, encoder, TOYS, noises=2, progress=lambda *done: told.append(done)
    )
    assert told == [(done, len(READINGS)) for done in range(1, len(READINGS) + 1)]
    assert list(values) == [measured.TRUTH, *READINGS]
    assert [noise for _, noise in made] == [0, 1] * len(READINGS)
    trial = IdentityTrial(TOYS, SETTINGS, adapter.config)
    for (read, _), how in zip(made[::2], READINGS.values(), strict=True):
        assert torch.equal(read.tokens, read_tokens(trial, backbone.vae, encoder, how))
        assert torch.equal(read.nobody, encoder.nobody())
        assert (read.picture is not None) is how.picture


def test_the_masked_picture_is_the_anchor_wherever_it_stands(backbone, adapter, monkeypatch):
    trial, seen, make = IdentityTrial(TOYS, SETTINGS, adapter.config), [], measured.make_reference
    trial.videos = [replace(video, anchor=2 + row) for row, video in enumerate(trial.videos)]
    monkeypatch.setattr(measured, "make_reference", lambda *given: seen.append(given) or make(*given))
    masked_pictures(trial, backbone)
    for row, (picture, mask) in enumerate(seen):
        assert torch.equal(picture, trial.videos[row].pictures[2 + row])
        assert torch.equal(mask, trial.videos[row].masks[2 + row])


def test_three_in_four_toys_move_and_their_video_is_of_another_scene(monkeypatch):
    """On another background than the clip that is asked for: a copy of the video is none of the prompt."""
    heard, render = [], measured.world.render
    monkeypatch.setattr(
        measured.world,
        "render",
        lambda toys, scenes, *how: heard.append((toys, scenes)) or render(toys, scenes, *how),
    )
    trial = IdentityTrial(200, replace(SETTINGS, width=32, height=32), measured.SlotsConfig(16, 48, size=32))
    assert 0.68 < trial.toys.dynamics.ne(0).float().mean() < 0.82
    (_, asked), (toys, elsewhere) = heard
    assert toys is trial.toys and asked is trial.scenes
    assert (elsewhere.background != asked.background).all()


def test_colours_are_held_against_the_toys_own_best_picture_alone(trial, monkeypatch):
    table = torch.tensor([[0.25, 0.75], [0.5, 0.125]])
    monkeypatch.setattr(measured.toy_figures, "toy_similarity", lambda *_: table)
    found = trial.measure(trial.truth)
    assert found["own"].tolist() == [0.25, 0.125] and found["retrieval"].tolist() == [0, 0]
    make = measured.make_reference_video
    monkeypatch.setattr(measured, "make_reference_video", lambda *given: replace(make(*given), anchor=2))
    moved = IdentityTrial(TOYS, SETTINGS, measured.SlotsConfig(16, 48))
    for row, video in enumerate(moved.videos):
        assert torch.equal(moved.pictures[row], video.pictures[2].movedim(-1, 0) * 2 - 1)
        assert torch.equal(moved.masks[row, 0], video.masks[2])


def test_another_is_the_next_toy_and_shuffled_pictures_keep_their_masks(backbone, adapter):
    trial, seen = IdentityTrial(3, SETTINGS, adapter.config), []

    class Listening:
        def __call__(self, *given):
            seen.append(given)
            return encoder(*given)

    encoder = slot_encoder(adapter)
    own = read_tokens(trial, backbone.vae, encoder, READINGS["own video"])
    other = read_tokens(trial, backbone.vae, encoder, READINGS["another's video"])
    assert torch.equal(other, own.roll(-1, 0))
    for video in trial.videos:  # a mask that says which picture it is of
        video.masks[:] = torch.arange(len(video.masks))[:, None, None] / 10
        video.pictures[:] = video.masks[..., None]
    read_tokens(trial, backbone.vae, Listening(), READINGS["own video, frames shuffled"])  # pyright: ignore[reportArgumentType]
    for index, (latent, cover, *_) in enumerate(seen):
        order = torch.randperm(9, generator=torch.Generator().manual_seed(index))
        video = trial.videos[index]
        assert torch.equal(cover[0], measured.cover(video.masks[order], WAN[16]))
        wanted = backbone.vae.encode(video.pictures[order].movedim(-1, 0)[None] * 2 - 1)
        torch.testing.assert_close(latent, wanted)
