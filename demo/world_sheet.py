"""`python -m refvid.demo.world_sheet FOLDER`: the world and its edits on two sheets, world.jpg and edits.jpg,
for the docs."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Generator

from ..drawing.sheet import contact_sheet
from . import captions, casting, edits, world

_SEED = 5
TEMPO = (1, 2, 1, 2, 2, 1, 1)  # of the toy in each row, which moves in the row's way


def world_sheet(path: Path, generator: Generator) -> None:
    """One toy a row: both sides photographed elsewhere, a scene in nine pictures, then beside another toy."""
    n = len(TEMPO)
    toys = casting.sample_identities(n, generator, dynamic_share=1.0)
    toys = replace(toys, dynamics=torch.arange(n), tempo=torch.tensor(TEMPO))
    scenes = casting.sample_scenes(n, generator)
    own, beside = casting.duets(scenes)
    cast = [(toys, own), (casting.sample_identities(n, generator), beside)]
    clips, pairs = world.render(toys, scenes)[0], world.render_cast(cast)[0]
    front, back = (
        world.render(casting.steady(toys), casting.other_scenes(scenes, generator, side), 1)[0][:, :, 0]
        for side in (0, 1)
    )
    rows = [[front[i], back[i], *clips[i].unbind(1), pairs[i]] for i in range(n)]
    titles = ["front", "back", *(str(12 * frame) for frame in range(clips.shape[2])), "a pair"]
    alone = captions.captions([(toys, scenes)], captions.telling(n, *captions.TOLD_PARTS))
    said = [f"{one}   |   {two}" for one, two in zip(alone, captions.captions(cast), strict=True)]
    contact_sheet(rows, titles, path, said, scale=1)


def edits_sheet(path: Path, generator: Generator) -> None:
    """One edit of every kind: source, target, and where they differ."""
    made = [edits.sample_edits(kind, 1, generator) for kind in edits.EDIT_KINDS]
    rows = [
        [edit.source[0], edit.target[0], edit.region[0].float().expand(3, -1, -1, -1) * 2 - 1]
        for edit in made
    ]
    contact_sheet(
        rows, ["source", "target", "region"], path, [edit.instructions[0] for edit in made], scale=1
    )


if __name__ == "__main__":
    drawn, folder = Generator().manual_seed(_SEED), Path(sys.argv[1])
    world_sheet(folder / "world.jpg", drawn)
    edits_sheet(folder / "edits.jpg", drawn)
