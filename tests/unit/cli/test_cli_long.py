"""`refvid long`: key pictures, segments between them, a run that was stopped, a clip at twice its rate."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import refvid_tiny as tiny
import torch

from refvid import cli, media
from refvid.backbones.wan.geometry import WAN_2_1
from refvid.core.long_video import LongVideo
from refvid.hosts.plain import long_video as plain_long_video
from refvid.hosts.plain.pipeline import Request, Settings

SIDE, STEPS = 32, 2


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    folder, sizes = tmp_path_factory.mktemp("models"), tiny.config()
    tiny.save_dit(folder, "dit.safetensors", sizes, tiny.dit_state(sizes), recipe="saber")
    tiny.save_vae(folder, width=4)
    tiny.save_text_encoder(folder)
    picture = torch.rand(3, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))
    for index, one in enumerate(picture):
        media.write_picture(folder / "clip" / f"{index}.png", one)
    return folder


def long(models: Path, out: Path, *more: object) -> torch.Tensor:
    """The frames of the long video, (F, H, W, 3)."""
    files = ["--dit", models / "dit.safetensors", "--vae", models / "vae.safetensors"]
    files += ["--text-encoder", models / "text.safetensors", "--device", "cpu", "--out", out]
    size = ["--width", SIDE, "--height", SIDE, "--steps", STEPS, "--prompt", "a toy"]
    cli.main(["long", *map(str, [*files, *size, *more])])
    return media.read_video(out, "made")


def refused(capsys, models: Path, out: Path, *more: object) -> str:
    with pytest.raises(SystemExit, match="2"):
        long(models, out, *more)
    return capsys.readouterr().err


@pytest.fixture
def asked(monkeypatch) -> list[Request]:
    """Videos that are generated, as they are asked for."""
    requests, real = [], plain_long_video.generate

    def generate(backbone, request, progress=None):
        requests.append(request)
        return real(backbone, request, progress)

    monkeypatch.setattr(plain_long_video, "generate", generate)
    return requests


def test_a_run_that_was_stopped_goes_on_and_makes_what_one_without_a_stop_does(
    models, tmp_path, asked, monkeypatch
):
    plan = ("--keys", 3, "--stride", 4, "--between-prompt", "a toy moving")
    whole = long(models, tmp_path / "whole.mp4", *plan)
    assert len(whole) == 2 * 4 and not (tmp_path / "whole.parts").exists()
    assert [(one.prompt, one.settings.frames) for one in asked] == [("a toy", 5), *[("a toy moving", 9)] * 2]
    counted, real = asked.copy(), plain_long_video.generate
    asked.clear()

    def breaks(backbone, request, progress=None):
        if len(asked) == 2:
            raise RuntimeError("out of memory")
        return real(backbone, request, progress)

    with monkeypatch.context() as patch:
        patch.setattr(plain_long_video, "generate", breaks)
        with pytest.raises(RuntimeError, match="out of memory"):
            long(models, tmp_path / "stopped.mp4", *plan)
    assert not (tmp_path / "stopped.mp4").exists()
    again = long(models, tmp_path / "stopped.mp4", *plan)
    assert len(asked) == len(counted)  # nothing twice
    assert torch.equal(again, whole)


@pytest.mark.parametrize("clock", ["own", "shared"])
def test_a_segment_is_asked_for_between_its_two_keys_by_its_own_prompt_and_clock(
    models, tmp_path, asked, clock
):
    plan = ("--keys", 3, "--stride", 4, "--between-prompt", "a toy moving", "--clock", clock)
    long(models, tmp_path / "x.mp4", *plan)
    keys, *segments = asked
    assert keys.given is None and keys.prompt == "a toy"
    assert [(one.prompt, one.given.clock, one.given.indices) for one in segments] == [
        ("a toy moving", clock, [0, 8])
    ] * 2
    first, second = (one.given.pictures for one in segments)
    assert torch.equal(first[1], second[0]) and not torch.equal(first[0], second[1])


def test_parts_of_another_run_are_refused_and_kept(models, tmp_path, capsys, asked):
    parts = tmp_path / "x.parts"
    plain_long_video.FinishedParts(parts, "another run").kept("keys", lambda: torch.zeros(1, 2, 2, 3))
    said = refused(capsys, models, tmp_path / "x.mp4", "--keys", 2, "--stride", 4)
    assert "x.parts holds parts of a long video made otherwise; delete it" in said
    assert (parts / "keys.safetensors").exists() and not asked


def test_the_pictures_of_a_clip_at_twice_its_rate(models, tmp_path, asked):
    made = long(models, tmp_path / "x.mp4", "--from", models / "clip", "--stride", 4, "--keep", 2)
    assert len(made) == 2 * 2
    given = media.read_video(models / "clip", "clip")
    for index, request in enumerate(asked):
        assert torch.equal(request.given.pictures, given[index : index + 2])
        assert request.given.indices == [0, 8] and request.settings.frames == 9


def test_one_bar_counts_the_steps_of_all_runs(tmp_path, monkeypatch):
    def generate(backbone, request, progress):
        for step in range(1, STEPS + 1):
            progress(step, STEPS)
        return torch.zeros(3, request.settings.frames, 2, 2)

    monkeypatch.setattr(plain_long_video, "generate", generate)
    settings = Settings(width=2, height=2, steps=STEPS)
    request, told = Request("a toy", settings), []
    plan, backbone = LongVideo(4, 3, 4), SimpleNamespace(dit=SimpleNamespace(geometry=WAN_2_1))
    for _ in range(2):  # the second time everything is there
        parts = plain_long_video.FinishedParts(tmp_path, "one run")
        plain_long_video.generate_long(backbone, plan, request, request, parts, lambda *one: told.append(one))  # pyright: ignore[reportArgumentType]
    once, twice = told[: 3 * (STEPS + 1)], told[3 * (STEPS + 1) :]
    assert [of for _, of in told] == [3 * STEPS] * len(told)
    assert sorted({done for done, _ in once}) == list(range(1, 3 * STEPS + 1))
    assert [done for done, _ in twice] == [STEPS, 2 * STEPS, 3 * STEPS]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (("--keys", 1), "keys is 1; a long video needs 2"),
        (("--stride", 6), "stride is 6; needed a multiple of 4"),
        (("--stride", 4, "--keep", 3), "keep is 3; needed a number that divides the stride 4"),
        (("--from", "clip", "--keys", 4), "keys is 4, but the clip has 3 pictures"),
        (("--from", "nothing.mp4"), "--from: there is no file"),
    ],
)
def test_plans_that_make_no_sense_are_refused_before_a_model_is_loaded(
    models, tmp_path, capsys, monkeypatch, said, message
):
    monkeypatch.chdir(models)
    (models / "dit.safetensors").rename(models / "away")
    try:
        assert message in refused(capsys, models, tmp_path / "x.mp4", *said)
    finally:
        (models / "away").rename(models / "dit.safetensors")
