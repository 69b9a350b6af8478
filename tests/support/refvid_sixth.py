"""A further method, as a pack of its own would add it: a recipe, a rider of each host and a node, by the
pack's `register_rider` functions alone. Learned tokens stand behind the video, read only themselves, and have
the
clock of clean ones.

Everything of refvid's is imported where it is needed: a server may load this file before refvid, and only a
rider of ComfyUI's needs that."""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

COUNT = 3  # tokens
NAME = "learned_tokens"
# What a tiny model says with them at eight channels of one place: the numbers of both hosts.
SAID = [0.01166, -0.864766, -1.281822, -0.376009, -0.573181, -0.000354, 0.759318, -0.672105]


def learned(width: int, seed: int = 6) -> Tensor:
    """(1, COUNT, width)"""
    return torch.randn(1, COUNT, width, generator=torch.Generator().manual_seed(seed))


@contextlib.contextmanager
def left_as_it_was(*registries) -> Iterator[None]:
    """Dictionaries and lists, which are afterwards as they were."""
    before = [one.copy() for one in registries]
    try:
        yield
    finally:
        for one, held in zip(registries, before, strict=True):
            one.clear()
            one.update(held) if isinstance(one, dict) else one.extend(held)
        recipe.cache_clear(), plain_rider.cache_clear(), comfy_rider.cache_clear()


@functools.cache
def recipe():
    """Registered with the others."""
    from refvid.core import recipes
    from refvid.core.recipe import Recipe

    made = Recipe(
        NAME, "a test", "video", 0.0, False, False, "drop", "drop", max_references=1, clock="own",
        reads_text=False,
    )  # fmt: skip
    recipes.register_recipe(lambda: made)
    return made


def arranged(geometry, rows: tuple[int, ...] = ()):
    """Keep of every token; `rows` of a batch."""
    from refvid.core.controls import Controls
    from refvid.core.layout import Layout, Stream
    from refvid.core.references import Arranged

    layout = Layout(recipe(), (Stream(1, COUNT, COUNT, Controls(strength=2.0)),), geometry)
    return Arranged(layout, torch.arange(COUNT).expand(*rows, -1), None)


@functools.cache
def plain_rider() -> Any:
    """The rider of the plain host."""
    from refvid.hosts.plain.evaluation import Rider, TokensBehindVideo, register_rider

    @dataclass(frozen=True)
    class Learned(Rider):
        tokens: Tensor

        def now(self, evaluation):
            if not evaluation.entry.conditions:
                return evaluation
            mine = TokensBehindVideo(arranged(evaluation.dit.geometry), [self.tokens.to(evaluation.latent)])
            return replace(evaluation, behind=(*evaluation.behind, mine))

    register_rider(Learned)
    return Learned


@functools.cache
def comfy_rider() -> Any:
    """The rider of ComfyUI's, and what a conditioning carries of it."""
    from refvid.hosts.comfy import wire
    from refvid.hosts.comfy.evaluation import Embedded, Rider, StreamsBehindVideo, register_rider
    from refvid.hosts.comfy.families import wan

    @dataclass(frozen=True)
    class AttachedLearned:
        tokens: Tensor
        recipe: str

    @dataclass(frozen=True)
    class LearnedTokens(Rider):
        tokens: Tensor

        attached = AttachedLearned
        name = "learned tokens"
        nodes = "Apply Learned Tokens"

        @classmethod
        def null(cls, options, positive):
            return wire.without(AttachedLearned, options)

        @classmethod
        def conds(cls, cond, model, grid):
            given = wire.read(AttachedLearned, cond)
            return None if given is None else cls(given.tokens)

        def count(self, geometry):
            return COUNT

        def now(self, evaluation):
            geometry = wan.geometry(evaluation.model.current_patcher)
            mine = StreamsBehindVideo(arranged(geometry, (len(evaluation.x),)))
            return replace(evaluation, behind=(*evaluation.behind, mine))

        def embed(self, inside):
            layout = inside.layout
            grid = (1, layout.geometry.patch, COUNT * layout.geometry.patch)
            video = layout.geometry.tokens(inside.call.frames, *inside.call.x.shape[3:])
            turned = wan.rotations(inside.module, inside.call, grid, layout.placements(video)[0])
            return Embedded([self.tokens.to(inside.call.x)], [turned])

    register_rider(LearnedTokens)
    return LearnedTokens


class ApplyLearnedTokens:
    """A model and a conditioning with them."""

    RETURN_TYPES = ("MODEL", "CONDITIONING")
    FUNCTION = "apply"
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "positive": ("CONDITIONING",), "seed": ("INT", {})}}

    def apply(self, model, positive, seed):
        from refvid.hosts.comfy import wire
        from refvid.hosts.comfy.families import wan
        from refvid.hosts.comfy.install import install

        rider = comfy_rider()
        part = rider.attached(learned(wan.width(model), seed), recipe().name)
        return install(model, rider), wire.with_part(positive, part)


NODE_CLASS_MAPPINGS = {"ApplyLearnedTokens": ApplyLearnedTokens}
