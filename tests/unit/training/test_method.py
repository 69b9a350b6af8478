"""What `train` hands on to a method, and what of a setting reaches its place."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from refvid_world import setting
from torch import nn

from refvid.core.ranks import Ranks
from refvid.training.base.dit import method as saber
from refvid.training.engine import adapter, method
from refvid.training.engine.method import Usual, train
from refvid.training.engine.models import Models
from refvid.training.engine.optimise import Optimiser
from refvid.training.engine.state import RunFiles
from refvid.training.methods.sama import method as sama
from refvid.training.methods.slot_id import method as slot_id
from refvid.training.methods.videomaker import method as videomaker


@dataclass
class Noting(Usual):
    """A method that notes its calls; making its clips draws as often as `drawn` says."""

    drawn: int = 0
    calls: list[str] = field(default_factory=list)
    backbone_drew: Any = None
    name = "noting"
    files = RunFiles("noting", ("noting.safetensors",))

    def average(self, config):
        return 0.9

    def made_by(self, config, asked, ranks):
        return {"ranks": ranks.count}

    def backbone(self, config, asked):
        self.backbone_drew = torch.rand(1)
        return "backbone"

    def data(self, config, backbone, asked, ranks):
        torch.rand(self.drawn)
        return "data"

    def trainee(self, config, backbone, data):
        return nn.Linear(2, 2)

    def optimiser(self, config, trainee, ranks):
        return Optimiser(trainee, lambda *_: False, 0.1, ranks=ranks)

    def compile(self, backbone, trainee):
        self.calls.append("compile")

    def steps(self, config):
        return 2

    def export(self, config, backbone, data, averaged, folder):
        self.calls.append("export")


SEEDED = SimpleNamespace(seed=5)


@pytest.fixture
def taken(monkeypatch) -> list:
    """What the loop was given; no step is taken."""
    found: list = []
    monkeypatch.setattr(method, "take_steps", lambda *given: found.append(given))
    return found


@pytest.mark.usefixtures("taken")
def test_steps_are_compiled_where_that_is_asked_for_alone(tmp_path):
    for compiled, calls in ((False, ["export"]), (True, ["compile", "export"])):
        noting = Noting()
        train(noting, SEEDED, setting(tmp_path, compiled=compiled))
        assert noting.calls == calls


@pytest.mark.usefixtures("taken")
def test_weights_begin_by_the_seed_whatever_was_drawn_before_and_by_the_making_of_clips(tmp_path):
    begun, backbones = [], []
    for drawn, seed in ((0, 5), (7, 5), (0, 6)):
        torch.rand(3 + drawn)
        noting = Noting(drawn)
        begun.append(train(noting, SimpleNamespace(seed=seed), setting(tmp_path)).weight.clone())
        backbones.append(noting.backbone_drew)
    for one in (begun, backbones):
        assert torch.equal(one[0], one[1]) and not torch.equal(one[0], one[2])


def test_what_learns_and_its_steps_are_on_the_device_that_is_asked_for(tmp_path, taken):
    train(Noting(), SEEDED, setting(tmp_path, device="meta"))
    ((run, device, _),) = taken
    assert device == "meta" and {one.device.type for one in run.learner.module.parameters()} == {"meta"}


def test_previews_are_made_of_the_backbone_and_what_learns_and_given_to_the_loop(tmp_path, taken):
    train(Noting(), SEEDED, setting(tmp_path), [lambda *given: given])
    ((run, _, callbacks),) = taken
    assert callbacks == [("backbone", run.learner.module)]


def test_a_process_that_is_not_the_first_writes_no_result_and_hands_its_rank_on(tmp_path, monkeypatch, taken):
    second, noting = Ranks(1, 2), Noting()
    monkeypatch.setattr(method, "join", lambda device: second)
    train(noting, SEEDED, setting(tmp_path))
    ((run, *_),) = taken
    assert noting.calls == [] and run.ranks == run.learner.optimiser.ranks == second


def test_an_adapters_base_is_loaded_on_its_device_and_compiled_as_its_method_says(tmp_path, monkeypatch):
    seen: list = []
    monkeypatch.setattr(adapter, "load_pipeline", lambda *files, device: seen.append((files, device)))
    monkeypatch.setattr(adapter, "compile_blocks", lambda *given: seen.append(given))
    files = [tmp_path / name for name in ("dit", "vae", "text")]
    for one, dynamic in ((slot_id.SlotId(), True), (videomaker.VideoMaker(), None), (sama.Sama(), True)):
        one.backbone(None, setting(tmp_path, Models(*files), device="cuda"))
        one.compile(SimpleNamespace(dit="the dit"), nn.Linear(1, 1))
        assert seen == [(tuple(files), "cuda"), ("the dit", dynamic)]
        seen.clear()


class Reached(Exception):
    """The encoder was asked for."""


@pytest.mark.parametrize(
    ("module", "made"),
    [
        (slot_id, slot_id.SlotId()),
        (videomaker, videomaker.VideoMaker()),
        (sama, sama.Sama()),
        (saber, saber.DiTTrainer()),
    ],
    ids=lambda one: getattr(one, "name", ""),
)
def test_every_method_keeps_its_encoded_clips_where_the_setting_says(tmp_path, monkeypatch, module, made):
    """Else every seed of an ablation would encode its own."""

    def reached(vae, text, source, folder):
        raise Reached(vae, text, source.name, folder)

    monkeypatch.setattr(module, "ClipEncoder", reached)
    backbone = SimpleNamespace(vae="vae", text="text")
    for clips in (None, tmp_path / "clips"):
        asked = setting(tmp_path / "run", clips=clips)
        with pytest.raises(Reached) as found:
            made.data(None, backbone, asked, Ranks())
        assert found.value.args == ("vae", "text", asked.source.name, clips or tmp_path / "run")
