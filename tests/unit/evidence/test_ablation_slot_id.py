"""The verdicts on Slot-ID's claims, from made-up figures."""

from dataclasses import replace

import pytest
import refvid_tiny as tiny
import torch
from PIL import Image
from refvid_world import noted_runs
from safetensors import safe_open

from refvid.backbones.wan.dit import DiTConfig
from refvid.core.slots import SlotEncoder, SlotsConfig
from refvid.evidence.ablations import slot_id as ablation
from refvid.evidence.ablations.slot_baselines import ENCODERS
from refvid.evidence.ablations.slot_id import SLOT_CLAIMS
from refvid.evidence.claims import sentence
from refvid.evidence.runs import BASE_ALONE, Ablation
from refvid.evidence.trials import identity as measured
from refvid.evidence.trials.clips import CODED
from refvid.training.engine.models import Models
from refvid.training.methods.slot_id.config import Meeting, SlotTraining

TOYS = 40


def figures(dynamics: float, direction: float = 1.0) -> dict[str, torch.Tensor]:
    """Every figure of toys of which one in four has no dynamics."""
    generator = torch.Generator().manual_seed(int(dynamics * 100))
    one = dict.fromkeys(measured.IDENTITY_FIGURES, torch.full((TOYS,), 0.5))
    moves = torch.full((TOYS,), dynamics) + 0.01 * torch.randn(TOYS, generator=generator)
    moves[::4] = torch.nan
    return {**one, "dynamics": moves, "direction": torch.full((TOYS,), direction)}


def runs(**dynamics: float) -> dict:
    """Two seeds of every encoder, all alike but for what is named."""
    made = {}
    for name in ENCODERS:
        level = dynamics.get(name.replace(" ", "_"), 0.5)
        read = measured.READINGS if name == ablation.SLOTS else (ablation.OWN_VIDEO,)
        readings = {reading: figures(dynamics.get(reading.split()[0], level)) for reading in read}
        made[name] = [{"truth": figures(1.0), **readings}] * 2
    return {**made, BASE_ALONE: [{CODED: figures(0.9), measured.NAMED_BY_CAPTION: figures(0.5)}]}


@pytest.mark.parametrize(
    ("mean", "verdict"), [(0.3, "**holds**"), (0.7, "**does not hold**"), (0.5, "**not decided**")]
)
def test_a_verdict_follows_its_interval(mean, verdict):
    assert verdict in sentence(SLOT_CLAIMS[0], runs(mean_pooling=mean))


@pytest.mark.parametrize(("direction", "verdict"), [(0.98, "**holds**"), (0.9, "**does not hold**")])
def test_following_the_prompt_may_cost_a_margin(direction, verdict):
    made = runs()
    for values in made["slots"]:
        values["own video"] = figures(0.5, direction)
    (claim,) = (one for one in SLOT_CLAIMS if one.figure == "direction")
    assert verdict in sentence(claim, made)


def test_the_table_has_a_row_for_every_reading_of_the_slots_and_one_for_every_baseline():
    lines = ablation._table(runs())
    assert len(lines) == 2 + 2 + len(measured.READINGS) + len(ENCODERS) - 1 + 1
    assert {line.count("|") for line in lines} == {3 + len(measured.IDENTITY_FIGURES)}


def test_every_comparison_speaks_of_what_is_measured():
    for one in SLOT_CLAIMS:
        assert one.figure in measured.IDENTITY_FIGURES
        for side in (one.first, one.second):
            assert side.run in ENCODERS and side.variant in measured.READINGS


def test_one_command_trains_and_measures_each_run_once(tmp_path, monkeypatch):
    small = {"width": 64, "height": 64, "frames": 5, "steps": 1}
    models = Models(*tiny.save_models(tmp_path / "base", DiTConfig(48, 64, 2, 1, 16, 16, 32), **small))
    slots = SlotsConfig(16, 48, width=16, place_width=4, slots=3, anchors=2, frames=5, size=32)
    config = SlotTraining(slots, (Meeting("alone", 1, 64, 4, frames=5, stride=24),), steps=2, rank=2, size=32)
    trained, seen = noted_runs(monkeypatch), []

    def made_up(backbone, _slots, encoder, toys, _noises, readings):
        state = {**backbone.dit.state_dict(), **encoder.state_dict()}
        seen.append((type(encoder), readings, b"".join(one.numpy().tobytes() for one in state.values())))
        figures = {figure: torch.rand(toys) for figure in measured.IDENTITY_FIGURES}
        return dict.fromkeys(("truth", *readings), figures)

    monkeypatch.setattr(measured, "evaluate_identity", made_up)
    rows = {
        name: dict.fromkeys(measured.IDENTITY_FIGURES, torch.full((8,), value))
        for name, value in ((CODED, 0.75), (measured.NAMED_BY_CAPTION, 0.25))
    }
    monkeypatch.setattr(measured, "evaluate_base", lambda *given: seen.append((None, [], b"base")) or rows)
    monkeypatch.setattr(ablation, "_MOST_ROWS", 1)
    monkeypatch.setattr(ablation, "probe_lines", lambda *_: ["told by a probe"])
    folder = tmp_path / "runs"
    asked = Ablation(models, folder, 8, 2, 1)
    lines = ablation.ablate_slots(config, asked)
    names = [name.replace(" ", "-") for name in ENCODERS]
    assert trained == [f"{name}-{seed}" for name in names for seed in range(2)]
    assert [kind for kind, _, _ in seen] == [*(kind for kind in ENCODERS.values() for _ in range(2)), None]
    for kind, readings, _ in seen[:-1]:
        assert readings == (list(measured.READINGS) if kind is SlotEncoder else [ablation.OWN_VIDEO])
    assert len({state for _, _, state in seen}) == 9, "every run is a model of its own"
    assert lines[-1] == "told by a probe"
    with Image.open(folder / "slots.jpg") as sheet:
        assert sheet.size[0] > 7 * 3 * 64, "seven columns of three pictures"
    assert (folder / "slots.md").read_text() == "\n".join(lines) + "\n"
    assert ablation.ablate_slots(config, asked) == lines and len(trained) == len(seen) - 1 == 8
    assert (
        f"| base alone | {measured.NAMED_BY_CAPTION} |" + " 0.250 |" * len(measured.IDENTITY_FIGURES) in lines
    )
    assert f"| {CODED} |  |" + " 0.750 |" * len(measured.IDENTITY_FIGURES) in lines
    with pytest.raises(ValueError, match=r"slots-0 holds a run .*: config.steps is 2 there and 1 here"):
        ablation.slot_run(asked, replace(config, steps=1), folder / "slots-0")
    with safe_open(folder / "slots-0" / "slot_id-run.safetensors", framework="pt") as file:
        assert file.metadata()["step"] == "2", "a run of another length is not begun over this one"
