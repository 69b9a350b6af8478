"""Full disks: what cannot be written is named, what was there before stays whole, and nothing half-written
lies beside it."""

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import refvid_patience as patience
import refvid_runs
import refvid_tiny as tiny
import torch
from refvid_clips import write_folder
from refvid_disk import filled, full, partials, writes
from refvid_kills import differing, held
from refvid_soak import amount
from torch import Tensor

from refvid import cli, media
from refvid.backbones.wan.geometry import WAN
from refvid.core.adapter import load_adapter, save_adapter
from refvid.core.checkpoint import save_model, write_tensors
from refvid.core.files import claim, write_text
from refvid.core.identity import Identity, save_identity
from refvid.core.long_video import LongVideo
from refvid.demo import models
from refvid.drawing.sheet import contact_sheet
from refvid.evidence import showcase
from refvid.evidence.runs import begin, kept
from refvid.evidence.trials import frames as evaluate_frames
from refvid.hosts.plain.long_video import FinishedParts
from refvid.media.outputs import PICTURE, written
from refvid.training.engine.cache import PART, Rows, cached_rows
from refvid.training.engine.state import RunFiles

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),  # forks
    pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight"),
    pytest.mark.timeout(amount(patience.TEST, patience.SOAK)),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return refvid_runs.make_base(tmp_path_factory.mktemp("base"))


# ---- every writer


@dataclass(frozen=True)
class Ones(Rows):
    value: Tensor


def a_picture(ending: str) -> Callable[[Path], object]:
    picture = torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(0))
    return lambda folder: media.write_picture(folder / f"made{ending}", picture)


def a_sheet(folder: Path) -> None:
    cell = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    contact_sheet([[cell]], ["a toy"], folder / "made.png")


def an_adapter(folder: Path) -> None:
    adapter = load_adapter(models.SLOT_ID, WAN)
    save_adapter(adapter.config, adapter.encoder, adapter.lora, folder / "made.safetensors")


def an_identity(folder: Path) -> None:
    made = Identity(torch.ones(2, 8), torch.ones(3, 8), "0123456789ab", torch.zeros(4, 4, 3))
    save_identity(made, folder / "made.safetensors")


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda folder: write_text(folder / "made.txt", "who someone is " * 9),
    "tensors": lambda folder: write_tensors({"a": torch.ones(9)}, folder / "made.safetensors", {}),
    "a model": lambda folder: save_model({"a": torch.ones(9)}, folder / "made.safetensors"),
    "an adapter": an_adapter,
    "an identity": an_identity,
    "a sheet": a_sheet,
    **{f"a picture {ending}": a_picture(ending) for ending in PICTURE.endings},
    "a mark": lambda folder: claim(folder, "runs", "this", "--out"),
    "a part": lambda folder: FinishedParts(folder, "x").kept("keys", lambda: torch.zeros(1, 2, 2, 3)),
    "values": lambda folder: kept(folder, "this", lambda: {"a": {"b": torch.ones(9)}}),
    "what a run is begun by": lambda folder: begin(folder, {"config": {"steps": 2}}, RunFiles("toy", ())),
    "clips": lambda folder: cached_rows(Ones, folder, "toy", PART, "x", lambda part: Ones(torch.ones(PART))),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer_names_its_file_and_leaves_what_was_there(tmp_path, name):
    work, whole = WRITERS[name], tmp_path / "whole"
    whole.mkdir()
    work(whole)
    wanted = held(whole)
    # Somebody's clips, and parts without a mark, are refused before anything is written.
    olds = [b""] if name in ("clips", "a part", "a mark") else [b"", b"older"]
    for file, old in itertools.product(wanted, olds):
        (folder := tmp_path / f"{file} {len(old)}").mkdir()
        if old:
            (folder / file).write_bytes(old)
        with full((whole / file).stat().st_size // 2), pytest.raises(OSError, match=file) as error:
            work(folder)
        assert str(folder / file) in str(error.value) and partials(folder) == []
        assert (folder / file).read_bytes() == old if old else not (folder / file).exists()
        work(folder)
        assert differing(held(folder), wanted) == []


def test_the_files_for_comfyui_are_copied_one_by_one_and_the_rest_stays(tmp_path, capsys):
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "mine.png").write_bytes(b"mine")
    with full(1000), pytest.raises(SystemExit, match="1"):
        cli.main(["comfyui-files", "--dest", str(tmp_path)])
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("refvid: ") and str(tmp_path) in line and partials(tmp_path) == []
    assert {name: file for name, file in held(tmp_path).items() if len(file) >= 1000} == {}
    cli.main(["comfyui-files", "--dest", str(tmp_path)])
    assert (tmp_path / "input" / "mine.png").read_bytes() == b"mine"


# ---- every command


def command(*arguments: object) -> Callable[[], None]:
    return lambda: cli.main([str(one) for one in arguments])


def commands(base, clips: Path) -> dict[str, Callable[[Path], object]]:
    """Writers of the command line, as functions of a folder, with the demo's model being a tiny one."""
    dit = ("--dit", base.dit, "--vae", base.vae, "--text-encoder", base.text_encoder, "--device", "cpu")
    size = ("--width", 32, "--height", 32, "--steps", 1)
    asked = (*dit, *size, "--recipe", "saber", "--prompt", "a toy")
    score = ("score", "--toys", 2, "--out")
    made: dict[str, tuple] = {
        "generate": ("generate", *asked, "--frames", 5, "--out", "x.mp4"),
        "generate frames": ("generate", *asked, "--frames", 5, "--out", "x"),
        "long": ("long", *asked, "--keys", 3, "--stride", 4, "--out", "x.mp4"),
        "edit": ("edit", "--video", showcase.SCENE, "--instruction", "x", *dit, *size, "--recipe", "in_context", "--out", "x.mp4"),
        "inspect": ("inspect", "--reference", showcase.SAMPLE_PICTURE, "--recipe", "saber", "--out", "x.png"),
        "identity make": ("identity", "make", "--video", showcase.SAMPLE_FILM, "--routing", "r.png", "--out", "x.safetensors"),
        "demo": ("demo", "--out", ""),
        "score": (*score, ""),
        "score --frames": (*score, "", "--frames", "--seeds", 1),
        "score --controls": (*score, "", "--controls"),
        "score --words": (*score, "", "--words"),
        "score --views": (*score, "", "--views"),
        "score --identity": (*score, "", "--identity"),
        "score --edits": (*score, "", "--edits"),
        "score FOLDER": ("score", clips, "--out", ""),
    }  # fmt: skip

    def run(arguments: tuple) -> Callable[[Path], object]:
        outputs = [place + 1 for place, one in enumerate(arguments) if one in ("--out", "--routing")]
        return lambda folder: command(
            *(folder / one if place in outputs else one for place, one in enumerate(arguments))
        )()

    return {name: run(arguments) for name, arguments in made.items()}


COMMANDS = (
    "generate", "generate frames", "long", "edit", "inspect", "identity make", "demo", "score", "score --frames", "score --controls",
    "score --words", "score --views", "score --identity", "score --edits", "score FOLDER",
)  # fmt: skip
TRAINERS = ("vae", "dit", "slot_id", "sama", "videomaker")
ABLATIONS = tuple(f"ablate {name}" for name in ("saber", "frames", "slot_id", "sama", "videomaker"))

SLOW = ("score --frames", *ABLATIONS)


@pytest.fixture
def works(base, tmp_path_factory, monkeypatch) -> dict[str, Callable[[Path], object]]:
    refvid_runs.small(monkeypatch)
    monkeypatch.setattr(evaluate_frames, "LONG_TOYS", 2)
    monkeypatch.setattr(evaluate_frames._long, "__defaults__", (LongVideo(4, 6, 8),))
    for part in ("DIT", "VAE", "TEXT_ENCODER"):
        monkeypatch.setattr(models, part, getattr(base, part.lower()))
    adapters = tmp_path_factory.mktemp("adapter")
    monkeypatch.setattr(models, "SLOT_ID", tiny.save_adapter(adapters, refvid_runs.SIZES))
    save_model(tiny.semantic_state(refvid_runs.SIZES.width), adapters / "sama.safetensors")
    monkeypatch.setattr(models, "SAMA", adapters / "sama.safetensors")
    clips = write_folder(tmp_path_factory.mktemp("clips"))
    return {**refvid_runs.runs(base), **commands(base, clips)}


@pytest.mark.parametrize("name", amount(("inspect", "long"), (*COMMANDS, *TRAINERS, *ABLATIONS)))
def test_a_disk_that_fills_up_ends_a_command_in_one_line_and_loses_nothing(
    works, tmp_path, monkeypatch, name
):
    work, whole = works[name], tmp_path / "whole"
    whole.mkdir()
    count = writes(lambda: work(whole))
    wanted = held(whole)
    for at in range(0, count, max(1, count // amount(2, 4 if name in SLOW else 12))):
        (folder := tmp_path / f"{at}").mkdir()
        code, line = filled(lambda folder=folder: work(folder), at)
        # Parts of the long videos that are scored lie in a folder of the system's.
        named = str(folder) in line or (name == "score --frames" and tempfile.gettempdir() in line)
        assert code == 1 and line.startswith("refvid: ") and named, (at, code, line)
        assert partials(folder) == []
        left = held(folder)  # whole, or they could not be read
        done = {one for one in left if one in wanted and left[one] == wanted[one]}
        assert all(one in done or "-run" in one or ".parts/" in one for one in left), (at, sorted(left))
        work(folder)
        assert differing(held(folder), wanted) == [], at


def test_where_nothing_can_be_written_anywhere_no_folder_stays(tmp_path, monkeypatch):
    def begun(path: Path) -> None:
        path.with_suffix(".part").write_bytes(b"half")
        raise OSError(28, "full")

    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    (place := tmp_path / "place").mkdir()
    with pytest.raises(OSError, match="full"):
        written(place / "x.png", begun)
    assert [one.name for one in tmp_path.iterdir()] == ["place"]
