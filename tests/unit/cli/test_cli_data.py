"""`refvid data`: from a folder of real films to shards, what it says on the way, and what it refuses."""

import json
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import refvid_footage as footage
from refvid_patience import PROCESS

from refvid import cli
from refvid.cli import data as cli_data
from refvid.data import settings
from refvid.data.index import read_index
from refvid.data.prepare import METHODS, settings_for
from refvid.data.prepared import Prepared
from refvid.data.readers import READERS
from refvid.data.stages import STAGES
from refvid.demo import models

ROOT = Path(__file__).parents[3]
SMALL = ["--set", "encode.pixels=4096", "--set", "encode.frames=[5, 9]", "--set", "encode.windows=1"]


@pytest.fixture
def clips(tmp_path):
    """The two films of one drive, and a still, two of them with captions."""
    folder = tmp_path / "my clips"
    folder.mkdir()
    for version in ("pristine", "distorted"):
        shutil.copy(footage.carphone(version), folder / f"{version}.mp4")
    (folder / "pristine.txt").write_text("a man talks in a car", "utf-8")
    (folder / "lost.mp4").write_bytes(b"no film")
    (folder / "lost.txt").write_text("gone", "utf-8")
    return folder


@pytest.fixture
def local(tmp_path):
    """A file that says where the demo's weights lie."""
    path = tmp_path / "models.toml"
    path.write_text(f'vae = "{models.VAE}"\ntext_encoder = "{models.TEXT_ENCODER}"\n')
    return str(path)


def refvid(*words: object) -> None:
    cli.main([str(word) for word in words])


def refused(capsys, *words: object) -> str:
    """The line in which a command ends."""
    with pytest.raises(SystemExit) as stopped:
        refvid(*words)
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_a_folder_of_films_becomes_clips_to_learn_from(clips, local, tmp_path, capsys):
    data = tmp_path / "prepared"
    refvid("data", "scan", clips, "--out", data)
    assert "scan: 3 looked at, 0 known. 3 rows, 2 to be used; not used: 1 " in capsys.readouterr().out
    refvid("data", "prepare", "saber", "--data", data, "--models", local, *SMALL)
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in said] == ["cut", "score", "caption", "encode", "next"]
    assert "1 same picture as another" in said[-2]
    assert said[-1] == f"next: refvid data check --data {data} --sheet sheet.html"
    (clip,) = Prepared(str(data)).clips
    assert (Path(clip.path).name, clip.caption, clip.bucket[2]) == ("pristine.mp4", "a man talks in a car", 9)
    refvid("data", "prepare", "saber", "--data", data)  # weights and options are remembered
    assert all(": 0 looked at" in line for line in capsys.readouterr().out.splitlines()[:-1])
    refvid("data", "check", "--data", data, "--reasons", "--sheet", tmp_path / "sheet.html")
    said = capsys.readouterr().out
    assert "saber      clips with captions                      1" in said and str(clips) in said
    assert "<html" in (tmp_path / "sheet.html").read_text("utf-8").lower()
    refvid("data", "pack", "--data", data, "--to", tmp_path / "moved")
    assert "the index and 1 shard are at" in capsys.readouterr().out
    shutil.rmtree(data)
    moved = Prepared(str(tmp_path / "moved"))
    assert moved.latent(moved.clips[0], 0).shape[1] == 3


def test_another_tools_file_is_read_in_place_and_says_what_it_does_not_use(clips, tmp_path, capsys):
    (tmp_path / "set.toml").write_text(
        f'[general]\nbatch_size = 2\ncaption_extension = ".txt"\n[[datasets]]\nvideo_directory = "{clips}"\n'
        "target_frames = [9, 21]\n"
    )
    data = tmp_path / "prepared"
    refvid("data", "import", "musubi", tmp_path / "set.toml", "--out", data)
    assert "not used: " in capsys.readouterr().out
    assert json.loads((data / "data.json").read_text())["settings"]["encode"]["frames"] == [9, 21]
    other = tmp_path / "scanned"
    refvid("data", "scan", clips, "--out", other)
    assert (data / "index.jsonl").read_bytes() == (other / "index.jsonl").read_bytes()


def test_options_come_from_a_file_and_one_by_one_on_top(clips, tmp_path, capsys):
    data = tmp_path / "prepared"
    refvid("data", "scan", clips, "--out", data)
    (tmp_path / "steps.toml").write_text("[cut]\nlongest = 3.0\nthreshold = 4.0\n")
    refvid("data", "cut", "--data", data, "--config", tmp_path / "steps.toml", "--set", "cut.threshold=5")
    told = json.loads((data / "data.json").read_text())["stages"]["cut"]["options"]
    assert (told["longest"], told["threshold"]) == (3.0, 5.0)
    assert len([row for row in read_index(data) if row.ok]) == 4  # two films of 4 s, in halves


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["cut", "--set", "cut.treshold=3"], "refvid: cut: treshold is not known; did you mean threshold?"),
        (["cut", "--set", "cutt.threshold=3"], "refvid: --set: cutt is not known; did you mean cut?"),
        (["cut", "--set", "threshold"], "refvid: --set threshold: needed TABLE.KEY=VALUE"),
        (
            ["cut", "--set", "score.least_clips=5"],
            "refvid: --set score.least_clips=5: that step is not run here; needed one of cut",
        ),
        (["cut", "--config", "no.toml"], "refvid: --config: there is no file no.toml"),
        (["cut", "--device", "tpu"], "refvid: --device tpu: is no device known here"),
        (["encode"], "refvid: encode: needs vae = Wan's VAE, one file; name it in the file of --models"),
        (["subjects"], "refvid: subjects: "),
        (["prepare", "saber"], "refvid: encode: needs vae = Wan's VAE, one file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_any_work(clips, tmp_path, capsys, words, says):
    data = tmp_path / "prepared"
    refvid("data", "scan", clips, "--out", data)
    before = (data / "data.json").read_bytes()
    assert refused(capsys, "data", *words, "--data", data).startswith(says)
    assert (data / "data.json").read_bytes() == before
    assert [one.name for one in (data / "work").iterdir() if one.is_dir()] == [
        "scan"
    ]  # nothing was looked at


def test_names_of_weights_and_their_places_are_checked(clips, tmp_path, capsys):
    data = tmp_path / "prepared"
    refvid("data", "scan", clips, "--out", data)
    path = tmp_path / "models.toml"
    for text, says in (
        ('vea = "a"', "--models: models.toml: vea is not known; did you mean vae?"),
        ("vae = 3", "--models: models.toml: vae is 3; needed a path"),
        ('vae = "gone.safetensors"\ntext_encoder = "b"', "gone.safetensors; give Wan's VAE"),
    ):
        path.write_text(text)
        assert says in refused(capsys, "data", "encode", "--data", data, "--models", path)
    assert "holds no prepared clips" in refused(capsys, "data", "check", "--data", tmp_path / "none")


def test_the_file_of_weights_that_was_given_last_counts_alone(clips, local, tmp_path, capsys):
    data = tmp_path / "prepared"
    refvid("data", "scan", clips, "--out", data)
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('captioner = "gone"')
    assert "gone; give a folder of Qwen" in refused(
        capsys, "data", "caption", "--data", data, "--models", wrong
    )
    refvid("data", "caption", "--data", data, "--models", local)
    assert sorted(json.loads((data / "data.json").read_text())["models"]) == ["text_encoder", "vae"]


def test_every_run_says_what_goes_on_after_it(clips, tmp_path, capsys):
    data = tmp_path / "my data"
    refvid("data", "scan", clips, "--out", data)
    said = [capsys.readouterr().out.splitlines()[-1]]
    for name in ("cut", "score", "caption"):
        refvid("data", name, "--data", data)
        said.append(capsys.readouterr().out.splitlines()[-1])
    where = f"--data '{data}'"
    assert said[0].startswith("next: refvid data prepare METHOD") and said[0].endswith(f"data cut {where}")
    assert said[1:] == [f"next: refvid data {name} {where}" for name in ("score", "caption", "encode")]


def test_options_of_a_step_are_printed_as_a_file_that_it_reads(clips, tmp_path, capsys):
    for stage in STAGES:
        with pytest.raises(SystemExit) as stopped:
            refvid("data", stage.name, "--options")
        said = capsys.readouterr().out
        assert stopped.value.code == 0
        table = settings.tomllib.loads(said[said.index(f"[{stage.name}]") :])[stage.name]
        assert settings.filled(stage.defaults, table, stage.name) == stage.defaults
        assert set(table) == {field.name for field in fields(stage.defaults)}
        assert all(name in said.partition(f"[{stage.name}]")[0] for name in table)  # each is explained


def test_frames_of_folders_have_the_rate_that_scan_is_told(clips, tmp_path):
    data = tmp_path / "prepared"
    refvid("data", "scan", clips, "--out", data, "--set", "scan.frames_fps=24")
    assert json.loads((data / "data.json").read_text())["stages"]["scan"]["options"] == {"frames_fps": 24.0}


def test_other_bounds_look_at_no_clip_again(clips, tmp_path, capsys):
    data = tmp_path / "prepared"
    refvid("data", "scan", clips, "--out", data)
    for name, other in (("score", "score.least_sharpness=90"), ("cut", "cut.shortest=5")):
        refvid("data", name, "--data", data)
        refvid("data", name, "--data", data, "--set", other)
        assert f"{name}: 0 looked at" in capsys.readouterr().out.splitlines()[-2]
    assert "shorter than 5 s" in {row.reason for row in read_index(data)}


def test_what_is_said_of_a_methods_own_options_stands():
    assert settings_for("sama", {"encode": {"fps": 24.0}}) == {"encode": {"semantic": True, "fps": 24.0}}
    assert settings_for("sama", {"encode": {"semantic": False}}) == {"encode": {"semantic": False}}


def test_storage_whose_package_is_not_installed_is_named(clips, tmp_path, capsys, monkeypatch):
    data = tmp_path / "prepared"
    refvid("data", "scan", clips, "--out", data)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    said = refused(capsys, "data", "pack", "--data", data, "--to", "s3://bucket/prepared")
    assert said == "refvid: s3://bucket/prepared cannot be reached: Install s3fs to access S3"


def test_the_command_line_knows_every_stage_method_and_layout():
    assert ["scan", *cli_data._STAGES] == [stage.name for stage in STAGES]
    assert cli_data._METHODS == tuple(METHODS) and cli_data._LAYOUTS == tuple(READERS)
    for needs in METHODS.values():
        assert {*needs.stages, *needs.wishes, *needs.settings} <= {stage.name for stage in STAGES}


def test_two_processes_of_torchrun_give_the_index_of_one(clips, tmp_path):
    refvid("data", "scan", clips, "--out", tmp_path / "1")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, "-m", "refvid", "data", "scan", clips, "--out", tmp_path / "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PROCESS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("scan: 3 looked at") == 1  # told by one
    assert (tmp_path / "1/index.jsonl").read_bytes() == (tmp_path / "2/index.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("asked", "rank", "device"),
    [("cpu", "1", "cpu"), ("cuda", None, "cuda"), ("cuda", "1", "cuda:1"), ("cuda:0", "1", "cuda:0")],
)
def test_processes_of_one_machine_take_a_gpu_each(monkeypatch, asked, rank, device):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert cli_data._device(asked) == device


@pytest.mark.parametrize("part", ["slot_id", "videomaker", "sama"])
def test_adapters_of_the_demo_say_that_they_take_no_clips_of_an_index_yet(clips, tmp_path, capsys, part):
    data = tmp_path / "prepared"
    refvid("data", "scan", clips, "--out", data)
    said = refused(capsys, "train", part, "--smoke", "--data", f"index:{data}", "--out", tmp_path / "run")
    assert (
        said
        == f"refvid: --data: refvid train {part} takes no clips of people yet; saber does, and vae and dit"
    )
    assert not (tmp_path / "run").exists()
