"""Shipped files where ComfyUI looks for them, and the command inside the folder that the archive unpacks to.
The archive in a real server and its browser: test_browser.py."""

import copy
import logging
import subprocess
import sys
from pathlib import Path

import folder_paths
import pytest
import refvid_archive
import refvid_patience as patience
from refvid_comfy import comfy_environment

from refvid.hosts.comfy import shipped

pytestmark = pytest.mark.comfy

KINDS = ("diffusion_models", "text_encoders", "vae", "loras")
SHIPPED = {kind: {file.name for file in (shipped.DEMO / "models" / kind).iterdir()} for kind in KINDS}
SAMPLES = {file.name: file.read_bytes() for file in (shipped.DEMO / "samples").iterdir()}


@pytest.fixture
def folders(monkeypatch):
    """ComfyUI's model folders, as before and after the pack is loaded; undone after the test."""
    before = copy.deepcopy(folder_paths.folder_names_and_paths)
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", copy.deepcopy(before))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return before


@pytest.fixture
def inputs(monkeypatch, tmp_path):
    monkeypatch.setattr(folder_paths, "get_input_directory", lambda: str(tmp_path / "input"))
    return tmp_path / "input"


# ---- models


def test_every_shipped_model_is_offered_where_its_kind_is_and_no_other_folder_changes(folders):
    shipped.offer_models()
    shipped.offer_models()  # such as by a second load
    for kind, (paths, _) in folders.items():
        own = [str(shipped.DEMO / "models" / kind)] if kind in KINDS else []
        assert folder_paths.get_folder_paths(kind) == [*paths, *own]
    for kind, names in SHIPPED.items():
        assert names and names <= set(folder_paths.get_filename_list(kind))
        assert {name for name in folder_paths.get_filename_list(kind) if "refvid_demo" in name} == names


def test_a_file_of_the_users_is_loaded_before_ours_of_the_same_name(folders, tmp_path):
    first, last = (
        tmp_path / "models",
        tmp_path / "extra",
    )  # a folder of extra_model_paths.yaml comes after the first
    for folder in (first, last):
        folder.mkdir()
    folder_paths.folder_names_and_paths["loras"] = ([str(first), str(last)], {".safetensors"})
    shipped.offer_models()
    (name, *_) = sorted(SHIPPED["loras"])
    assert Path(folder_paths.get_full_path("loras", name)).parent == shipped.DEMO / "models" / "loras"
    (last / name).write_bytes(b"")
    assert Path(folder_paths.get_full_path("loras", name)) == last / name
    assert folder_paths.get_filename_list("loras").count(name) == 1


def test_nothing_is_ever_saved_among_the_shipped_models(folders):
    """An upload or a download puts a model into the first folder of its kind."""
    routes = pytest.importorskip("app.assets.services.path_utils", reason="this ComfyUI takes no models")
    before = {kind: routes.resolve_destination_from_tags(["models", f"model_type:{kind}"]) for kind in KINDS}
    shipped.offer_models()
    for kind in KINDS:
        place, _ = routes.resolve_destination_from_tags(["models", f"model_type:{kind}"])
        assert (place, []) == before[kind] and not Path(place).is_relative_to(shipped.DEMO)


# ---- samples


def test_samples_come_among_the_inputs_and_stay_as_they_are_there(inputs):
    shipped.lay_out_samples()
    assert {file.name: file.read_bytes() for file in inputs.iterdir()} == SAMPLES
    written = {file: file.stat().st_mtime_ns for file in inputs.iterdir()}
    shipped.lay_out_samples()
    assert {file: file.stat().st_mtime_ns for file in inputs.iterdir()} == written


def test_a_name_that_is_taken_is_left_alone(inputs, tmp_path):
    inputs.mkdir()
    (inputs / "refvid_toy.png").write_bytes(b"painted over")
    (inputs / "refvid_film.mp4").symlink_to(
        tmp_path / "elsewhere.mp4"
    )  # leads nowhere: nothing is made there either
    shipped.lay_out_samples()
    assert (inputs / "refvid_toy.png").read_bytes() == b"painted over"
    assert not (tmp_path / "elsewhere.mp4").exists()
    assert {file.name for file in inputs.iterdir()} == set(SAMPLES)


def test_inputs_that_cannot_be_written_are_said_and_the_pack_loads(inputs, caplog):
    inputs.write_bytes(b"")  # a file where a folder should be: no user may write below it, root neither
    with caplog.at_level(logging.WARNING):
        shipped.lay_out_samples()
    (said,) = [record.getMessage() for record in caplog.records]
    assert str(inputs) in said and str(shipped.DEMO / "samples") in said


def test_a_sample_is_there_whole_or_not_at_all(inputs, monkeypatch, caplog):
    """The view of a second server, or of a disk that is full."""

    def half(source, target):
        Path(target).write_bytes(Path(source).read_bytes()[:100])
        assert not (inputs / Path(source).name).exists()
        raise OSError(28, "full")

    monkeypatch.setattr(shipped.shutil, "copyfile", half)
    shipped.lay_out_samples()
    assert list(inputs.iterdir()) == [] and "full" in caplog.text


# ---- the command


STARTED = {  # the pack's folder, where the command is started, how
    "inside the folder": ("ComfyUI-refvid.v1", ".", ["-m", "refvid"]),
    "beside it, where it has the pack's name": ("refvid", "..", ["-m", "refvid"]),
    "by a Python that looks for nothing there, as the portable one": ("refvid", ".", ["-P", "refvid.py"]),
}


@pytest.mark.parametrize(("name", "below", "started"), STARTED.values(), ids=STARTED)
def test_the_command_runs_from_the_unpacked_folder_with_comfyuis_python(tmp_path, name, below, started):
    """Runs without anything being installed."""
    if reason := refvid_archive.missing():
        pytest.skip(f"NOT RUN, the archive was not packed: {reason}")
    folder, made = refvid_archive.install(tmp_path / "custom_nodes", name), tmp_path / "made.png"
    asked = ["inspect", "--reference", str(folder / "demo/samples/refvid_toy.png"), "--out", str(made)]
    done = subprocess.run(
        [sys.executable, *started, *asked], cwd=folder / below, env=comfy_environment(),
        capture_output=True, text=True, timeout=patience.PROCESS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert made.stat().st_size > 1000
