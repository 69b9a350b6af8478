"""Adapters that are there, measured: by the figures of their ablations, with the adapter's own weights on the
base, and every interval of the rows that it names."""

import json
from dataclasses import replace

import pytest
import refvid_tiny as tiny
import torch
from torch import Generator

from refvid.backbones.wan.dit import DiTConfig
from refvid.backbones.wan.geometry import WAN
from refvid.backbones.wan.lora import merge_lora
from refvid.core.adapter import load_adapter
from refvid.core.recipes import EDITING
from refvid.core.recognition import PUBLIC, Recognised
from refvid.demo.edits import EDIT_KINDS
from refvid.evidence.tables import interval_of
from refvid.evidence.trials import adapters as measured
from refvid.evidence.trials.adapters import adapter_table, evaluate_edit_adapter, evaluate_slot_adapter
from refvid.evidence.trials.clips import CODED, TRUTH
from refvid.evidence.trials.edits import EDIT_FIGURES, EditTrial
from refvid.evidence.trials.identity import IDENTITY_FIGURES, PICTURED, READINGS, TOGETHER, IdentityTrial
from refvid.hosts.plain.identities import slot_encoder
from refvid.hosts.plain.pipeline import Pipeline, Settings, load_pipeline

SIZES = DiTConfig(48, 64, 2, 1, 16, 16, 32)
SETTINGS = Settings(width=32, height=32, frames=5, steps=1, scale=2.0, shift=3.0, seed=7)
TOYS = 10


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return (*tiny.save_models(folder, SIZES), tiny.save_adapter(folder, SIZES))


@pytest.fixture
def backbone(files) -> Pipeline:
    return replace(load_pipeline(*files[:3]), settings=SETTINGS, recipe="sama")


@pytest.fixture(scope="module")
def adapter(files):
    return load_adapter(files[3], WAN)


def made_up(names, figures, seed: int):
    """Values for every name and figure, none like another; a third of the toys have no motion to show."""
    generator = Generator().manual_seed(seed)
    values = {name: {figure: torch.rand(TOYS, generator=generator) for figure in figures} for name in names}
    for row in values.values():
        row.get("dynamics", torch.empty(9))[::3] = torch.nan
    return values


def test_an_identity_is_measured_with_the_adapters_weights_on_the_base(
    files, backbone, adapter, monkeypatch, tmp_path
):
    seen, drawn, told = [], [], []
    values = made_up([TRUTH, *READINGS], IDENTITY_FIGURES, seed=0)

    def evaluate(*given, progress):
        progress(1, 2)
        seen.append(given)
        return values

    monkeypatch.setattr(measured, "evaluate_identity", evaluate)
    monkeypatch.setattr(measured, "identity_sheet", lambda *given, **_: drawn.append(given))
    report = evaluate_slot_adapter(backbone, adapter, TOYS, 3, tmp_path / "new", lambda *it: told.append(it))
    (ours, slots, encoder, *asked), (sheet_of, trial, reader, shown, path) = seen[0], drawn[0]
    assert asked == [TOYS, 3] and slots == adapter.config and told == [(1, 2)]
    wanted = load_pipeline(*files[:3])
    merge_lora(wanted.dit, adapter.lora)
    for key, value in wanted.dit.state_dict().items():
        assert torch.equal(ours.dit.state_dict()[key], value), key
    for key, value in slot_encoder(adapter).state_dict().items():
        assert torch.equal(encoder.state_dict()[key], value), key
    assert sheet_of is ours and reader is encoder and set(shown) < set(READINGS)
    assert path == tmp_path / "new" / "identity.png" and len(trial) == 8
    assert trial.prompts == IdentityTrial(8, SETTINGS, adapter.config).prompts
    assert json.loads((tmp_path / "new" / "identity.json").read_text())["rows"] == report.rows
    assert list(report.rows) == [CODED, TRUTH, *READINGS]
    for name, row in values.items():
        assert report.rows[name]["dynamics"] == pytest.approx(row["dynamics"].nanmean().item())


def test_what_is_compared_is_what_the_line_says(backbone, adapter, monkeypatch, tmp_path):
    values = made_up([TRUTH, *READINGS], IDENTITY_FIGURES, seed=1)
    monkeypatch.setattr(measured, "evaluate_identity", lambda *_, **__: values)
    monkeypatch.setattr(measured, "identity_sheet", lambda *_, **__: None)
    report = evaluate_slot_adapter(backbone, adapter, TOYS, 1, tmp_path, lambda *_: None)
    for one in report.intervals:
        sides, figure = one.name.rsplit(", ", 1)
        first, second = sides.split(" minus ")
        assert one == interval_of(one.name, values[first][figure] - values[second][figure])
    said = {one.name for one in report.intervals}
    assert {
        "own video minus nobody, dynamics",
        "own video minus own video, frames shuffled, dynamics",
        f"own video minus {PICTURED}, dynamics",
        f"{TOGETHER} minus {PICTURED}, shape",
    } <= said
    lines = adapter_table(report).splitlines()
    assert lines[0].startswith(f"{TOYS} unseen toys") and lines[0].endswith(", 1 noise each")
    assert lines[1].split() == list(IDENTITY_FIGURES)
    assert lines[-1].startswith(f"{TOGETHER} minus {PICTURED}, dynamics: ")


def test_a_figure_that_applies_to_no_toy_is_told_as_such(backbone, adapter, monkeypatch, tmp_path):
    values = made_up([TRUTH, *READINGS], IDENTITY_FIGURES, seed=2)
    for row in values.values():
        row["dynamics"][:] = torch.nan
    monkeypatch.setattr(measured, "evaluate_identity", lambda *_, **__: values)
    monkeypatch.setattr(measured, "identity_sheet", lambda *_, **__: None)
    report = evaluate_slot_adapter(backbone, adapter, TOYS, 1, tmp_path, lambda *_: None)
    assert report.rows[PICTURED]["dynamics"] is None
    assert not any("dynamics" in one.name for one in report.intervals)
    assert adapter_table(report).splitlines()[5].split()[-5] == "-"


def test_the_truth_through_the_vae_is_of_the_very_toys(backbone, adapter, monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(
        measured, "evaluate_identity", lambda *_, **__: made_up(READINGS, IDENTITY_FIGURES, 3)
    )
    monkeypatch.setattr(measured, "identity_sheet", lambda *_, **__: None)
    monkeypatch.setattr(measured, "through", lambda vae, clips: seen.append((vae, clips)) or clips)
    report = evaluate_slot_adapter(backbone, adapter, 4, 1, tmp_path, lambda *_: None)
    trial = IdentityTrial(4, SETTINGS, adapter.config)
    assert seen[0][0] is backbone.vae and torch.equal(seen[0][1], trial.truth)
    assert report.rows[CODED]["own"] == pytest.approx(trial.measure(trial.truth)["own"].mean().item())


def test_an_adapter_of_another_width_is_refused_and_nothing_is_changed(backbone, files, tmp_path):
    before = {key: value.clone() for key, value in backbone.dit.state_dict().items()}
    wide = load_adapter(tiny.save_adapter(tmp_path, replace(SIZES, width=96), "wide.safetensors"), WAN)
    with pytest.raises(ValueError, match="--adapter was trained for a Wan of width 96"):
        evaluate_slot_adapter(backbone, wide, 2, 1, tmp_path / "out", lambda *_: None)
    assert not (tmp_path / "out").exists()
    assert all(torch.equal(value, before[key]) for key, value in backbone.dit.state_dict().items())


def test_edits_are_measured_by_kind_beside_what_the_vae_lets_through(backbone, monkeypatch, tmp_path):
    values, coded = (made_up(EDIT_KINDS, EDIT_FIGURES, seed) for seed in (4, 5))
    asked, drawn = [], []
    monkeypatch.setattr(measured, "evaluate_edits", lambda *given: asked.append(given) or values)
    monkeypatch.setattr(measured, "without_model", lambda *given: asked.append(given) or coded)
    monkeypatch.setattr(measured, "edit_sheet", lambda *given: drawn.append(given))
    monkeypatch.setattr(measured, "edited", lambda *given: given)
    bar = lambda *_: None  # noqa: E731
    report = evaluate_edit_adapter(backbone, 5, 2, tmp_path / "new", bar)
    (ours, recipe, *counts), alone = asked
    assert ours is backbone and recipe.name == "sama" and counts == [5, 2, bar]
    assert alone == (CODED, backbone.vae, 5, 5, 32)
    made, *size, path = drawn[0]
    trial = EditTrial("add", 1, 5, 32)
    assert size == [5, 32] and path == tmp_path / "new" / "edits.png" and list(made) == ["edited"]
    assert made["edited"](trial) == (backbone, recipe, trial, 0)
    for kind in EDIT_KINDS:
        assert report.rows[kind]["kept"] == pytest.approx(values[kind]["kept"].mean().item())
        assert report.rows[f"{kind}, {CODED}"]["way"] == pytest.approx(coded[kind]["way"].mean().item())
    assert report.intervals == [
        interval_of(f"{kind}, {figure}", values[kind][figure])
        for kind in EDIT_KINDS
        for figure in ("way", "nearer", "stays", "colour")
    ]
    assert json.loads((tmp_path / "new" / "edits.json").read_text())["count"] == 5
    lines = adapter_table(report).splitlines()
    assert lines[0].startswith("5 unseen edits of each of 6 kinds, 2 noises")
    assert lines[1].split() == list(EDIT_FIGURES)


def test_a_model_that_is_for_no_edits_is_refused_before_anything_is_made(backbone, tmp_path):
    with pytest.raises(ValueError, match="sama, in_context"):
        evaluate_edit_adapter(replace(backbone, recipe="saber"), 2, 1, tmp_path / "out", lambda *_: None)
    assert not (tmp_path / "out").exists()


COMPARED = {
    "own video minus nobody": ("own", "dynamics"),
    "own video minus another's video": ("own", "dynamics"),
    "own video minus own video, frames shuffled": ("dynamics",),
    "own video minus anchor alone": ("own", "dynamics"),
    f"own video minus {PICTURED}": ("own", "dynamics"),
    f"{TOGETHER} minus {PICTURED}": ("own", "shape", "dynamics"),
}


def test_an_identitys_report_says_its_noises_all_that_is_compared_and_a_sheet_of_no_more_toys(
    backbone, adapter, monkeypatch, tmp_path
):
    values, drawn = made_up([TRUTH, *READINGS], IDENTITY_FIGURES, seed=6), []
    for row in values.values():
        row["dynamics"][1:] = torch.nan
        row["dynamics"][0] = 0.5
    monkeypatch.setattr(measured, "evaluate_identity", lambda *_, **__: values)
    monkeypatch.setattr(measured, "identity_sheet", lambda *given, **_: drawn.append(given))
    report = evaluate_slot_adapter(backbone, adapter, 4, 3, tmp_path, lambda *_: None)
    assert (report.count, report.noises) == (4, 3) and len(drawn[0][1]) == 4
    assert drawn[0][3] == ("own video", "another's video", "nobody")
    # of one toy there is no interval
    wanted = [
        f"{sides}, {one}" for sides, figures in COMPARED.items() for one in figures if one != "dynamics"
    ]
    assert [one.name for one in report.intervals] == wanted
    for row in values.values():
        row["dynamics"][1:] = 0.25
    report = evaluate_slot_adapter(backbone, adapter, 4, 3, tmp_path, lambda *_: None)
    wanted = [f"{sides}, {one}" for sides, figures in COMPARED.items() for one in figures]
    assert [one.name for one in report.intervals] == wanted


def test_public_weights_are_edited_by_the_recipe_that_they_are_known_by(backbone, monkeypatch, tmp_path):
    known_as = next(one for one in PUBLIC if one.recipe in EDITING)
    known, asked = replace(backbone, recipe=None, found=Recognised(known_as, "its name", True)), []
    values = made_up(EDIT_KINDS, EDIT_FIGURES, seed=7)
    monkeypatch.setattr(measured, "evaluate_edits", lambda *given: asked.append(given[1].name) or values)
    monkeypatch.setattr(measured, "without_model", lambda *_: values)
    monkeypatch.setattr(measured, "edit_sheet", lambda *_: None)
    evaluate_edit_adapter(known, 2, 1, tmp_path, lambda *_: None)
    assert asked == [known_as.recipe]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_identity_is_measured_in_half_precision_too(files, adapter, dtype, monkeypatch, tmp_path):
    monkeypatch.setattr(measured, "identity_sheet", lambda *_, **__: None)
    half = replace(load_pipeline(*files[:3], dtype=dtype), settings=SETTINGS, recipe="saber")
    whole = replace(load_pipeline(*files[:3]), settings=SETTINGS, recipe="saber")
    found, wanted = (
        evaluate_slot_adapter(one, adapter, 2, 1, tmp_path, lambda *_: None).rows["own video"]["own"]
        for one in (half, whole)
    )
    assert found == pytest.approx(wanted, abs=0.1)


def test_the_encoder_is_where_the_model_is(backbone, adapter, monkeypatch, tmp_path):
    """`--device` is a GPU where there is one."""
    read = []
    monkeypatch.setattr(
        measured,
        "evaluate_identity",
        lambda *it, **_: read.append(it[2]) or made_up(READINGS, IDENTITY_FIGURES, 3),
    )
    monkeypatch.setattr(measured, "through", lambda _, clips: clips)
    monkeypatch.setattr(measured, "identity_sheet", lambda *_, **__: None)
    backbone.vae.to("meta")
    evaluate_slot_adapter(backbone, adapter, 4, 1, tmp_path, lambda *_: None)
    assert {one.device for one in read[0].parameters()} == {torch.device("meta")}


def test_a_model_of_no_recipe_is_refused_before_a_clip_is_made(backbone, adapter, tmp_path):
    told = []
    with pytest.raises(ValueError, match="recipe is auto"):
        evaluate_slot_adapter(
            replace(backbone, recipe=None), adapter, 2, 1, tmp_path / "out", lambda *it: told.append(it)
        )
    assert not told
