"""The demo's models trained on a GPU: piece by piece, their files brought back and kept."""

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[3] / "bench"))

from gpu import demo, keep
from gpu.sheet import begin_sheet, work

MACHINE = {"date": "2026-11-29", "device": "NVIDIA Test", "torch": "2.13", "kernels": "abc"}
ROOT = Path(__file__).resolve().parents[3]


def stand_in(folder: Path, dry: bool = False, seconds: float = 60.0) -> SimpleNamespace:
    return SimpleNamespace(dry=dry, folder=folder, at=torch.device("cpu"), until=time.monotonic() + seconds)


def test_a_run_out_of_time_is_left_and_goes_on_at_the_next_call(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "WORK", tmp_path / "work")
    monkeypatch.setattr(demo, "MADE", {"vae": {"vae.safetensors": tmp_path / "pack.safetensors"}, "dit": {}})
    codes, asked = [None, 0, 0], []

    def run_group(command, seconds):
        asked.append(command)
        (tmp_path / "work").mkdir(exist_ok=True)
        for name in ("vae-run", "vae"):
            (tmp_path / f"work/{name}.safetensors").write_text("weights")
        return codes.pop(0)

    monkeypatch.setattr(demo, "run_group", run_group)
    folder, machine = tmp_path / "out", MACHINE
    sheet = begin_sheet(folder, "demo", machine, False)
    work(sheet, demo.demo(stand_in(folder)), folder, 1e18)
    assert sheet.left == ["vae", "dit"] and sheet.now is None and not sheet.failed
    assert not (tmp_path / "pack.safetensors").exists()
    again = begin_sheet(folder, "demo", machine, False)
    work(again, demo.demo(stand_in(folder)), folder, 1e18)
    assert again.done and again.cases["vae"]["files"] == ["vae.safetensors"]
    assert (
        (tmp_path / "pack.safetensors").read_text()
        == "weights"
        == (folder / "demo/vae.safetensors").read_text()
    )
    assert ["--resume" in one for one in asked] == [False, True, False]
    assert ["--compile" in one for one in asked] == [False, False, True]


def test_a_run_that_fails_is_a_finding_and_a_dry_one_changes_nothing_of_the_pack(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "WORK", tmp_path / "work")
    monkeypatch.setattr(demo, "MADE", {"vae": {"vae.safetensors": tmp_path / "pack.safetensors"}})
    monkeypatch.setattr(demo, "run_group", lambda command, seconds: 3)
    assert "refvid train vae ended with 3" in demo.train(stand_in(tmp_path), "vae")["failed"]
    made = tmp_path / "work/dry/vae.safetensors"
    made.parent.mkdir(parents=True)
    made.with_name("vae-run.safetensors").write_text("old")

    def smoke(command, seconds):
        assert "--smoke" in command and "--resume" not in command and not list(made.parent.iterdir())
        made.write_text("weights")
        return 0

    monkeypatch.setattr(demo, "run_group", smoke)
    assert demo.train(stand_in(tmp_path, dry=True), "vae") == {"files": ["vae.safetensors"]}
    assert (tmp_path / "demo/vae.safetensors").is_file() and not (tmp_path / "pack.safetensors").exists()


def test_weights_are_kept_where_the_pack_has_them(tmp_path, monkeypatch):
    assert {keep.place_of(Path(file).stem) for files in demo.MADE.values() for file in files} == {
        str(place.relative_to(ROOT)) for files in demo.MADE.values() for place in files.values()
    }
    folder = tmp_path / "out"
    (folder / "demo").mkdir(parents=True)
    (folder / "demo/vae.safetensors").write_text("weights")
    sheet = begin_sheet(folder, "demo", MACHINE, False)
    sheet.cases["vae"] = {"files": ["vae.safetensors"]}
    keep.take_weights(folder, {"demo": sheet}, tmp_path)
    assert (tmp_path / "demo/models/vae/refvid_demo_vae.safetensors").read_text() == "weights"
    (folder / "demo/vae.safetensors").unlink()
    with pytest.raises(ValueError, match=r"--keep: .*vae\.safetensors is not there"):
        keep.take_weights(folder, {"demo": sheet}, tmp_path)
    monkeypatch.setattr(keep, "read_folder", lambda place: {"demo": sheet})
    monkeypatch.setattr(keep, "put", lambda sheets, root: pytest.fail("results were kept before weights"))
    with pytest.raises(ValueError, match="is not there"):
        keep.keep(folder, tmp_path)
