"""kill -9 in everything that trains, and in `refvid long`: what is done again makes bit for bit what nothing
disturbed makes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import refvid_patience as patience
import refvid_runs
from refvid_kills import counted, differing, held, killed, killed_again_and_again
from refvid_soak import amount

from refvid import cli
from refvid.core.files import is_left

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # forks
    pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight"),
    pytest.mark.timeout(amount(patience.TEST, patience.SOAK)),
]
TRAINERS = ("vae", "dit", "slot_id", "sama", "videomaker")
ABLATIONS = tuple(f"ablate {name}" for name in ("saber", "frames", "slot_id", "sama", "videomaker"))
LONG = "long"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return refvid_runs.make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture
def works(base, monkeypatch) -> dict[str, Callable[[Path], object]]:
    """Work that is killed, as functions of a folder."""
    refvid_runs.small(monkeypatch)
    return {**refvid_runs.runs(base), LONG: lambda folder: make_long(base, folder / "x.mp4")}


def make_long(base, out: Path) -> None:
    files = ["--dit", base.dit, "--vae", base.vae, "--text-encoder", base.text_encoder, "--device", "cpu"]
    size = ["--width", 32, "--height", 32, "--steps", 1, "--recipe", "saber", "--prompt", "a toy"]
    cli.main([str(one) for one in ("long", *files, *size, "--keys", 3, "--stride", 4, "--out", out)])


def whole(work, folder: Path) -> tuple[dict[str, object], int]:
    """Contents of a folder after an undisturbed run, and how often it changes on the way."""
    folder.mkdir()
    with counted() as seen:
        work(folder)
    return held(folder), len(seen)


@pytest.mark.parametrize("name", amount(("videomaker",), (*TRAINERS, *ABLATIONS, LONG)))
def test_killed_again_and_again_it_ends_in_the_same_bits(works, tmp_path, name):
    work = works[name]
    wanted, changes = whole(work, tmp_path / "whole")
    (folder := tmp_path / "killed").mkdir()
    kills = killed_again_and_again(lambda: work(folder), tmp_path / "said")
    assert kills > 1 and changes > 1
    # Several ablations may write into one folder at once, so what is left of its mark and its reports stays.
    shared = {one for one in held(folder) if name in ABLATIONS and is_left(one)}
    assert set(differing(held(folder), wanted)) == shared


@pytest.mark.parametrize("name", amount((LONG,), (*TRAINERS, LONG)))
def test_killed_once_at_any_moment_it_ends_in_the_same_bits(works, tmp_path, name):
    work = works[name]
    wanted, changes = whole(work, tmp_path / "whole")
    for moment in range(amount(2, 0), 2 * changes, amount(8, 1)):
        (folder := tmp_path / f"{moment}").mkdir()
        assert killed(lambda folder=folder: work(folder), moment, tmp_path / "said")
        work(folder)
        assert differing(held(folder), wanted) == [], moment
