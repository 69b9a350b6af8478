"""Paired edits of the demo world: what is asked changes, and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from refvid.demo import captions, edits


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
