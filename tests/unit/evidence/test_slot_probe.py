"""What a linear probe tells of tokens: all of what lies in them, nothing of what does not; and which tokens
it is given."""

import pytest
import refvid_tiny as tiny
import torch
from refvid_world import clip_encoder, text_encoder

from refvid.backbones.wan.dit import DiTConfig
from refvid.backbones.wan.loading import load_vae
from refvid.core.slots import SlotEncoder, SlotsConfig
from refvid.demo import world
from refvid.demo.source import WorldSource
from refvid.evidence.ablations import slot_probe
from refvid.evidence.ablations.slot_probe import (
    PROBES,
    UNTRAINED,
    motion_of,
    probe_lines,
    read_all,
    told_by_probe,
)
from refvid.evidence.runs import Ablation
from refvid.evidence.trials.clips import UNSEEN_SEED
from refvid.training.engine.models import Models
from refvid.training.methods.slot_id.config import Meeting, SlotTraining
from refvid.training.methods.slot_id.rows import cached_meetings, footage_of_part

SLOTS = SlotsConfig(16, 48, width=16, place_width=4, slots=3, anchors=2, frames=9, size=32)
MEETING = Meeting("alone", 1, 64, 4, frames=5, stride=24)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    vae, text = load_vae(tiny.save_vae(folder, width=2)), text_encoder(32)
    return cached_meetings(clip_encoder(vae, text, folder), SLOTS, MEETING, 32, 7)


@pytest.fixture(scope="module")
def encoder() -> SlotEncoder:
    torch.manual_seed(0)
    encoder = SlotEncoder(SLOTS, 2)
    encoder.start()
    return encoder.eval()


def test_it_finds_what_lies_in_the_features_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randint(0, 4, (400,), generator=generator)
    noise = torch.randn(400, 60, generator=generator)
    assert abs(told_by_probe(noise, kinds).float().mean() - 0.25) < 0.08
    directions = torch.randn(4, 60, generator=generator)
    assert told_by_probe(0.3 * noise + directions[kinds], kinds).all()
    scaled = (0.3 * noise + directions[kinds]) * torch.rand(60, generator=generator) * 1000 + 5
    assert told_by_probe(scaled, kinds).all(), "whatever the scale of a feature"


@pytest.mark.parametrize("people", [1, 2])
def test_the_motion_of_a_toy_is_that_of_the_clips_own(people):
    source, meeting = WorldSource(), Meeting("probe", people, 128, 8, frames=5, stride=12)
    found = motion_of(source, meeting, 7)
    assert set(found.tolist()) == set(range(len(world.DYNAMICS)))
    footage, _ = footage_of_part(source, meeting, 7, 1)
    said = footage.cast[0][0].dynamics
    assert torch.equal(found[64:], said) and not torch.equal(found[:64], said)


def test_probes_read_the_tokens_that_they_name(data, encoder):
    clip, cover, anchor, anchor_cover = (
        one[:, 0].float() for one in (data.clip, data.cover, data.anchor, data.anchor_cover)
    )
    with torch.no_grad():
        read = encoder(clip, cover, anchor, anchor_cover)
    for name, wanted in (("slots", read.slots), ("the anchor beside them", read.anchors)):
        torch.testing.assert_close(read_all(encoder, data, PROBES[name]), wanted, rtol=0, atol=1e-5)
    shuffled = read_all(encoder, data, PROBES["slots, frames shuffled"])
    changed = (shuffled - read.slots).abs().amax((1, 2))
    assert (changed > 1e-5).float().mean() > 0.4, (
        "one order in six of three frames is as it was; steady toys are all alike"
    )


def test_the_table_has_every_probe_and_each_run_is_looked_at_once(tmp_path, monkeypatch):
    ablation = Ablation(
        Models(*tiny.save_models(tmp_path, DiTConfig(48, 64, 2, 1, 16, 16, 32))), tmp_path / "runs", 8, 2, 1
    )
    looked = []

    def read(encoder, data, probe):
        looked.append(probe.encoder)
        told = 1.0 if probe.encoder == "slots" and probe.ordered else 0.0
        kinds = motion_of(WorldSource(), MEETING, UNSEEN_SEED)
        return told * torch.nn.functional.one_hot(kinds).float()[:, None]

    seeds = []
    monkeypatch.setattr(
        slot_probe, "cached_meetings", lambda *call: seeds.append(call[-1]) or cached_meetings(*call)
    )
    monkeypatch.setattr(slot_probe, "UNSEEN_CLIPS", 64)
    monkeypatch.setattr(slot_probe, "read_all", read)
    monkeypatch.setattr(slot_probe, "_encoder", lambda *_: None)
    config = SlotTraining(SLOTS, (MEETING,), steps=2, rank=2, size=32)
    lines = probe_lines(config, ablation)
    assert seeds == [UNSEEN_SEED], "the clips are those whose motion is asked for, made once"
    assert looked == [probe.encoder for probe in PROBES.values() for _ in range(2)]
    assert any(line.startswith("| slots | 1.000") for line in lines)
    (most,) = (float(line.split()[-1].rstrip(".")) for line in lines[:1])
    told = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[1] for line in lines[4:-2]}
    assert list(told) == list(PROBES) and told[UNTRAINED].startswith(f"{most:.3f}"), (
        "without features: the most common"
    )
    assert probe_lines(config, ablation) == lines and len(looked) == 2 * len(PROBES)
