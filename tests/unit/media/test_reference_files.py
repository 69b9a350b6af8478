"""Masked references as PNGs: what was saved comes back, and what a file may say instead is one sentence."""

import json

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from refvid import media
from refvid.core.controls import Controls, FrameWindow, StepWindow
from refvid.core.references import Reference, make_reference
from refvid.media import reference_files
from refvid.media.reference_files import REFERENCE_VERSION, TEXT_KEY, read_controls, write_reference

ASKED = Controls(1.375, StepWindow(0.125, 0.875, 0.1, 1 / 3), FrameWindow(3, 20), "video", True, 8.0, 0.333)


def reference(controls: Controls | None = None) -> Reference:
    numbers = torch.Generator().manual_seed(1)
    bytes_ = torch.randint(0, 256, (16, 24, 4), generator=numbers)
    return make_reference(bytes_[..., :3] / 255, bytes_[..., 3] / 255, controls, torch.ones(1, 8, 8))


def with_text(path, text: str):
    info = PngInfo()
    info.add_text(TEXT_KEY, text)
    Image.new("RGBA", (16, 16)).save(path, pnginfo=info)
    return path


def test_picture_mask_and_controls_come_back_to_the_bit(tmp_path):
    saved = reference(ASKED)
    write_reference(tmp_path / "a.png", saved)
    values = media.read_picture(tmp_path / "a.png", "file")
    back = make_reference(values, None, read_controls(tmp_path / "a.png", "file"))
    assert torch.equal(back.picture, saved.picture) and torch.equal(back.mask, saved.mask)
    assert back.controls == ASKED


def test_colours_under_the_mask_stay(tmp_path):
    hidden = Reference(torch.full((8, 8, 3), 0.2), torch.zeros(8, 8))
    write_reference(tmp_path / "a.png", hidden)
    assert torch.equal(media.read_picture(tmp_path / "a.png", "file")[..., :3], hidden.picture)


def test_a_whole_picture_stays_whole(tmp_path):
    write_reference(tmp_path / "a.png", make_reference(torch.rand(9, 9, 3)))
    assert media.read_picture(tmp_path / "a.png", "file")[..., 3].eq(1).all()


def test_a_picture_that_is_no_saved_reference_asks_for_nothing(tmp_path):
    media.write_picture(tmp_path / "a.png", torch.rand(9, 9, 4))
    assert read_controls(tmp_path / "a.png", "file") is None


def test_later_fields_may_be_missing(tmp_path):
    said = json.dumps({"version": REFERENCE_VERSION, "controls": {"strength": 2, "steps": {"end": 0.5}}})
    found = read_controls(with_text(tmp_path / "a.png", said), "file")
    assert found == Controls(2, StepWindow(0, 0.5))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "nests too deep"),
        ("[]", "this refvid reads version 1"),
        (json.dumps({"version": REFERENCE_VERSION + 1, "controls": {}}), "Update it"),
        (
            json.dumps({"version": REFERENCE_VERSION, "controls": {}, "more": 1}),
            "this refvid reads version 1",
        ),
        (json.dumps({"version": REFERENCE_VERSION, "controls": []}), "cannot be used"),
        (json.dumps({"version": REFERENCE_VERSION, "controls": {"power": 1}}), "'power' is none of strength"),
        (json.dumps({"version": REFERENCE_VERSION, "controls": {"strength": -1}}), "strength is -1"),
        (
            json.dumps({"version": REFERENCE_VERSION, "controls": {"strength": float("nan")}}),
            "strength is nan",
        ),
        (json.dumps({"version": REFERENCE_VERSION, "controls": {"strength": "1"}}), "strength is '1'"),
        (json.dumps({"version": REFERENCE_VERSION, "controls": {"soft": [1]}}), "soft is [1]"),
        (json.dumps({"version": REFERENCE_VERSION, "controls": {"frames": {"last": 2.5}}}), "last is 2.5"),
        (json.dumps({"version": REFERENCE_VERSION, "controls": {"steps": 3}}), "3 is none of start"),
    ],
)
def test_what_a_text_may_say_is_refused_in_a_sentence(tmp_path, text, said):
    with pytest.raises(ValueError, match=r"^picture: a\.png: ") as refused:
        read_controls(with_text(tmp_path / "a.png", text), "picture")
    assert said in str(refused.value) and len(str(refused.value)) < 300


def test_a_text_that_grows_is_refused(tmp_path):
    info = PngInfo()
    info.add_text(TEXT_KEY, "x" * 50_000_000, zip=True)
    Image.new("RGBA", (16, 16)).save(tmp_path / "a.png", pnginfo=info)
    with pytest.raises(ValueError, match="picture: "):
        read_controls(tmp_path / "a.png", "picture")


def test_a_file_that_cannot_be_written_whole_leaves_what_was_there(tmp_path, monkeypatch):
    write_reference(tmp_path / "a.png", reference())
    before = (tmp_path / "a.png").read_bytes()

    def full(*_):
        raise OSError("no room")

    monkeypatch.setattr(reference_files, "to_bytes", full)
    with pytest.raises(OSError, match="no room"):
        write_reference(tmp_path / "a.png", reference(ASKED))
    assert [one.name for one in tmp_path.iterdir()] == ["a.png"] and (
        tmp_path / "a.png"
    ).read_bytes() == before
