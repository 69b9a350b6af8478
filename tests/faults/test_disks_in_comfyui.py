"""Full disks inside ComfyUI: what our nodes and our start write there."""

import importlib
import logging
from pathlib import Path

import pytest
import torch
from refvid_disk import full, partials

from refvid.core.identity import Identity, load_identity

pytestmark = pytest.mark.comfy


@pytest.fixture
def folders(tmp_path, monkeypatch) -> dict[str, Path]:
    """ComfyUI's folders of outputs and inputs."""
    import folder_paths

    made = {kind: tmp_path / kind for kind in ("output", "input")}
    for kind, folder in made.items():
        folder.mkdir()
        monkeypatch.setattr(folder_paths, f"get_{kind}_directory", lambda folder=folder: str(folder))
    return made


def test_save_identity_names_its_file_and_takes_no_number_for_it(folders):
    save = importlib.import_module("refvid.nodes.identity").RefVidSaveIdentity
    identity = Identity(torch.ones(2, 8), torch.ones(3, 8), "0123456789ab", torch.zeros(4, 4, 3))
    save.execute(identity, "people/her")
    (first,) = folders["output"].rglob("*.safetensors")
    before, kept = first.read_bytes(), set(folders["output"].rglob("*.*"))
    with (
        full(len(before) // 2),
        pytest.raises(OSError, match=r"people/her_00002_\.safetensors could not be written"),
    ):
        save.execute(identity, "people/her")
    assert set(folders["output"].rglob("*.*")) == kept and first.read_bytes() == before
    save.execute(identity, "people/her")
    assert len(load_identity(max(folders["output"].rglob("*.safetensors"))).slots) == 3


def test_samples_that_cannot_be_copied_are_said_and_comfyui_starts(folders, caplog):
    shipped = importlib.import_module("refvid.hosts.comfy.shipped")
    with full(1000), caplog.at_level(logging.WARNING):
        shipped.lay_out_samples()
    assert "could not be copied" in caplog.text and str(folders["input"]) in caplog.text
    assert partials(folders["input"]) == []
    left = {one.name: one.stat().st_size for one in folders["input"].iterdir()}
    samples = {one.name: one.stat().st_size for one in (shipped.DEMO / "samples").iterdir()}
    assert left.items() <= samples.items(), "each is whole"
    shipped.lay_out_samples()
    assert {one.name for one in folders["input"].iterdir()} == {
        one for one in samples if one.startswith("refvid_")
    }
