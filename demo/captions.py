"""Captions of the demo world's clips, and every word that a caption or an instruction can hold."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ..core.editing import PREFIX
from ..core.motion import PRETEXTS
from .casting import TOY_PLACES, rgb
from .shapes import SHAPES
from .world import BACKGROUNDS, DIRECTIONS, DYNAMICS, WAYS, Cast, Looks, Scenes

STRIDES = (1, 4, 6, 12)  # pictures of the scene between two pictures of a clip: the micro-condition
# Colours that words name, by their hue in turns.
_HUES: dict[str, float] = {
    "red": 0.0,
    "orange": 0.085,
    "yellow": 0.16,
    "green": 0.34,
    "cyan": 0.51,
    "blue": 0.645,
    "purple": 0.77,
    "pink": 0.89,
}
COLOURS: tuple[str, ...] = tuple(_HUES)
TEXTURE_WORDS = ("plain", "halved", "striped", "spotted")  # as texts say TEXTURES
TEMPO_WORDS = ("slowly", "quickly")  # as texts say one and two cycles a scene
# What a caption may tell of a toy, each by itself.
TOLD_PARTS: tuple[str, ...] = ("shape", "colour", "texture", "motion", "place")
_TOLD_SHARE = 0.75  # of each part, where captions tell what a toy is like
LONGEST_CAPTION = (
    "a quickly squashing orange striped triangle at the bottom and a quickly squashing orange striped "
    "triangle at the bottom standing still on meadow background at stride 12"
)
_INSTRUCTIONS = ("make", "the", "remove", "add", "change", "to")


def telling(n: int, *parts: str) -> Tensor:
    """Parts of TOLD_PARTS that every one of N captions tells of its toys: (N, parts) bool."""
    return torch.tensor([part in parts for part in TOLD_PARTS]).expand(n, -1)


def told_by_chance(n: int, generator: Generator) -> Tensor:
    """Parts (N, parts) bool, each told by its own chance: a caption says some of what a toy is like."""
    return torch.rand(n, len(TOLD_PARTS), generator=generator) < _TOLD_SHARE


def captions(cast: Cast, said: Tensor | None = None, stride: int | None = None) -> list[str]:
    """One sentence per clip: "a toy moving right on dark background", "two toys …", with "at stride 4" where
    given.

    Of the toys of each clip `said` (N, parts) bool tells some of TOLD_PARTS: "a quickly spinning red striped
    star at the top and a …". A toy's look is that of its front. The stride is a word of the text, since Wan's
    embedding of time has no place for it [choice: stride-words].
    """
    scenes = cast[0][1]
    parts = telling(len(scenes)) if said is None else said
    phrases = list(zip(*(names(toys, places, parts) for toys, places in cast), strict=True))
    ending = "" if stride is None else f" at stride {stride}"
    rows = zip(phrases, scenes.direction.tolist(), scenes.background.tolist(), strict=True)
    return [_sentence(_subject(row), direction, background) + ending for row, direction, background in rows]


def instructions(cast: Cast) -> list[str]:
    """Instructions of edits that could have led to the clips, one a clip: five forms in turn."""
    toys, scenes = cast[-1]
    colours = colour_names(toys.primary)
    found = []
    for row, colour in enumerate(colours):
        shape, texture = SHAPES[int(toys.shape[row])], TEXTURE_WORDS[int(toys.texture[row])]
        ground = BACKGROUNDS[int(scenes.background[row])]
        one = "toy" if len(cast) == 1 else shape  # of two toys the shape says which
        turn = (
            f"make the {shape} {colour}",
            f"add {with_article(f'{colour} {shape}')}",
            f"make the {one} {texture}",
            f"change the background to {ground}",
            f"make the {one} {colour}",
        )
        found.append(turn[row % len(turn)])
    return found


def names(toys: Looks, scenes: Scenes, said: Tensor) -> list[str]:
    """Names of the toys, without their article, by the parts (N, parts) bool that are told."""
    motions, colours = _motions(toys), colour_names(toys.primary)
    places = place_words(scenes)
    found = []
    for row, parts in enumerate(said.tolist()):
        words = {
            "motion": motions[row],
            "colour": colours[row],
            "texture": TEXTURE_WORDS[int(toys.texture[row])],
            "shape": SHAPES[int(toys.shape[row])],
            "place": f"at the {places[row]}",
        }
        tells = {part for part, tell in zip(TOLD_PARTS, parts, strict=True) if tell}
        words["shape"] = words["shape"] if "shape" in tells else "toy"
        found.append(" ".join(words[part] for part in words if part in tells or part == "shape"))
    return found


def colour_names(colours: Tensor) -> list[str]:
    """Words of COLOURS whose hues are nearest to those of vivid colours (N, 3)."""
    hues = torch.tensor(list(_HUES.values()))
    apart = (hue_of(colours)[:, None] - hues + 0.5) % 1 - 0.5
    return [COLOURS[index] for index in apart.abs().argmin(1).tolist()]


def colour_said(text: str) -> str | None:
    """The first word of COLOURS in a text; None where it says none."""
    return next((word for word in text.split() if word in COLOURS), None)


def named_colour(index: Tensor) -> Tensor:
    """Colours (N, 3) that the words index (N,) into COLOURS name, vivid."""
    hue = torch.tensor(list(_HUES.values()))[index]
    return rgb(hue, torch.full_like(hue, 0.85), torch.full_like(hue, 0.9))


def hue_of(colours: Tensor) -> Tensor:
    """Hues (N,) in turns of colours (N, 3) in [0, 1]; 0 for greys."""
    red, green, blue = colours.unbind(1)
    top, spread = colours.amax(1), (colours.amax(1) - colours.amin(1)).clamp_min(1e-9)
    way = torch.stack([(green - blue) / spread % 6, (blue - red) / spread + 2, (red - green) / spread + 4])
    return way.gather(0, (colours == top[:, None]).int().argmax(1)[None])[0] / 6


def place_words(scenes: Scenes) -> list[str]:
    """Places of toys across their paths: "top", "middle", "bottom left"."""
    lane = max(TOY_PLACES) * 0.7
    across = torch.where(WAYS[scenes.direction] != 0, 0.0, scenes.offset)
    found = []
    for x, y in across.tolist():
        down = "bottom" if y > lane else "top" if y < -lane else ""
        aside = "right" if x > lane else "left" if x < -lane else ""
        found.append(f"{down} {aside}".strip() or "middle")
    return found


def vocabulary() -> list[str]:
    """Every word a caption or an editing instruction can hold, sorted."""
    words = {"a", "an", "toy", "two", "toys", "and", "moving", "standing", "on", "background", "at", "stride"}
    words |= {"top", "bottom", "middle", "left", "right", *map(str, STRIDES), *TEMPO_WORDS}
    words |= {*SHAPES, *DIRECTIONS, *BACKGROUNDS, *DYNAMICS, *_INSTRUCTIONS, *COLOURS, *TEXTURE_WORDS}
    tasks = " ".join([PREFIX, *(pretext.instruction for pretext in PRETEXTS.values())])
    return sorted(words | {*tasks.lower().split()})


def with_article(name: str) -> str:
    """Name with "a" or "an" in front."""
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _motions(toys: Looks) -> list[str]:
    rows = zip(toys.dynamics.tolist(), toys.tempo.tolist(), strict=True)
    return [f"{TEMPO_WORDS[tempo - 1]} {DYNAMICS[kind]}" if kind else DYNAMICS[0] for kind, tempo in rows]


def _subject(names: tuple[str, ...]) -> str:
    if set(names) == {"toy"} and len(names) > 1:
        return "two toys"
    return " and ".join(map(with_article, names))


def _sentence(subject: str, direction: int, background: int) -> str:
    verb = "standing" if DIRECTIONS[direction] == "still" else "moving"
    return f"{subject} {verb} {DIRECTIONS[direction]} on {BACKGROUNDS[background]} background"
