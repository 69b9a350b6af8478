"""Previews of a run of Slot-ID: when they are drawn, of what, in which size."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from refvid.core.slots import SlotsConfig
from refvid.demo.runs import smoke_slots
from refvid.evidence import preview
from refvid.evidence.preview import slot_previews
from refvid.training.engine.loop import Update
from refvid.training.methods.slot_id.config import Meeting

MEETINGS = (Meeting("alone", 1, 64, 4, frames=5), Meeting("pair", 2, 64, 4, frames=9))
CONFIG = replace(smoke_slots(), meetings=MEETINGS, size=32, preview_every=3)


@pytest.fixture
def drawn(monkeypatch) -> list:
    """Sheets that would be drawn: the backbone's sizes, the trial, the encoder, the file's name."""
    sheets: list = []

    def draw(backbone, trial, encoder, _readings, path) -> None:
        sizes = backbone.settings
        sheets.append(((sizes.width, sizes.height, sizes.frames), trial, encoder, path))

    def trial(toys: int, sizes, slots: SlotsConfig):
        return toys, (sizes.width, sizes.height, sizes.frames), slots

    monkeypatch.setattr(preview, "identity_sheet", draw)
    monkeypatch.setattr(preview.identity, "IdentityTrial", trial)
    monkeypatch.setattr(preview, "replace", lambda one, **given: SimpleNamespace(**{**vars(one), **given}))
    return sheets


def test_a_sheet_is_drawn_after_every_so_many_steps_in_the_size_of_the_first_clips(tmp_path, drawn):
    backbone = SimpleNamespace(settings=SimpleNamespace(width=64, height=64, frames=17, steps=4))
    trainee = SimpleNamespace(encoder="as it stands")
    shown = slot_previews(CONFIG, tmp_path)(backbone, trainee)  # type: ignore[arg-type]
    for done in range(1, 8):
        shown.after(done, (), Update(1.0, 1.0))
    sizes, names = (32, 32, 5), ["slot_id-00003.png", "slot_id-00006.png"]
    wanted = (sizes, (4, sizes, CONFIG.slots), "as it stands")
    assert drawn == [(*wanted, tmp_path / name) for name in names]


def test_every_column_of_a_sheet_is_of_the_reading_that_it_names(tmp_path, monkeypatch):
    columns, identity = {}, preview.identity
    trial = SimpleNamespace(videos=[], truth="truth", prompts=["a toy"])
    monkeypatch.setattr(identity, "read_tokens", lambda _, __, ___, how: how)
    monkeypatch.setattr(identity, "clips_of_identity", lambda _, __, read, noise: (read, noise))
    monkeypatch.setattr(preview, "column_sheet", lambda drawn, *_, **__: columns.update(drawn))
    backbone, encoder = SimpleNamespace(vae=None), SimpleNamespace(nobody=lambda: "nobody")
    shown = ("own video", "slots alone", "nobody")
    preview.identity_sheet(backbone, trial, encoder, shown, tmp_path / "x.png")  # type: ignore[arg-type]
    for name in shown:
        assert columns[name] == (identity.Known(identity.READINGS[name], "nobody"), 0)  # type: ignore[arg-type]
