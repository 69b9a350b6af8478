"""Samples of a run: a sheet a turn, with the references beside what is made without and with them."""

import json
import logging
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from refvid.training.engine.loop import Update
from refvid.training.reports import samples
from refvid.training.reports.log import LOG, RunLog
from refvid.training.reports.samples import SHEETS, TITLES, Samples, sample_row

UPDATE = Update(1.0, 1.0)
HEIGHT, WIDTH = 24, 40


def flat(value: float, frames: int | None = None, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    return torch.full((3, height, width) if frames is None else (3, frames, height, width), value)


class Plain:
    """Sampler whose cells are of one grey each: references, clip, without, with."""

    captions = ("a red toy", "a caption\nof two lines, " + "long " * 60)

    def __init__(self, height: int = HEIGHT, width: int = WIDTH):
        self.size = {"height": height, "width": width}

    def reference(self, row: int) -> Tensor:
        return flat(-1.0, **self.size)

    def truth(self, row: int) -> Tensor:
        return flat(-0.5, 5, **self.size)

    def sample(self, row: int, with_references: bool) -> Tensor:
        assert not torch.is_grad_enabled()
        return flat(1.0 if with_references else 0.5, 5, **self.size)


def begun(folder: Path, sampler: Plain, steps: int = 5, every: int = 2) -> Samples:
    log = RunLog(folder)
    log.begin(0)
    report = Samples(sampler, log, steps, every)
    report.before(0)
    return report


def test_a_sheet_is_drawn_every_so_many_steps_and_after_the_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = begun(tmp_path, Plain())
    with caplog.at_level(logging.INFO):
        for done in range(1, 6):
            report.after(done, [], UPDATE)
    assert sorted(path.name for path in (tmp_path / SHEETS).iterdir()) == ["2.jpg", "4.jpg", "5.jpg"]
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [(line["kind"], line["step"], line["sheet"]) for line in lines] == [
        ("sample", step, f"{SHEETS}/{step}.jpg") for step in (2, 4, 5)
    ]
    assert all((tmp_path / line["sheet"]).is_file() and line["seconds"] >= 0 for line in lines)
    assert len(caplog.records) == 3


def test_a_row_is_the_references_the_clip_and_what_is_made_without_and_with_them() -> None:
    cells = sample_row(Plain(), 0)
    assert len(cells) == len(TITLES)
    assert [cell.mean().item() for cell in cells] == [-1.0, -0.5, 0.5, 1.0]
    assert cells[0].shape == (3, HEIGHT, WIDTH) and cells[3].shape == (3, 5, HEIGHT, WIDTH)
    assert torch.is_grad_enabled()


def test_large_pictures_are_shrunk_to_a_cell_and_small_ones_stay() -> None:
    cells = sample_row(Plain(height=480, width=832), 0)
    assert cells[0].shape == (3, 160, 277) and cells[1].shape == (3, 5, 160, 277)
    assert [round(cell.mean().item(), 5) for cell in cells] == [-1.0, -0.5, 0.5, 1.0]


def test_shrinking_mixes_no_channels_and_no_frames() -> None:
    film = torch.arange(6.0).view(3, 2, 1, 1).expand(3, 2, 320, 64) / 6
    shrunk = samples._fitted(film)
    assert torch.allclose(shrunk, film[..., :160, :32])


def test_a_sheet_shows_the_columns_in_order_and_is_no_wider_for_a_long_caption(tmp_path: Path) -> None:
    begun(tmp_path, Plain(height=96, width=160), steps=1).after(1, [], UPDATE)
    with Image.open(tmp_path / SHEETS / "1.jpg") as sheet:
        assert sheet.format == "JPEG"
        greys = sheet.convert("L")
    middle = [greys.getpixel((place, 60)) for place in range(greys.width)]
    seen = [min((0, 64, 191, 255), key=lambda grey: abs(grey - one)) for one in middle]
    order = [grey for before, grey in zip([255, *seen], seen, strict=False) if grey != before]
    # the references, three frames of the clip, three without; the seams and what is made with them are white
    assert [grey for grey in order if grey != 255] == [0, 64, 64, 64, 191, 191, 191]
    assert greys.width < 10 * (160 + 6) + 40


def test_no_steps_between_sheets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sample_every is 0"):
        Samples(Plain(), RunLog(tmp_path), 5, 0)
