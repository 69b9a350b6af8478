"""References on the command line: what their options make of a picture, and of a reference that was saved."""

import argparse

import pytest
import torch

from refvid import media
from refvid.cli.frames import add_frames, read_frames
from refvid.cli.reference import add_reference_options, read_references
from refvid.core.controls import FITS, Controls, FrameWindow, StepWindow
from refvid.core.fit import fitted_masks
from refvid.core.references import make_reference
from refvid.media.reference_files import write_reference

SAVED = Controls(0.5, StepWindow(0.125, 0.5), FrameWindow(1, 9), "video", True, 8.0, 0.25)
EVERY = (
    ("--strength", "2", "strength", 2.0),
    ("--steps-window", "0:0.75", "steps", StepWindow(0, 0.75)),
    ("--frames-window", "4:8", "frames", FrameWindow(4, 8)),
    ("--sees", "itself", "sees", "itself"),
    ("--focus", "16", "focus", 16.0),
    ("--focus", "8:0.5", "focus_start", 0.5),
)  # fmt: skip


@pytest.fixture
def saved(tmp_path):
    mask = torch.zeros(8, 8)
    mask[:4] = 1
    write_reference(tmp_path / "saved.png", make_reference(torch.rand(8, 8, 3), mask, SAVED))
    return str(tmp_path / "saved.png")


def asked(*said: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_reference_options(parser)
    add_frames(parser)
    return parser.parse_args(said)


def read(*said: str):
    return read_references(asked(*said))


def test_a_picture_has_neutral_controls(tmp_path):
    media.write_picture(tmp_path / "a.png", torch.rand(8, 8, 3))
    (one,) = read("--reference", str(tmp_path / "a.png"))
    assert one.controls == Controls() and one.mask.eq(1).all()


def test_a_saved_reference_brings_its_mask_and_its_controls(saved):
    (one,) = read("--reference", saved)
    assert one.controls == SAVED and one.mask[:4].eq(1).all() and one.mask[4:].eq(0).all()


@pytest.mark.parametrize(("option", "text", "name", "value"), EVERY)
def test_an_option_stands_above_what_was_saved_and_changes_nothing_else(saved, option, text, name, value):
    (one,) = read("--reference", saved, option, text)
    kept = {
        key: was
        for key, was in vars(SAVED).items()
        if key != name and (name, key) != ("focus_start", "focus")
    }
    assert getattr(one.controls, name) == value
    assert {key: getattr(one.controls, key) for key in kept} == kept


def test_a_dash_leaves_one_of_two_as_it_was_saved(saved):
    first, second = read("--reference", saved, "--reference", saved, "--strength", "-", "--strength", "3")
    assert (first.controls.strength, second.controls.strength) == (SAVED.strength, 3.0)


@pytest.mark.parametrize("fit", FITS)
def test_masks_regions_and_given_frames_of_another_size_are_fitted_as_asked(saved, tmp_path, fit):
    wide = torch.rand(8, 24, 3).mul(255).round() / 255
    media.write_picture(tmp_path / "wide.png", wide)
    said = [
        "--reference",
        saved,
        "--given",
        f"{saved}@0",
        "--given",
        f"{tmp_path / 'wide.png'}@-1",
        "--fit",
        fit,
    ]
    given = read_frames(asked(*said))
    assert given.fit == fit and torch.equal(given.pictures[1], wide)
    (one,) = read(*said, "--mask", str(tmp_path / "wide.png"))
    mask = media.read_mask(tmp_path / "wide.png", "mask")
    assert one.fit == fit and torch.equal(one.mask, fitted_masks(mask[None], 8, 8, fit)[0])
