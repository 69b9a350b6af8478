"""Identities and adapters as files on a real server: what is listed, read from where, and refused."""

import shutil
from pathlib import Path

import pytest
from refvid_client import failure, node

from refvid.core.identity import load_identity

pytestmark = pytest.mark.comfy
KEPT = Path(__file__).parents[1] / "data/0.1.0/inputs/refvid_kept_identity.safetensors"


def options(server, kind: str, name: str) -> list[str]:
    """What a node offers on a server now."""
    return server.get(f"/object_info/{kind}")[kind]["input"]["required"][name][1]["options"]


def test_an_identity_of_the_input_folder_is_listed_and_read_too(server):
    (server.base / "input/identities").mkdir(exist_ok=True)
    names = ["old_place.safetensors", "identities/copied.safetensors"]
    for name in names:
        shutil.copy(KEPT, server.base / "input" / name)
        load = {
            "load": node("RefVidLoadIdentity", file=name),
            "shown": node("PreviewImage", images=["load", 1]),
        }
        assert failure(server.run(load)) is None
    (server.base / "input/identities/foreign.safetensors").write_bytes(b"x")
    offered = options(server, "RefVidLoadIdentity", "file")
    assert set(names) <= set(offered) and "identities/foreign.safetensors" not in offered


@pytest.mark.parametrize(
    "name", ["gone.safetensors", "gone.safetensors [output]", "../models/loras/x.safetensors"]
)
def test_an_identity_that_is_not_there_is_one_sentence_before_anything_runs(server, name):
    graph = {"load": node("RefVidLoadIdentity", file=name), "shown": node("PreviewImage", images=["load", 1])}
    status, answer = server.post("/prompt", {"prompt": graph})
    (error,) = answer["node_errors"]["load"]["errors"]
    assert status == 400 and "needed a file that Save Identity made" in error["details"]


def test_what_cannot_be_written_leaves_neither_file_nor_picture(server, monkeypatch, tmp_path):
    from refvid.nodes import identity as nodes

    someone = load_identity(KEPT)

    def full(*_):
        raise OSError("no room")

    monkeypatch.setattr(nodes, "new_file", lambda *_: tmp_path / "one.safetensors")
    monkeypatch.setattr(nodes, "save_identity", full)
    with pytest.raises(OSError, match="no room"):
        nodes.RefVidSaveIdentity.execute(identity=someone, filename_prefix="one")
    assert list(tmp_path.iterdir()) == []


def test_loaders_list_the_adapters_of_their_kind(server):
    loras = server.base / "models/loras"
    (loras / "broken.safetensors").write_bytes(b"x")
    listed = {
        "RefVidLoadAdapter": "refvid_demo_slot_id.safetensors",
        "RefVidLoadEditingAdapter": "refvid_demo_sama.safetensors",
    }
    offered = {kind: options(server, kind, "adapter") for kind in (*listed, "RefVidLoadReferenceAdapter")}
    for kind, name in listed.items():
        assert [kind for kind, names in offered.items() if name in names] == [kind]
    assert not any("broken.safetensors" in names for names in offered.values())
    assert not any("refvid_demo_videomaker.safetensors" in names for names in offered.values())
