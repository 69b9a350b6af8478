"""Training an adapter: what learns and what stays, who is read, and a run that was cut off."""

from dataclasses import replace

import numpy as np
import pytest
import refvid_tiny as tiny
import torch
from PIL import Image
from refvid_world import clip_encoder, setting, trained
from safetensors.torch import load_file

from refvid.backbones.base import IdentityTokens
from refvid.backbones.wan.dit import DiTConfig, WanDiT
from refvid.backbones.wan.geometry import WAN
from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.backbones.wan.lora import merge_lora
from refvid.backbones.wan.text import load_text_encoder
from refvid.core.adapter import load_adapter
from refvid.core.guidance import CONDITIONED
from refvid.core.slots import SlotsConfig
from refvid.demo.source import WorldFootage
from refvid.evidence.preview import slot_previews
from refvid.hosts.plain.evaluation import Evaluation
from refvid.hosts.plain.identities import slot_encoder
from refvid.training.engine import loop
from refvid.training.engine.lora import LowRank, add_lora, lora_state
from refvid.training.engine.method import train
from refvid.training.engine.models import Models
from refvid.training.engine.optimise import GENTLE, Optimiser
from refvid.training.methods.slot_id import losses, method
from refvid.training.methods.slot_id.batch import draw_meeting
from refvid.training.methods.slot_id.config import Meeting, SlotTraining
from refvid.training.methods.slot_id.losses import identity_loss
from refvid.training.methods.slot_id.method import SlotId, SlotTrainee
from refvid.training.methods.slot_id.rows import cached_meetings

SLOTS = SlotsConfig(16, 48, width=16, place_width=4, slots=3, anchors=2, frames=5, size=32)
MEETINGS = (Meeting("alone", 1, 64, 4, frames=5, stride=24), Meeting("pair", 2, 64, 4, frames=5, stride=24))
CONFIG = SlotTraining(SLOTS, MEETINGS, steps=3, rank=2, size=32)
SIZES = DiTConfig(48, 64, 2, 1, 16, 16, 32)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    return Models(*tiny.save_models(tmp_path_factory.mktemp("models"), SIZES))


@pytest.fixture(scope="module")
def pairs(models, tmp_path_factory):
    text, vae = load_text_encoder(models.text_encoder), load_vae(models.vae)
    return cached_meetings(clip_encoder(vae, text, tmp_path_factory.mktemp("pairs")), SLOTS, MEETINGS[1], 32)


def drawn(data, config=CONFIG, size=64):
    return draw_meeting(data, size, config, torch.Generator().manual_seed(1))


@torch.no_grad()
def test_a_low_rank_change_starts_at_nothing_and_ends_in_the_file_as_it_acts(models):
    dit, plain = (load_dit(models.dit)[0] for _ in range(2))
    layers = add_lora(dit, 2, ("cross_attn",))
    given = torch.randn(1, 16, 2, 4, 4), torch.tensor([500.0]), torch.randn(1, 5, 32)
    assert torch.equal(dit(*given), plain(*given))
    torch.manual_seed(0)
    for parameter in layers.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    merged = load_dit(models.dit)[0]
    merge_lora(merged, lora_state(layers))
    torch.testing.assert_close(merged(*given), dit(*given), rtol=0, atol=1e-4)
    assert (merged(*given) - plain(*given)).abs().max() > 1e-2
    assert sum(isinstance(module, LowRank) for module in dit.modules()) == 4 * SIZES.layers


def test_only_the_encoder_and_the_lora_learn(models, pairs):
    dit, text = load_dit(models.dit)[0], load_text_encoder(models.text_encoder)
    trainee = SlotTrainee(CONFIG, dit)
    identity_loss(dit, trainee.encoder, text, drawn(pairs)).backward()
    learns = {id(p) for p in trainee.parameters()}
    moved = {id(p) for m in (dit, text.model, trainee) for p in m.parameters() if p.grad is not None}
    assert moved == learns
    ups = [p for name, p in trainee.lora.named_parameters() if "up" in name]
    assert all(p.grad.any() for p in ups)  # `down` begins behind zeros


def test_pairs_show_the_same_people_elsewhere(pairs):
    """Each person's own video: the anchor is one of its pictures' own, and no two videos are alike."""
    assert pairs.clip.shape[:2] == (64, 2) and pairs.phrases.shape[:2] == (64, 2)
    assert pairs.cover.float().mean((3, 4)).gt(0.1).all()  # of every picture group
    flat = pairs.clip.float().flatten(2)
    assert (flat[:, 0] - flat[:, 1]).norm(dim=1).min() > 1e-2


def test_each_of_a_pair_has_a_video_and_a_name_of_its_own(models, tmp_path, monkeypatch):
    filmed, elsewhere = [], WorldFootage.elsewhere

    def film(footage, subject, *asked):
        filmed.append((footage, subject))
        return elsewhere(footage, subject, *asked)

    monkeypatch.setattr(WorldFootage, "elsewhere", film)
    text = load_text_encoder(models.text_encoder)
    rows = cached_meetings(clip_encoder(load_vae(models.vae), text, tmp_path), SLOTS, MEETINGS[1], 32)
    assert [subject for _, subject in filmed] == [0, 1]
    footage = filmed[0][0]
    for subject in (0, 1):
        names = text.tokenize(footage.names(subject))
        assert torch.equal(rows.phrases[:, subject, : names.shape[1]], names)


def test_identity_text_and_both_are_left_out_as_often_as_said(pairs):
    batch = drawn(pairs, size=6000)
    silent = batch.tokens[:, 1:].eq(0).all(1)
    shares = {
        "identity": (batch.nobody & ~silent).float().mean(),
        "text": (silent & ~batch.nobody).float().mean(),
        "both": (silent & batch.nobody).float().mean(),
        "told": batch.phrases.ne(0).any((1, 2)).float().mean(),
        "slots": (batch.reads[:, 2:].all(1) & ~batch.reads[:, :2].any(1)).float().mean(),
        "anchor": (batch.reads[:, :2].all(1) & ~batch.reads[:, 2:].any(1)).float().mean(),
        "all": batch.reads.all(1).float().mean(),
    }
    for name, wanted in {
        "identity": 0.1,
        "text": 0.1,
        "both": 0.05,
        "told": 0.4 * 0.5 * 0.85,
        "slots": 0.4 * 0.85,
        "anchor": 0.1 * 0.85,
        "all": 0.15 + 0.5 * 0.85,
    }.items():
        assert abs(float(shares[name]) - wanted) < 0.02, (name, float(shares[name]))


def behind_the_text(dit, people) -> IdentityTokens:
    """What a conditioned pass reads of them."""
    latent, sigma = torch.zeros(3, 16, 2, 4, 4), torch.tensor(0.5)
    (read,) = people.now(Evaluation(dit, CONDITIONED, latent, latent, sigma, sigma)).behind_text
    return IdentityTokens(read.tokens, read.bias)


def test_a_row_without_identity_reads_the_learned_nobody_once(models, pairs):
    dit, text = load_dit(models.dit)[0], load_text_encoder(models.text_encoder)
    trainee = SlotTrainee(CONFIG, dit)
    batch = drawn(pairs, replace(CONFIG, identity_dropout=1.0, text_dropout=0.0, both_dropout=0.0), size=3)
    people = behind_the_text(dit, losses._people(dit, trainee.encoder, text, batch))
    given = torch.randn(3, 16, 2, 4, 4), torch.full((3,), 500.0), torch.randn(3, 5, 32)
    alone = IdentityTokens(trainee.encoder.nobody()[None])
    torch.testing.assert_close(
        dit(*given, identities=people), dit(*given, identities=alone), rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(("part", "unread"), [("slots_alone", "anchor"), ("anchor_alone", "clip")])
def test_a_row_that_reads_one_part_alone_sees_nothing_of_the_other(models, pairs, part, unread):
    dit, text = load_dit(models.dit)[0], load_text_encoder(models.text_encoder)
    encoder = SlotTrainee(CONFIG, dit).encoder
    torch.nn.init.zeros_(encoder.gate.weight)  # which sees both
    never = {"identity_dropout": 0.0, "both_dropout": 0.0, "slots_alone": 0.0, "anchor_alone": 0.0}
    given = torch.randn(3, 16, 2, 4, 4), torch.full((3,), 500.0), torch.randn(3, 5, 32)
    velocities = []
    for share in (1.0, 0.0):
        batch = drawn(pairs, replace(CONFIG, **(never | {part: share})), size=3)
        other = replace(
            batch, rows=replace(batch.rows, **{unread: torch.randn_like(getattr(batch.rows, unread))})
        )
        told = [behind_the_text(dit, losses._people(dit, encoder, text, one)) for one in (batch, other)]
        velocities.append([dit(*given, identities=people) for people in told])
    (one, same), (two, differs) = velocities
    torch.testing.assert_close(one, same, rtol=0, atol=1e-6)
    assert (two - differs).abs().max() > 1e-4


def test_what_runs_once_a_picture_learns_gently(models):
    """Adam's first step is its rate in every weight that has a gradient."""
    trainee = SlotTrainee(CONFIG, load_dit(models.dit)[0])
    optimiser = Optimiser(trainee, method._matrix, 0.07, gentle=method._recurrent, clip=1e9)
    before = {name: value.detach().clone() for name, value in trainee.named_parameters()}
    for parameter in trainee.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step(trainee, 1.0)
    for name, value in trainee.named_parameters():
        slow = ".reader." in name or "first_slots" in name
        step = (value - before[name]).abs().max()
        assert (abs(step - 0.07 * GENTLE) < 1e-6) == slow, (name, step)


def test_a_phrase_is_the_mean_of_its_words_without_the_closing_token(models):
    dit, text = load_dit(models.dit)[0], load_text_encoder(models.text_encoder)
    phrases = text.tokenize(["spinning star", "ring", ""])
    phrases[2] = 0
    said = losses._called(dit, text, phrases)[:, 0]
    for row, words in enumerate((2, 1)):
        states = dit.text_embedding(text.states(phrases[row : row + 1]))[0, :words]
        torch.testing.assert_close(said[row], states.mean(0), rtol=0, atol=1e-5)
    assert said[2].eq(0).all()


def test_previews_show_the_same_toys_as_the_adapter_stands_and_change_nothing(models, tmp_path):
    quiet, shown = (tmp_path / name for name in ("quiet", "shown"))
    trained(SlotId(), CONFIG, quiet, models)
    config = replace(CONFIG, preview_every=1)
    train(SlotId(), config, setting(shown, models), [slot_previews(config, shown)])
    assert [file.name for file in sorted(shown.glob("*.png"))] == [f"slot_id-0000{n}.png" for n in (1, 2, 3)]
    first, last = (np.asarray(Image.open(shown / f"slot_id-0000{n}.png"), dtype=int) for n in (1, 3))
    changed = (first != last).any((0, 2)).nonzero()[0]
    video = 3 * 3 * 32  # columns of a cell
    assert first.shape == last.shape and changed.size
    assert changed.min() > video, "the reference videos stay"
    assert changed.max() < first.shape[1] - video, "the truth stays"
    ours, theirs = (load_file(folder / "slot_id.safetensors") for folder in (quiet, shown))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_run_that_was_cut_off_ends_in_the_same_file(models, tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    trained(SlotId(), CONFIG, whole, models)
    monkeypatch.setattr(loop, "SAVE_EVERY", -1.0)
    stop = method.identity_loss
    calls = []

    def two_steps(*given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return stop(*given)

    monkeypatch.setattr(method, "identity_loss", two_steps)
    with pytest.raises(KeyboardInterrupt):
        trained(SlotId(), CONFIG, cut, models)
    monkeypatch.setattr(method, "identity_loss", stop)
    trained(SlotId(), CONFIG, cut, models, resume=True)
    ours, theirs = (load_file(folder / "slot_id.safetensors") for folder in (whole, cut))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    adapter = load_adapter(whole / "slot_id.safetensors", WAN)
    assert adapter.config == SLOTS and len(adapter.lora) == 4 * 3
    slot_encoder(adapter)
    merge_lora(WanDiT(SIZES), adapter.lora)
