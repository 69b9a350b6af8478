"""Outputs of commands: looked at before the work, never over what is read, kept, the same for one seed."""

import os
import resource
import signal
from pathlib import Path

import pytest
import refvid_films as films
import refvid_tiny as tiny
import torch

from refvid import cli, media
from refvid.core.files import MARK
from refvid.evidence import showcase
from refvid.hosts.plain import long_video, pipeline
from refvid.media import film_writing, outputs

FRAMES = films.pictures(5)
VIDEO = torch.from_numpy(FRAMES).movedim(-1, 0).float() / 127.5 - 1


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder, sizes = tmp_path_factory.mktemp("models"), tiny.config()
    tiny.save_models(folder, sizes, width=48, height=32, frames=5, steps=2)
    return folder


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder of a user's: a film, a picture, and a folder of frames."""
    films.write(tmp_path / "film.mp4", FRAMES, pixels="yuv420p")
    media.write_picture(tmp_path / "toy.png", torch.rand(16, 16, 3))
    for number, frame in enumerate(FRAMES):
        media.write_picture(tmp_path / "frames" / f"{number}.png", torch.from_numpy(frame) / 255)
    return tmp_path


def said(capsys, *arguments: object, code: int = 2) -> str:
    """The one line in which a command ends."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(one) for one in arguments])
    assert stopped.value.code == code
    (line,) = [one for one in capsys.readouterr().err.splitlines() if one.startswith("refvid: ")]
    return line


@pytest.fixture
def no_work(monkeypatch):
    """Whatever loads a model fails the test."""
    for module, name in ((pipeline, "load_pipeline"), (pipeline, "generate")):
        monkeypatch.setattr(module, name, lambda *_, **__: pytest.fail("work was begun"))
    monkeypatch.setattr(
        "refvid.backbones.wan.loading.load_dit", lambda *_, **__: pytest.fail("work was begun")
    )


GENERATE = ("generate", "--prompt", "a toy")
LONG = ("long", "--prompt", "a toy", "--keys", "3", "--stride", "4")
EDIT = ("edit", "--video", showcase.SCENE, "--instruction", "make it red")
IDENTITY = ("identity", "make", "--video", showcase.SAMPLE_FILM)
ENDINGS = {"identity": ".safetensors", "inspect": ".png"}
INSPECT = ("inspect", "--reference", showcase.SAMPLE_PICTURE)


@pytest.mark.parametrize("command", [GENERATE, LONG, EDIT, INSPECT, IDENTITY], ids=lambda one: one[0])
@pytest.mark.parametrize(
    ("out", "says"),
    [
        ("frames", "frames"),
        ("toy.png/x", "cannot be written"),
        ("x.txt", "ends in .txt; needed a"),
        ("x.mp5", "ends in .mp5; needed a"),
        ("n" * 300, "cannot be written"),
        ("/proc/refvid", "cannot be written"),
        ("/dev/full/x", "cannot be written"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    place, capsys, no_work, command, out, says
):
    if "." not in Path(out).name and out != "frames":
        out += ENDINGS.get(command[0], ".mp4")
    line = said(capsys, *command, "--out", place / out)
    assert line.startswith("refvid: --out: ") and says in line


@pytest.mark.parametrize(
    "command", [("demo",), ("score",), ("train", "vae"), ("ablate", "saber")], ids=" ".join
)
@pytest.mark.parametrize("out", ["toy.png", "toy.png/below", "/proc/refvid"])
def test_a_folder_that_cannot_be_made_is_refused_before_any_work(place, capsys, no_work, command, out):
    assert "cannot be written" in said(capsys, *command, "--out", place / out)


def test_looking_at_an_output_leaves_nothing_behind(place):
    before = sorted(place.rglob("*"))
    media.check_output(place / "new" / "deep" / "x.mp4", media.FILM, [], "--out")
    media.check_output(place / "other", media.FOLDER, [], "--out")
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("name", ["film.mp4", "./frames/../film.mp4", "linked.mp4", "hard.mp4"])
def test_the_film_that_is_edited_is_never_the_one_that_is_written(place, capsys, no_work, name):
    (place / "linked.mp4").symlink_to(place / "film.mp4")
    os.link(place / "film.mp4", place / "hard.mp4")
    before = (place / "film.mp4").read_bytes()
    line = said(capsys, "edit", "--video", place / "film.mp4", "--instruction", "x", "--out", place / name)
    assert "would take the place of" in line and (place / "film.mp4").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (("inspect", "--reference", "toy.png"), "toy.png"),
        (("inspect", "--reference", "toy.png", "--region", "frames"), "frames/1.png"),
        ((*GENERATE, "--given", "film.mp4@0"), "film.mp4"),
        ((*GENERATE, "--given", "frames/1.png@0"), "frames"),
        (("long", "--prompt", "x", "--from", "frames"), "frames"),
        (("long", "--prompt", "x", "--from", "film.mp4"), "film.mp4"),
        (("identity", "make", "--video", "film.mp4", "--routing", "toy.png", "--mask", "toy.png"), "x.safetensors"),
        (("identity", "make", "--video", "film.mp4"), cli.__file__.replace("cli/__init__.py", "demo/models/loras/refvid_demo_slot_id.safetensors")),
        (("generate", "--prompt", "film.mp4"), "film.mp4"),
    ],
)  # fmt: skip
def test_nothing_that_is_read_is_written_over(place, capsys, no_work, monkeypatch, arguments, out):
    monkeypatch.chdir(place)
    before = {file: file.read_bytes() for file in place.rglob("*") if file.is_file()}
    assert "would take the place of" in said(capsys, *arguments, "--out", out)
    assert {file: file.read_bytes() for file in place.rglob("*") if file.is_file()} == before


# ---- what was made is not lost


@pytest.fixture
def full(monkeypatch):
    """A disk on which a file ends after 2 kB."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, before[1]))
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".mov", ".gif", ".webp", ""])
def test_on_a_full_disk_the_old_file_stays_and_the_film_is_kept_elsewhere(place, monkeypatch, full, ending):
    noise = torch.rand(3, 5, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    target, elsewhere, real = (
        place / f"made{ending}",
        place / "elsewhere",
        film_writing._writer(Path(f"x{ending}")),
    )
    elsewhere.mkdir()
    if ending:
        target.write_bytes(b"older")
    monkeypatch.setattr(outputs.tempfile, "gettempdir", lambda: str(elsewhere))

    def writer(path):
        def write(frames, rate, sound, to):
            if to != target:
                full()
            real(frames, rate, sound, to)

        return write

    monkeypatch.setattr(film_writing, "_writer", writer)
    with pytest.raises(
        OSError, match=rf"--out: .*made{ending} could not be written .* is kept in {elsewhere}"
    ):
        media.write_video(target, noise, 8)
    assert target.read_bytes() == b"older" if ending else True
    (kept,) = elsewhere.glob(f"*/made{ending}")
    media.write_video(place / f"wanted{ending}", noise, 8)
    assert torch.equal(media.read_video(kept, "x"), media.read_video(place / f"wanted{ending}", "x"))
    assert not list(place.glob(".*"))


def test_a_film_that_no_format_takes_is_kept_as_pictures(place, monkeypatch):
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(outputs.tempfile, "gettempdir", lambda: str(elsewhere))
    with pytest.raises(OSError, match="is kept in"):
        media.write_video(place / "odd.mp4", VIDEO[..., :-1], 8)  # libx264 wants even sides
    (kept,) = elsewhere.glob("*/odd")
    assert (
        media.read_video(kept, "x") * 255 - torch.from_numpy(FRAMES[:, :, :-1]).float()
    ).abs().max() < 0.51


def test_a_command_whose_film_cannot_be_written_ends_in_one_line(models, place, capsys, monkeypatch):
    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(film_writing, "_film", broken)
    monkeypatch.setattr(outputs.tempfile, "gettempdir", lambda: str(place))
    line = said(capsys, *generate(models, place / "x.mp4"), code=1)
    assert "No space left on device" in line and "what was made is kept in" in line


def generate(models: Path, out: Path, *more: object) -> list[object]:
    files = ["--dit", models / "dit.safetensors", "--vae", models / "vae.safetensors"]
    files += ["--text-encoder", models / "text.safetensors", "--recipe", "saber", "--device", "cpu"]
    return [*GENERATE, *files, "--out", out, *more]


def test_generate_gives_one_film_for_one_seed(models, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        cli.main([str(one) for one in generate(models, tmp_path / name, "--seed", 3)])
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


# ---- folders that are ours


def test_a_folder_of_frames_is_written_anew_where_it_is_ours_and_refused_elsewhere(place, capsys, no_work):
    media.write_video(place / "made", VIDEO, 8)
    media.write_video(place / "made", VIDEO[:, :3], 8)
    assert sorted(file.name for file in (place / "made").iterdir()) == [
        "00000.png",
        "00001.png",
        "00002.png",
        MARK,
    ]
    (place / "made" / "mine.txt").write_text("notes")
    for folder in ("made", "frames"):
        assert "which is no frame of refvid's" in said(capsys, *GENERATE, "--out", place / folder)
    assert (place / "made" / "mine.txt").exists() and len(list((place / "frames").iterdir())) == 5


def test_parts_that_somebody_else_made_stay_and_are_refused(place, capsys, no_work):
    """A folder mine.parts, with everything in it, was deleted at the end of a run."""
    (place / "mine.parts").mkdir()
    (place / "mine.parts" / "thesis.txt").write_text("years")
    assert "holds files and no mark" in said(capsys, *LONG, "--out", place / "mine.mp4")
    assert (place / "mine.parts" / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize("mark", ["", '{"kind": "parts of a l', "[]", "null"])
def test_a_mark_that_is_not_whole_marks_nothing(place, mark):
    folder = place / "x.parts"
    folder.mkdir()
    (folder / MARK).write_text(mark)
    parts = long_video.FinishedParts(folder, "a run")
    parts.kept("keys", lambda: torch.zeros(1, 2, 2, 3))
    (folder / MARK).write_text(mark)
    with pytest.raises(ValueError, match="holds files and no mark"):
        long_video.FinishedParts(folder, "a run")


def test_what_somebody_put_among_our_parts_stays(tmp_path):
    parts = long_video.FinishedParts(tmp_path / "x.parts", "a run")
    with parts.kept_on_failure():
        parts.kept("keys", lambda: torch.zeros(1, 2, 2, 3))
        (tmp_path / "x.parts" / "notes.txt").write_text("mine")
    assert [file.name for file in (tmp_path / "x.parts").iterdir()] == ["notes.txt"]


def test_a_damaged_part_is_made_again_and_that_is_said(tmp_path, caplog):
    parts = long_video.FinishedParts(tmp_path / "x.parts", "a run")
    made = torch.rand(2, 8, 8, 3)
    first = parts.kept("segment-000", lambda: made)
    file = tmp_path / "x.parts" / "segment-000.safetensors"
    file.write_bytes(file.read_bytes()[:90])
    assert (
        torch.equal(parts.kept("segment-000", lambda: made), first)
        and "is damaged and made again" in caplog.text
    )
    assert torch.equal(parts.kept("segment-000", lambda: torch.zeros(2, 8, 8, 3)), first)


# ---- signals


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_in_one_line_and_keeps_finished_parts(
    models, tmp_path, capsys, caplog, monkeypatch, number, code, word
):
    real, handler = long_video.generate, signal.getsignal(signal.SIGTERM)
    # A shell starts what runs in its background with SIGINT ignored, the tests too.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def stopped(backbone, request, progress=None):
        if request.given is not None:  # the second part
            os.kill(os.getpid(), number)
        return real(backbone, request, progress)

    monkeypatch.setattr(long_video, "generate", stopped)
    command = ["long", *generate(models, tmp_path / "x.mp4", "--keys", 3, "--stride", 4)[1:]]
    try:
        assert said(capsys, *command, code=code) == f"refvid: {word}"
    finally:
        signal.signal(signal.SIGINT, before)
    assert "1 finished parts are kept in" in caplog.text and signal.getsignal(signal.SIGTERM) is handler
    assert sorted(file.name for file in tmp_path.rglob("*")) == sorted(["x.parts", MARK, "keys.safetensors"])


def test_a_signal_while_a_long_video_is_written_keeps_its_parts(models, tmp_path, capsys, monkeypatch):
    def stopped(*_):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(film_writing, "_film", stopped)
    said(capsys, "long", *generate(models, tmp_path / "x.mp4", "--keys", 3, "--stride", 4)[1:], code=143)
    assert len(list((tmp_path / "x.parts").glob("*.safetensors"))) == 3


def test_a_signal_while_a_film_is_written_leaves_no_half_of_it(models, tmp_path, capsys, monkeypatch):
    real = film_writing._encoded

    def stopped(stream, frames):
        yield from real(stream, frames[:2])
        os.kill(os.getpid(), signal.SIGTERM)
        yield from ()

    monkeypatch.setattr(film_writing, "_encoded", stopped)
    said(capsys, *generate(models, tmp_path / "x.mp4"), code=143)
    assert not list(tmp_path.iterdir())
