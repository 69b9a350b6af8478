"""Paired edits with known truth: a clip, an instruction, and exactly the clip it asks for. Nothing else
changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from . import world
from .captions import COLOURS_BY_WORD
from .shapes import SHAPES, TEXTURES

_NAMES = tuple(COLOURS_BY_WORD)
_TEXTURE_WORDS = ("plain", "halved", "striped", "spotted")  # as an instruction says TEXTURES


@dataclass(frozen=True)
class Edits:
    """N pairs: source and target (N, 3, F, H, W) in [-1, 1], region (N, 1, F, H, W) bool of the pixels that
    differ by more than 1/255 anywhere, and what was asked for."""

    source: Tensor
    target: Tensor
    region: Tensor
    instructions: list[str]


_Change = tuple[Tensor, Tensor, list[str]]  # source, target, instructions


def sample_edits(
    kind: str, n: int, generator: Generator, frames: int | Tensor = 9, size: int = world.WORLD_SIZE
) -> Edits:
    """N edits of one kind of KINDS. ValueError lists the kinds."""
    if kind not in _CHANGES:
        raise ValueError(f"kind is {kind!r}; choose one of {', '.join(EDIT_KINDS)}")
    times = world.moments(frames) if isinstance(frames, int) else frames
    toys, scenes = world.sample_identities(n, generator), world.sample_scenes(n, generator)
    source, target, instructions = _CHANGES[kind](toys, scenes, times, size, generator)
    return Edits(source, target, (source - target).abs().amax(1, keepdim=True) > 2 / 255, instructions)


def _recolour(
    toys: world.Looks, scenes: world.Scenes, times: Tensor, size: int, generator: Generator
) -> _Change:
    name, colour = _colours(len(toys), generator)
    source, target = (world.render(t, scenes, times, size)[0] for t in (toys, replace(toys, primary=colour)))
    return source, target, [f"make the toy {_NAMES[i]}" for i in name.tolist()]


def _retexture(
    toys: world.Looks, scenes: world.Scenes, times: Tensor, size: int, generator: Generator
) -> _Change:
    # The new texture's axis is the old one's: an instruction does not speak of it.
    step = torch.randint(1, len(TEXTURES), (len(toys),), generator=generator)
    other = (toys.texture + step) % len(TEXTURES)
    source, target = (world.render(t, scenes, times, size)[0] for t in (toys, replace(toys, texture=other)))
    return source, target, [f"make the toy {_TEXTURE_WORDS[i]}" for i in other.tolist()]


def _remove(
    toys: world.Looks, scenes: world.Scenes, times: Tensor, size: int, generator: Generator
) -> _Change:
    first, second, beside = _pair(toys, scenes, generator)
    return (
        world.render_cast([(toys, first), (beside, second)], times, size)[0],
        world.render(toys, first, times, size)[0],
        [f"remove the {SHAPES[i]}" for i in beside.shape.tolist()],
    )


def _add(toys: world.Looks, scenes: world.Scenes, times: Tensor, size: int, generator: Generator) -> _Change:
    first, second, beside = _pair(toys, scenes, generator)
    name, colour = _colours(len(toys), generator)
    beside = replace(beside, primary=colour, texture=torch.zeros_like(beside.texture))
    return (
        world.render(toys, first, times, size)[0],
        world.render_cast([(toys, first), (beside, second)], times, size)[0],
        [f"add a {_NAMES[c]} {SHAPES[s]}" for c, s in zip(name.tolist(), beside.shape.tolist(), strict=True)],
    )


def _background(
    toys: world.Looks, scenes: world.Scenes, times: Tensor, size: int, generator: Generator
) -> _Change:
    moved = replace(scenes, background=world.other_scenes(scenes, generator).background)
    return (
        world.render(toys, scenes, times, size)[0],
        world.render(toys, moved, times, size)[0],
        [f"change the background to {world.BACKGROUNDS[i]}" for i in moved.background.tolist()],
    )


_CHANGES: dict[str, Callable[..., _Change]] = {
    "recolour": _recolour,
    "retexture": _retexture,
    "remove": _remove,
    "add": _add,
    "background": _background,
}
EDIT_KINDS: tuple[str, ...] = tuple(_CHANGES)


def _colours(n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Named colours: index into COLOURS (N,), and the colour (N, 3)."""
    name = torch.randint(0, len(_NAMES), (n,), generator=generator)
    return name, torch.tensor([COLOURS_BY_WORD[colour] for colour in _NAMES])[name]


def _pair(
    toys: world.Looks, scenes: world.Scenes, generator: Generator
) -> tuple[world.Scenes, world.Scenes, world.Looks]:
    """Scenes for two toys, and a second toy of another shape than the first, so that its shape names it."""
    first, second = world.duets(scenes)
    beside = world.sample_identities(len(toys), generator)
    step = 1 + torch.randint(0, len(SHAPES) - 1, (len(toys),), generator=generator)
    return first, second, replace(beside, shape=(toys.shape + step) % len(SHAPES))
