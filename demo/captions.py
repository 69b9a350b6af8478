"""Captions of the demo world's clips, and every word that a caption or an instruction can hold."""

from __future__ import annotations

import torch
from torch import Tensor

from .shapes import SHAPES, TEXTURES
from .world import BACKGROUNDS, DIRECTIONS, DYNAMICS, Cast, Looks

STRIDES = (1, 4, 12)  # pictures of the scene between two pictures of a clip: the micro-condition
COLOURS_BY_WORD: dict[str, tuple[float, float, float]] = {
    "red": (0.9, 0.1, 0.1),
    "orange": (0.95, 0.55, 0.1),
    "yellow": (0.95, 0.9, 0.15),
    "green": (0.15, 0.7, 0.2),
    "cyan": (0.15, 0.8, 0.85),
    "blue": (0.15, 0.25, 0.9),
    "purple": (0.55, 0.15, 0.8),
    "pink": (0.95, 0.4, 0.75),
}
LONGEST_CAPTION = "a squashing circle and a squashing circle standing still on meadow background at stride 12"
_INSTRUCTIONS = ("make", "the", "remove", "add", "change", "to", "of", "with", "spotted", "halved")


def captions(cast: Cast, named: Tensor | None = None, stride: int | None = None) -> list[str]:
    """One sentence per clip: "a toy moving right on dark background", "two toys …", with "at stride 4" where
    given.

    Each toy where named (N,) bool is True is called by its shape, and its dynamics if it has any: "a
    spinning star and a ring …". The stride is a word of the text because Wan's embedding of time has no place
    for it [choice: stride-words].
    """
    scenes = cast[0][1]
    spoken = torch.zeros(len(scenes), dtype=torch.bool) if named is None else named
    subjects = [
        _subject([toys[row : row + 1] for toys, _ in cast], bool(spoken[row])) for row in range(len(scenes))
    ]
    ending = "" if stride is None else f" at stride {stride}"
    rows = zip(subjects, scenes.direction.tolist(), scenes.background.tolist(), strict=True)
    return [_sentence(subject, direction, background) + ending for subject, direction, background in rows]


def names(toys: Looks) -> list[str]:
    """Names of the toys in captions that name them, without their article: "spinning star"."""
    return [_name(toys[row : row + 1]) for row in range(len(toys))]


def vocabulary() -> list[str]:
    """Every word a caption or an editing instruction can hold, sorted."""
    words = {"a", "toy", "two", "toys", "and", "moving", "standing", "on", "background", "at", "stride"}
    words |= {*SHAPES, *DIRECTIONS, *BACKGROUNDS, *DYNAMICS, *map(str, STRIDES)}
    return sorted(words | {*_INSTRUCTIONS, *COLOURS_BY_WORD, *TEXTURES})


def _subject(toys, named: bool) -> str:
    if not named:
        return "a toy" if len(toys) == 1 else "two toys"
    return " and ".join(f"a {_name(toy)}" for toy in toys)


def _name(toy) -> str:
    shape = SHAPES[int(toy.shape)]
    return f"{DYNAMICS[int(toy.dynamics)]} {shape}" if toy.dynamics else shape


def _sentence(subject: str, direction: int, background: int) -> str:
    verb = "standing" if DIRECTIONS[direction] == "still" else "moving"
    return f"{subject} {verb} {DIRECTIONS[direction]} on {BACKGROUNDS[background]} background"
