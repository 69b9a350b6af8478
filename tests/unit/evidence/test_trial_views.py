"""Views measured: clips that show both sides have the colours of both, those of one side only its own."""

import json
from types import SimpleNamespace

import pytest
import torch

from refvid.demo import casting, world
from refvid.drawing.sheet import masked_cell
from refvid.evidence.toy_figures import toy_similarity
from refvid.evidence.trials import views as measured
from refvid.evidence.trials.clips import CODED, TRUTH
from refvid.evidence.trials.views import (
    BOTH_SIDES,
    GIVEN_VIEWS,
    ONE_FRONT,
    TWO_FRONTS,
    VIEW_FIGURES,
    ViewTrial,
    evaluate_views,
    view_table,
)
from refvid.hosts.plain.pipeline import Settings

TOYS, SIZE, FRAMES = 12, 48, 9
BACKBONE = SimpleNamespace(settings=Settings(width=SIZE, height=SIZE, frames=FRAMES), vae=None)


@pytest.fixture(scope="module")
def trial() -> ViewTrial:
    return ViewTrial(TOYS, FRAMES, SIZE)


def one_sided(trial: ViewTrial) -> torch.Tensor:
    """Clips of toys whose back is as their front."""
    looks = world.Looks(**{**vars(trial.toys), "back": trial.toys.primary})
    return world.render(looks, trial.scenes, FRAMES, SIZE)[0]


def test_pictures_are_of_the_sides_that_they_are_said_to_be(trial):
    first, again, back, _ = (trial.pictures[:, view] for view in range(4))
    front = world.render(casting.steady(trial.toys), trial.scenes, 3, SIZE)[0]
    masks = trial.masks.unbind(1)
    own = [
        toy_similarity(front, one, mask).diagonal().mean()
        for one, mask in zip((first, again, back), masks, strict=False)
    ]
    assert own[0] > own[2] + 0.2 and own[1] > own[2] + 0.2
    assert not torch.equal(first, again)
    for sides, taken in (
        (GIVEN_VIEWS[ONE_FRONT], [0]),
        (GIVEN_VIEWS[TWO_FRONTS], [0, 1]),
        (GIVEN_VIEWS[BOTH_SIDES], [0, 2]),
    ):
        given = trial.references(3, sides)
        assert len(given) == len(taken)
        for one, view in zip(given, taken, strict=True):
            torch.testing.assert_close(
                one.picture.movedim(-1, 0) * 2 - 1, trial.pictures[3, view], rtol=0, atol=1e-5
            )
            assert torch.equal(one.mask, trial.masks[3, view, 0])
    assert all("slowly turning toy" in prompt for prompt in trial.prompts)


def test_the_back_is_measured_where_it_is_seen(trial):
    truth, flat = trial.measure(trial.truth), trial.measure(one_sided(trial))
    assert all(torch.allclose(one, torch.ones(TOYS)) for one in truth.values())
    assert flat["back"].mean() < 0.7 < 0.95 < flat["front"].mean()
    assert flat["back"].mean() < flat["own"].mean() < flat["front"].mean()


def test_a_model_that_reads_both_pictures_is_told_from_one_that_reads_the_first(trial, monkeypatch, tmp_path):
    flat, asked = one_sided(trial), []

    def generate(_, request):
        asked.append((request.settings.seed, len(request.references)))
        shown = trial.references(request.settings.seed % 1000, GIVEN_VIEWS[BOTH_SIDES])[1].picture
        reads = any(torch.equal(one.picture, shown) for one in request.references)
        return (trial.truth if reads else flat)[request.settings.seed % 1000]

    monkeypatch.setattr(measured, "generate", generate)
    monkeypatch.setattr(measured, "through", lambda _, clips: clips)
    told = []
    report = evaluate_views(BACKBONE, TOYS, tmp_path, lambda *it: told.append(it), seeds=2)  # pyright: ignore[reportArgumentType]
    assert list(report.rows) == [TRUTH, CODED, ONE_FRONT, TWO_FRONTS, BOTH_SIDES]
    assert report.rows[BOTH_SIDES] == report.rows[TRUTH] and report.rows[ONE_FRONT] == report.rows[TWO_FRONTS]
    values = {one.name: one for one in report.intervals}
    assert values[f"{BOTH_SIDES} minus {ONE_FRONT}, back"].low > 0.2
    assert values[f"{BOTH_SIDES} minus {TWO_FRONTS}, own"].low > 0
    assert [one[1] for one in asked] == [1] * 2 * TOYS + [2] * 4 * TOYS
    assert [one[0] for one in asked[: 2 * TOYS]] == [
        row + 1000 * noise for noise in (0, 1) for row in range(TOYS)
    ]
    kept = json.loads((tmp_path / "views.json").read_text(), parse_constant=pytest.fail)
    assert kept["rows"] == report.rows
    assert view_table(report).startswith(f"{TOYS} unseen toys that turn, 2 noises a toy\n")
    assert (tmp_path / "views.png").stat().st_size > 1000
    assert told == [(done, 6 * TOYS) for done in range(1, 6 * TOYS + 1)]


def test_both_sides_are_held_against_either_other_and_the_sheet_shows_a_picture_of_each(
    trial, monkeypatch, tmp_path
):
    """A model that shows the back as soon as it has two pictures, whatever is on them."""
    flat, shown = one_sided(trial), {}

    def generate(_, request):
        return (trial.truth if len(request.references) == 2 else flat)[request.settings.seed]

    monkeypatch.setattr(measured, "generate", generate)
    monkeypatch.setattr(measured, "through", lambda _, clips: clips)
    monkeypatch.setattr(measured, "column_sheet", lambda columns, *_, **__: shown.update(columns))
    report = evaluate_views(BACKBONE, TOYS, tmp_path, lambda *_: None)  # pyright: ignore[reportArgumentType]
    values = {one.name: one for one in report.intervals}
    for figure in VIEW_FIGURES:
        assert values[f"{BOTH_SIDES} minus {TWO_FRONTS}, {figure}"].mean == 0
    assert values[f"{BOTH_SIDES} minus {ONE_FRONT}, back"].low > 0.2
    for name, view in (("front picture", 0), ("back picture", 2)):
        assert torch.equal(shown[name], masked_cell(trial.pictures[:, view], trial.masks[:, view]))


@pytest.mark.parametrize("frames", [9, 17])
def test_no_picture_of_the_back_is_measured_as_one_of_the_front(frames):
    """Both are edge-on in a picture that lies between them."""
    trial, looks = ViewTrial(4, frames, SIZE), {}
    for name in ("back", "primary"):
        other = world.Looks(**{**vars(trial.toys), name: 1 - getattr(trial.toys, name)})
        looks[name] = trial.measure(world.render(other, trial.scenes, frames, SIZE)[0])
    assert min(looks["back"]["front"].min(), looks["primary"]["back"].min()) > 0.9999
    assert (looks["back"]["back"] < 0.9).all() and (looks["primary"]["front"] < 0.9).all()
