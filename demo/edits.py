"""Paired edits with known truth: a clip, an instruction, and exactly the clip it asks for. Nothing else
changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from . import casting, world
from .captions import COLOURS, TEXTURE_WORDS, named_colour, with_article
from .shapes import SHAPES, TEXTURES


@dataclass(frozen=True)
class Edits:
    """N pairs, and what was asked for.

    source, target  (N, 3, F, H, W) in [-1, 1]
    region          (N, 1, F, H, W) bool: pixels that differ by more than 1/255 anywhere
    bystander       (N, 1, F, H, W) bool: pixels outside of the region that show a toy which stays as it is
    ground          (N, 3, 1, H, W): the source's background
    """

    source: Tensor
    target: Tensor
    region: Tensor
    bystander: Tensor
    ground: Tensor
    instructions: list[str]


_Change = tuple[world.Cast, world.Cast, list[str]]  # source, target, instructions
_DYNAMIC = 0.5  # of the toys moves in itself


def sample_edits(
    kind: str,
    n: int,
    generator: Generator,
    frames: int | Tensor = 9,
    size: int = world.WORLD_SIZE,
    dynamic_share: float = _DYNAMIC,
) -> Edits:
    """N edits of one kind of EDIT_KINDS. ValueError lists the kinds."""
    if kind not in _CHANGES:
        raise ValueError(f"kind is {kind!r}; choose one of {', '.join(EDIT_KINDS)}")
    toys = casting.sample_identities(n, generator, dynamic_share)
    before, after, instructions = _CHANGES[kind](toys, casting.sample_scenes(n, generator), generator)
    (source, seen), (target, _) = (world.render_cast(cast, frames, size) for cast in (before, after))
    region = (source - target).abs().amax(1, keepdim=True) > 2 / 255
    stay = [place for place, toy in enumerate(before) if any(toy is one for one in after)]
    bystander = seen[:, stay].sum(1, keepdim=True).gt(0.5) & ~region
    ground = world.backdrop(before[0][1].background, size).unsqueeze(2) * 2 - 1
    return Edits(source, target, region, bystander, ground, instructions)


def _recolour(toys: world.Looks, scenes: world.Scenes, generator: Generator) -> _Change:
    index, colour = _colours(len(toys), generator)
    return (
        [(toys, scenes)],
        [(replace(toys, primary=colour), scenes)],
        [f"make the toy {COLOURS[i]}" for i in index.tolist()],
    )


def _recolour_either(toys: world.Looks, scenes: world.Scenes, generator: Generator) -> _Change:
    kept, changed = _pair(toys, scenes, generator)
    index, colour = _colours(len(toys), generator)
    rows = zip(changed[0].shape.tolist(), index.tolist(), strict=True)
    return (
        [kept, changed],
        [kept, (replace(changed[0], primary=colour), changed[1])],
        [f"make the {SHAPES[shape]} {COLOURS[i]}" for shape, i in rows],
    )


def _retexture(toys: world.Looks, scenes: world.Scenes, generator: Generator) -> _Change:
    # The new texture's axis is the old one's: an instruction does not speak of it.
    step = torch.randint(1, len(TEXTURES), (len(toys),), generator=generator)
    other = (toys.texture + step) % len(TEXTURES)
    return (
        [(toys, scenes)],
        [(replace(toys, texture=other), scenes)],
        [f"make the toy {TEXTURE_WORDS[i]}" for i in other.tolist()],
    )


def _remove(toys: world.Looks, scenes: world.Scenes, generator: Generator) -> _Change:
    kept, gone = _pair(toys, scenes, generator)
    return [kept, gone], [kept], [f"remove the {SHAPES[i]}" for i in gone[0].shape.tolist()]


def _add(toys: world.Looks, scenes: world.Scenes, generator: Generator) -> _Change:
    there, (added, place) = _pair(toys, scenes, generator)
    index, colour = _colours(len(toys), generator)
    plain = torch.zeros_like(added.texture)
    # The text says all that there is to know of the new one: it is steady.
    added = replace(added, primary=colour, texture=plain, dynamics=plain)
    rows = zip(index.tolist(), added.shape.tolist(), strict=True)
    said = [f"add {with_article(f'{COLOURS[i]} {SHAPES[shape]}')}" for i, shape in rows]
    return [there], [there, (added, place)], said


def _background(toys: world.Looks, scenes: world.Scenes, generator: Generator) -> _Change:
    moved = replace(scenes, background=casting.other_scenes(scenes, generator).background)
    said = [f"change the background to {world.BACKGROUNDS[i]}" for i in moved.background.tolist()]
    return [(toys, scenes)], [(toys, moved)], said


_CHANGES: dict[str, Callable[[world.Looks, world.Scenes, Generator], _Change]] = {
    "recolour": _recolour,
    "recolour_either": _recolour_either,
    "retexture": _retexture,
    "remove": _remove,
    "add": _add,
    "background": _background,
}
EDIT_KINDS: tuple[str, ...] = tuple(_CHANGES)


def _colours(n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Named colours: index into COLOURS (N,), and the colour (N, 3)."""
    index = torch.randint(0, len(COLOURS), (n,), generator=generator)
    return index, named_colour(index)


def _pair(
    toys: world.Looks, scenes: world.Scenes, generator: Generator
) -> tuple[tuple[world.Looks, world.Scenes], tuple[world.Looks, world.Scenes]]:
    """Toys, and as many others of other shapes beside them: on either side, by chance."""
    turned = torch.rand(len(toys), generator=generator) < 0.5
    own, other = casting.swapped(casting.duets(scenes), turned)
    moving = toys.dynamics.ne(0).float().mean().item()
    return (toys, own), (casting.other_shape(toys, generator, moving), other)
