"""The table of the kernels' tiles: read as it was written, or refused by its entry."""

import json
from pathlib import Path

import pytest

from refvid.kernels import tiles
from refvid.kernels.tiles import ARCHITECTURES, plan_for, read_table, table_text

ROOT = Path(__file__).resolve().parents[3]


def test_the_table_of_tiles_reads_back_as_it_was_written():
    assert table_text(ARCHITECTURES) == tiles.TILES_FILE.read_text("utf-8")
    assert read_table(table_text(ARCHITECTURES)) == ARCHITECTURES
    assert plan_for((9, 0), 128, False) == ARCHITECTURES[90][128]
    assert plan_for((13, 7), 64, False) == ARCHITECTURES[86][64]
    assert plan_for((9, 0), 128, True) == tiles.WIDE_TILES
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert '"refvid.kernels" = ["tiles.json"]' in project, "a wheel needs it"


def changed(path: str, value) -> str:
    """The table with one value of it changed; None: the key is left out."""
    table = json.loads(tiles.TILES_FILE.read_text("utf-8"))
    *way, last = path.split("/") if path else [""]
    place = table
    for key in way:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return json.dumps(table)


BROKEN = {
    "no JSON": ("{", r"tiles\.json is no JSON"),
    "a list": ("[]", r"the table is \[\]"),
    "no fallback": (changed("86", None), "needed 86 in it"),
    "a head size": (changed("90/64", None), r"tiles\.json: 90 is .*; needed an object of head sizes 64 and 128"),
    "a kernel": (changed("90/64/keys", None), "90, head size 64 is .*; needed an object of forward, queries, keys"),
    "three numbers": (changed("80/128/forward", [1, 2, 3]), r"80, head size 128, forward is \[1, 2, 3\]"),
    "no power of two": (changed("80/128/keys", [48, 64, 8, 2]), r"80, head size 128, keys is \[48"),
    "a truth": (changed("80/128/keys", [64, 64, True, 2]), "80, head size 128, keys"),
    "too small": (changed("gfx942/64/queries", [8, 64, 4, 1]), "gfx942, head size 64, queries"),
    "no stage": (changed("80/128/keys", [64, 64, 8, 0]), "80, head size 128, keys"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_table_of_tiles_is_refused_by_its_entry(text, said):
    with pytest.raises(ValueError, match=said):
        read_table(text)
