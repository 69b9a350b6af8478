"""What `refvid score` measures in the demo world: which trial, of how many toys, with which adapter."""

from argparse import Namespace
from importlib import import_module
from pathlib import Path

import pytest

from refvid import cli
from refvid.cli import score
from refvid.hosts.plain.pipeline import Settings

FILES = ("--dit", "gone", "--vae", "gone", "--text-encoder", "gone")


def refused(capsys, *said: object) -> str:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["score", *map(str, said)])
    told = capsys.readouterr().err.strip()
    assert told.startswith("refvid: ") and "\n" not in told
    return told


TRIALS = {
    "references": ((), (4, Path("there"), 2), "still"),
    "references at a level": (("--level", "lively"), (4, Path("there"), 2), "lively"),
    "controls": (("--controls",), (4, Path("there")), None),
    "frames": (("--frames",), (4, 2, Path("there")), None),
    "views": (("--views",), (4, Path("there"), 2), None),
    "words": (("--words",), (4, Path("there")), None),
}


@pytest.mark.parametrize("case", TRIALS)
def test_every_trial_is_run_with_what_its_options_say(case, monkeypatch, capsys):
    (option, wanted, level), asked = TRIALS[case], []
    monkeypatch.setattr(score, "_model", lambda _: "a model")
    for name in ("references", "controls", "frames", "views", "words"):
        trial = import_module(f"refvid.evidence.trials.{name}")

        def evaluate(*given, name=name):
            told = [one for one in given if not callable(one)]
            asked.append((name, *told))
            return name

        monkeypatch.setattr(trial, f"evaluate_{name}", evaluate)
        monkeypatch.setattr(trial, f"{name.removesuffix('s')}_table", lambda report: f"table of {report}")
    noises = () if case in ("controls", "words") else ("--seeds", "2")
    cli.main(["score", *option, *noises, "--toys", "4", "--device", "cpu", "--out", "there"])
    name = case.split()[0]
    assert asked == [(name, "a model", *wanted, *([] if level is None else [level]))]
    assert f"table of {name}" in capsys.readouterr().out


# ---- adapters that are measured


ADAPTED = {
    "identity": ("--identity", "evaluate_slot_adapter", "refvid_demo_slot_id"),
    "edits": ("--edits", "evaluate_edit_adapter", "refvid_demo_sama"),
}


@pytest.mark.parametrize("files", [(), FILES], ids=["the demo", "a model"])
@pytest.mark.parametrize("adapter", [(), ("--adapter", "mine.safetensors")], ids=["its own", "mine"])
@pytest.mark.parametrize("case", ADAPTED)
def test_an_adapter_that_is_named_is_measured_on_the_model_or_else_the_demos(
    case, adapter, files, monkeypatch, capsys
):
    from refvid.core import adapter as adapters
    from refvid.evidence.trials import adapters as trial
    from refvid.hosts.plain import edit_film

    (option, evaluate, own), asked = ADAPTED[case], []
    monkeypatch.setattr(score, "_model", lambda _: "a model")
    monkeypatch.setattr(adapters, "load_adapter", lambda path, *_: f"read from {Path(path).stem}")
    monkeypatch.setattr(
        edit_film, "with_editing_adapter", lambda one, path, strength, _: (one, Path(path).stem, strength)
    )
    monkeypatch.setattr(trial, evaluate, lambda *given: asked.extend(given[:-1]) or "a report")
    monkeypatch.setattr(trial, "adapter_table", lambda report: f"table of {report}")
    how = ("--toys", "4", "--seeds", "2", "--device", "cpu", "--out", "there")
    cli.main(["score", option, *how, *adapter, *files])
    name = Path(adapter[1]).stem if adapter else own
    if case == "identity":
        wanted = ["a model", f"read from {name}"]
    else:
        wanted = ["a model" if files and not adapter else ("a model", name, 1.0)]
    assert asked == [*wanted, 4, 2, Path("there")]
    assert "table of a report" in capsys.readouterr().out


# Numbers and files of every trial; none is given.
USUAL = {
    "references": ((), (64, 1), ("score.png",)),
    "controls": (("--controls",), (64,), ("strengths.png", "regions.png")),
    "frames": (("--frames",), (64, 3), ("frames.json",)),
    "views": (("--views",), (64, 1), ("views.png",)),
    "words": (("--words",), (64,), ("words.png",)),
    "slot_adapter": (("--identity",), (64, 1), ("identity.png",)),
    "edit_adapter": (("--edits",), (16, 1), ("edits.png",)),
}


@pytest.mark.parametrize("case", USUAL)
def test_every_trial_has_its_numbers_by_default_and_says_where_its_sheet_is(
    case, monkeypatch, capsys, tmp_path
):
    from refvid.core import adapter
    from refvid.hosts.plain import edit_film

    (option, numbers, files), asked = USUAL[case], []
    trial = import_module(f"refvid.evidence.trials.{'adapters' if 'adapter' in case else case}")
    table = "adapter_table" if "adapter" in case else f"{case.removesuffix('s')}_table"
    monkeypatch.setattr(score, "_model", lambda _: "a model")
    monkeypatch.setattr(adapter, "load_adapter", lambda *_: "an adapter")
    monkeypatch.setattr(edit_film, "with_editing_adapter", lambda *_: "a model")
    monkeypatch.setattr(
        trial, f"evaluate_{case}", lambda *given: asked.extend(one for one in given if type(one) is int)
    )
    monkeypatch.setattr(trial, table, lambda _: "a table")
    cli.main(["score", *option, "--device", "cpu", "--out", str(tmp_path)])
    assert tuple(asked) == numbers
    assert capsys.readouterr().out.splitlines() == ["a table", *(str(tmp_path / file) for file in files)]


@pytest.mark.parametrize("trial", ["controls", "frames", "views", "words", "identity", "edits"])
def test_every_trial_refuses_a_level_and_less_than_two_toys(trial, capsys, monkeypatch):
    told = refused(capsys, f"--{trial}", "--level", "still")
    assert told == f"refvid: --level: --{trial} has toys of its own; leave it out"
    monkeypatch.setattr(score, "_model", lambda _: pytest.fail("a model is loaded before numbers are read"))
    told = refused(capsys, f"--{trial}", "--toys", 1, "--device", "cpu")
    assert told == "refvid: --toys is 1; give 2 or more"


@pytest.mark.parametrize("trial", ["references", "controls", "frames", "views", "words", "identity", "edits"])
def test_a_model_of_oblong_clips_is_refused_by_every_trial(trial, capsys, monkeypatch):
    oblong = Namespace(settings=Settings(width=64, height=32))
    monkeypatch.setattr(score, "load_files", lambda _: oblong)
    option = () if trial == "references" else (f"--{trial}",)
    monkeypatch.setattr(score, "adapted", lambda _, backbone: backbone)
    told = refused(capsys, *option, "--device", "cpu", "--out", "there")
    assert told == ("refvid: --dit: the model makes clips of 64 x 32; those of the demo world are square")
