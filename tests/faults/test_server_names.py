"""Names that people and programs give to Save Identity: a file in the output folder, or a refusal that says
why."""

import os
import shutil
from pathlib import Path

import pytest
from refvid_client import failure, node
from refvid_faults_api import IDENTITY

pytestmark = pytest.mark.comfy

ROOT = Path(__file__).resolve().parents[2]
TAKEN = {
    "plain": "one/two",
    "unicode": "ß/Ж😀 é",
    "other form of unicode": "e\u0301",
    "spaces": " a b ",
    "200 letters": "n" * 200,
    "date": "%year%-%month%-%day%/at %hour%",
    "percent": "100%",
    "inside again": "a/../b/./c",
    "many slashes": "a//b///c",
    "dots before": "..a/...b",
    "quotes": "a'b`c$(d)",
    "braces": "{0}%s%(x)s",
    "folder alone": "one/",
    "device with a number": "CON",
    "backslashes": "one\\two",
    "dot at the end": "one.",
    "number": "7_00001_",
}
REFUSED = {
    "empty": "",
    "dot": ".",
    "parent": "..",
    "above": "../outside",
    "far above": "../" * 40 + "tmp/outside",
    "above from inside": "one/../../outside",
    "absolute": "/tmp/outside",
    "NUL": "one\0two",
    "line break": "one\ntwo",
    "escape": "one\x1b[2Jtwo",
    "surrogate": "one\ud800",
    "300 letters": "n" * 300,
    "300 letters in a folder": "n" * 300 + "/one",
    "100 emoji": "😀" * 100,
    "5000 letters": "n/" * 2500 + "n",
    "nul with an ending": "one/nul.txt",
    "COM1 as a folder": "com1/one",
    "trailing dot in a folder": "one./two",
    "trailing space in a folder": "one /two",
    "drive": "C:one",
    "drive with a path": "C:\\outside",
    "backslashes above": "..\\..\\outside",
    "stream": "one:two",
    "wildcard": "one*",
    "pipe": "one|two",
}  # fmt: skip


@pytest.fixture(scope="module")
def saving(server):
    """The server, with an identity among its inputs and the output folder's neighbours known."""
    shutil.copy(
        ROOT / "tests/data/0.1.0/inputs/refvid_kept_identity.safetensors", server.base / "input" / IDENTITY
    )
    return server


def save(server, prefix: str):
    return server.run(
        {
            "known": node("RefVidLoadIdentity", file=IDENTITY),
            "keep": node("RefVidSaveIdentity", identity=["known", 0], filename_prefix=prefix),
        }
    )


def files(folder: Path) -> set[Path]:
    return {Path(where, name) for where, _, names in os.walk(folder) for name in names}


def folders(folder: Path) -> set[Path]:
    return {Path(where, name) for where, names, _ in os.walk(folder) for name in names}


@pytest.mark.parametrize("case", TAKEN)
def test_a_name_is_taken_and_its_file_lies_in_the_output_folder(saving, case):
    before = files(saving.base)
    assert failure(save(saving, TAKEN[case])) is None
    # ComfyUI writes previews, and what tests run beside this one write is not below the base folder.
    made = [one for one in files(saving.base) - before if one.suffix == ".safetensors"]
    assert len(made) == 1 and (saving.base / "output") in made[0].parents, made


@pytest.mark.parametrize("case", REFUSED)
def test_a_name_is_refused_by_name_and_nothing_is_written(saving, case):
    before = files(saving.base) | folders(saving.base)
    said = failure(save(saving, REFUSED[case]))
    assert said is not None, "it was taken"
    assert (said.node, said.kind) == ("keep", "ValueError"), said
    assert said.message.startswith("filename_prefix is ") and "needed" in said.message, said.message
    assert files(saving.base) | folders(saving.base) == before
    assert not Path("/tmp/outside").exists() and not list(saving.base.parent.glob("outside*"))
