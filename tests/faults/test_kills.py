"""kill -9 in everything that trains, and in `refvid long`: what is done again makes bit for bit what nothing
disturbed makes."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import refvid_patience as patience
import refvid_runs
from refvid_kills import counted, differing, held, killed, killed_again_and_again
from refvid_small_lora import SmallLora, train_small
from refvid_soak import amount

from refvid import cli
from refvid.core import checkpoint
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


def test_killed_twenty_times_at_random_a_lora_of_two_batches_a_step_ends_in_the_same_bits(tmp_path):
    """AdamW's state with it. Every second kill is inside a save: a file is cut short, or changes its name."""
    train_small(tmp_path / "whole")
    wanted, chance, kills = held(tmp_path / "whole"), np.random.default_rng(0), 0
    for turn in range(20):
        folder = tmp_path / f"{turn}"
        kills += killed_at(folder, turn % 2 == 0, int(chance.integers(12)), int(chance.integers(1, 99)))
        train_small(folder, resume=True)
        assert differing(held(folder), wanted) == [], turn
    assert kills == 20


def killed_at(folder: Path, inside: bool, place: int, percent: int) -> bool:
    """A run that is killed: in a batch, or inside a write that is cut short, or at a change of a name."""

    def in_a_batch(batch, losses):
        if batch.turn == place:
            os.kill(os.getpid(), signal.SIGKILL)
        return losses

    def in_a_write() -> None:
        save, left = checkpoint.save_file, [place // 2]

        def cut(tensors, path, metadata):
            save(tensors, path, metadata)
            left[0] -= 1
            if left[0] < 0:
                os.truncate(path, path.stat().st_size * percent // 100)
                os.kill(os.getpid(), signal.SIGKILL)

        checkpoint.save_file = cut  # of a process that ends
        train_small(folder)

    log = folder.with_suffix(".log")
    if not inside:
        return killed(lambda: train_small(folder, method=SmallLora(in_a_batch)), None, log)
    if place % 3 == 0:
        return killed(lambda: train_small(folder), place, log)
    return killed(in_a_write, None, log)
