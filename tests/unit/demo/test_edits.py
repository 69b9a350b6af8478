"""Paired edits of the demo world: what is asked changes, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from refvid.demo import captions, edits, world
from refvid.demo.shapes import SHAPES


def test_edits_change_exactly_what_they_say() -> None:
    for kind in edits.EDIT_KINDS:
        made = edits.sample_edits(kind, 16, Generator().manual_seed(3))
        again = edits.sample_edits(kind, 16, Generator().manual_seed(3))
        assert torch.equal(made.target, again.target) and made.instructions == again.instructions
        differs = (made.source - made.target).abs().amax(1, keepdim=True) > 2 / 255
        assert torch.equal(differs, made.region)
        assert (
            made.region.flatten(1).any(1).float().mean() > 0.7
        )  # a toy may be in that colour or texture already
        words = {word for line in made.instructions for word in line.split()}
        assert words <= set(captions.vocabulary())
    with pytest.raises(ValueError, match="recolour_either, retexture"):
        edits.sample_edits("shrink", 1, Generator())


@pytest.mark.parametrize("kind", ["remove", "recolour_either"])
def test_an_edit_changes_the_toy_that_is_named_on_either_side(kind: str) -> None:
    made = edits.sample_edits(kind, 64, Generator().manual_seed(5), size=48)
    ruler = torch.linspace(-1, 1, 48)
    region = made.region.float().flatten(1, 2).mean(1)
    weight = region.sum((1, 2)).clamp_min(1e-6)
    x, y = (region.sum(1) * ruler).sum(1) / weight, (region.sum(2) * ruler).sum(1) / weight
    second = torch.where(x.abs() > y.abs(), x, y) > 0
    assert 0.3 < second.float().mean() < 0.7


def test_what_is_removed_leaves_its_background_and_what_is_added_was_not_there() -> None:
    gone = edits.sample_edits("remove", 16, Generator().manual_seed(0))
    new = edits.sample_edits("add", 16, Generator().manual_seed(0))
    for bare, full, region in ((gone.target, gone.source, gone.region), (new.source, new.target, new.region)):
        rows = bare.mean(-1, keepdim=True)  # of the first toy and the gradient
        assert ((full - bare).abs() * ~region).max() <= 2 / 255
        assert ((bare - rows).abs() * region).mean() < ((full - rows).abs() * region).mean()


def test_a_toy_that_stays_is_where_source_and_target_differ_from_the_ground_alike() -> None:
    for kind in edits.EDIT_KINDS:
        made = edits.sample_edits(kind, 16, Generator().manual_seed(2), size=48)
        if kind not in ("remove", "add", "recolour_either"):
            assert not made.bystander.any()
            continue
        assert made.bystander.flatten(1).any(1).all() and not (made.bystander & made.region).any()
        painted = [
            (one - made.ground).abs().amax(1, keepdim=True) > 2 / 255 for one in (made.source, made.target)
        ]
        assert all(one[made.bystander].float().mean() > 0.98 for one in painted)  # a toy may be of its hue
        rest = painted[0] & painted[1] & ~made.region & ~made.bystander
        if kind != "recolour_either":  # the other toy's second colour is there, too
            seen = (made.source - made.ground).abs().mean(1, keepdim=True)
            assert seen[rest].mean() < 0.5 * seen[made.bystander].mean(), "its blurred edge alone"


def casts_of(kind: str, monkeypatch: pytest.MonkeyPatch, share: float = 0.5) -> tuple[list, list, list[str]]:
    """What is rendered as source and as target, and the instructions."""
    heard, render = [], world.render_cast
    monkeypatch.setattr(world, "render_cast", lambda cast, *how: heard.append(cast) or render(cast, *how))
    made = edits.sample_edits(kind, 64, Generator().manual_seed(5), 1, 16, share)
    before, after = heard
    return before, after, made.instructions


def changed(before, after) -> set[str]:
    """Columns of two casts of as many toys that differ, "1.primary" of the second toy."""
    return {
        f"{turn}.{name}"
        for turn, (one, other) in enumerate(zip(before, after, strict=True))
        for rows, others in zip(one, other, strict=True)
        for name, column in vars(rows).items()
        if not torch.equal(column, getattr(others, name))
    }


def shapes(toys: world.Looks) -> list[str]:
    return [SHAPES[i] for i in toys.shape]


def test_of_a_toy_alone_that_column_changes_and_is_said(monkeypatch) -> None:
    for kind, column in (("recolour", "primary"), ("retexture", "texture"), ("background", "background")):
        before, after, said = casts_of(kind, monkeypatch)
        monkeypatch.undo()
        assert changed(before, after) == {f"0.{column}"}
        toys, scenes = after[0]
        assert (
            said
            == {
                "recolour": [f"make the toy {one}" for one in captions.colour_names(toys.primary)],
                "retexture": [f"make the toy {captions.TEXTURE_WORDS[i]}" for i in toys.texture],
                "background": [f"change the background to {world.BACKGROUNDS[i]}" for i in scenes.background],
            }[kind]
        )


def test_of_two_toys_the_one_that_is_named_changes_goes_or_comes(monkeypatch) -> None:
    before, after, said = casts_of("recolour_either", monkeypatch)
    toys = after[1][0]
    assert changed(before, after) == {"1.primary"}
    rows = zip(shapes(toys), captions.colour_names(toys.primary), strict=True)
    assert said == [f"make the {shape} {colour}" for shape, colour in rows]
    monkeypatch.undo()
    before, after, said = casts_of("remove", monkeypatch)
    assert changed(before[:1], after) == set()
    assert said == [f"remove the {shape}" for shape in shapes(before[1][0])]
    monkeypatch.undo()
    before, after, said = casts_of("add", monkeypatch)
    new = after[1][0]
    assert changed(before, after[:1]) == set() and not new.dynamics.any() and not new.texture.any()
    rows = zip(captions.colour_names(new.primary), shapes(new), strict=True)
    assert said == [f"add {captions.with_article(f'{colour} {shape}')}" for colour, shape in rows]


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_toys_beside_others_move_in_themselves_as_often(monkeypatch, share: float) -> None:
    for toys, _ in casts_of("remove", monkeypatch, share)[0]:
        assert toys.dynamics.ne(0).float().mean() == share
