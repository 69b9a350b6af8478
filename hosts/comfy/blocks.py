"""Inside the blocks: the video with its tail behind it, the text with identities behind it, and the patch
that takes both through a block.

Outside of the blocks the sequence keeps its own length, so VACE, GGUF, LoRA and other packs see what they
know. Nothing here holds on to a module longer than an evaluation: under DynamicVRAM the weights of a clone
may be another instance.
"""

from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from ...core.focus import measured_block
from ...kernels.whole import WHOLE_ATTENTION
from . import recall, token_lora, wire
from .attention import OVERRIDE, Rule, block_override
from .evaluation import Embedded, Inside, Rider, TailRule, TextRule
from .families import wan
from .text_attention import Muted, TextReading


class Sequence:
    """The sequence of one evaluation: what riders put behind the video (a `TailInBlocks`, or
    `recall.Recalled`) and behind the text."""

    def __init__(self, inside: Inside, riders: list[Rider]):
        self.tail, self._embedded = _tail(inside, riders)
        self.reading, self.ran = _reading(inside, riders), False
        self._text_call = inside.call.reads_text

    @property
    def empty(self) -> bool:
        """True where riders put nothing there."""
        return self.tail is None and self.reading is None

    def through(self, run: Callable, args: dict[str, Any]) -> dict[str, Any]:
        """Run a block on the video with its tail, and on the text with what stands behind it. -> the block's
        result for the video. `args` stays as it is."""
        self.ran = True
        arguments = args if self.tail is None else self.tail.join(args)
        if self.reading is not None:
            arguments = {**arguments, "txt": self.reading.behind(args["txt"])}
        options = args["transformer_options"]
        rule, reading, patches = None, self.reading, {}
        if self.tail is not None:
            rule = self.tail.rule_of(options)
            reading, patches = self.tail.unread(reading, options)
        override = block_override(rule, reading, self._text_call, options.get(OVERRIDE))
        if override is not None:
            arguments = {**arguments, "transformer_options": {**options, **patches, OVERRIDE: override}}
        out = run(arguments)
        return out if self.tail is None else self.tail.split(out, args["img"].shape[1])

    def finish(self, out: Tensor) -> Tensor:
        """The velocity that riders make of the module's, with their own tokens after the last block."""
        for index, (rider, _) in enumerate(self._embedded):
            counts = [len(one.tokens) for _, one in self._embedded]
            out = rider.finish(out, self.tail.own(counts, index) if self.ran else None)
        return out


class TailInBlocks:
    """The tail of one evaluation: tokens behind the video."""

    def __init__(self, inside: Inside, tail: TailRule, embedded: list[Embedded], rule: Rule):
        layout, keep, call = tail.layout, tail.keep, inside.call
        tokens = [one for part in embedded for one in part.tokens]
        turned = [one for part in embedded for one in part.rotations]
        known, self._video_type = layout.recipe.types, None
        types = next((part.types for part in embedded if part.types is not None), None)
        if types is not None and known is not None:
            rows = types([*layout.types(), known.video]).to(call.x.dtype)
            tokens = [part + one for part, one in zip(tokens, rows[:-1], strict=True)]
            self._video_type = rows[-1]
        self.tokens = torch.take_along_dim(torch.cat(tokens, dim=1), keep.unsqueeze(-1), dim=1)
        self._pe = torch.cat(turned, dim=1)[0][keep]
        self.rule, self._sizes = rule, [stream.kept for stream in layout.streams]
        self.keep_in: Callable | None = None  # turns a rule into one that keeps keys and values
        # With a timestep per frame (TI2V) the tail takes that of the noisiest frame: the others are clean.
        self._noisiest = call.timestep.argmax(dim=1) if call.timestep.ndim == 2 else None
        self._clean = wan.clean_modulation(inside.module, call) if layout.recipe.clock == "own" else None
        self._reads_text, self._module = layout.recipe.reads_text, inside.module
        self._joined: dict[str, tuple[Tensor, Tensor]] = {}

    def join(self, args: dict[str, Any]) -> dict[str, Any]:
        """A block's arguments with the tail behind the video. `args` stays as it is."""
        video = args["img"]
        if self._video_type is not None:  # once, before the first block that runs
            video, self._video_type = video + self._video_type, None
        return {
            **args,
            "img": torch.cat([video, self.tokens.to(video)], dim=1),
            "pe": self._once("pe", args["pe"], self._join_pe),
            "vec": self._once("vec", args["vec"], lambda vec: self._join_vec(vec, video)),
        }

    def rule_of(self, options: dict[str, Any]) -> Any:
        """The rule that a block's self-attention follows."""
        rule = self.rule.in_block(options[wan.RAN])
        if self.keep_in is None:
            return rule
        return self.keep_in(rule=rule, block=options[wan.RAN], count=self.tokens.shape[1])

    def unread(
        self, reading: TextReading | None, options: dict[str, Any]
    ) -> tuple[TextReading | Muted | None, dict[str, Any]]:
        """The rule by which a block reads the text, where the tail does not read it. With it comes the patch
        that takes back what the output layer adds to nothing."""
        if self._reads_text:
            return reading, {}
        count = self.tokens.shape[1]
        return Muted(count, reading), wan.unread(self._module, count, options)

    def split(self, out: dict[str, Any], length: int) -> dict[str, Any]:
        """Take the tail back out of a block's result."""
        self.tokens = out["img"][:, length:]
        return {**out, "img": out["img"][:, :length]}

    def own(self, streams: list[int], which: int) -> Tensor:
        """One rider's own tokens (B, R, C) of the tail. All of its own act; of the tokens before them some
        may not.

        streams  number of streams of each rider
        which    the rider's place among them
        """
        ends = list(accumulate(streams))
        sizes = [sum(self._sizes[end - count : end]) for end, count in zip(ends, streams, strict=True)]
        first = max(0, self.tokens.shape[1] - sum(sizes[which:]))
        return self.tokens[:, first : first + sizes[which]]

    def _once(self, name: str, given: Tensor, build: Callable[[Tensor], Tensor]) -> Tensor:
        """Built once an evaluation: every block is handed the same tensor."""
        if name not in self._joined or self._joined[name][0] is not given:
            self._joined[name] = (given, build(given))
        return self._joined[name][1]

    def _join_pe(self, pe: Tensor) -> Tensor:
        return torch.cat([pe.expand(len(self._pe), *pe.shape[1:]), self._pe.to(pe)], dim=1)

    def _join_vec(self, vec: Tensor, video: Tensor) -> Tensor:
        return wan.join_modulation(vec, self._clean, self._noisiest, video, self.tokens.shape[1])


def _reading(inside: Inside, riders: list[Rider]) -> TextReading | None:
    """The rule by which the text is read with what riders put behind it; None where no rider does."""
    found = [rider.embed_text(inside) for rider in riders]
    tokens = [one for one in found if one is not None]
    if not tokens:
        return None
    rule = inside.text or TextRule()
    return TextReading(torch.cat(tokens, dim=1), rule.bias, rule.groups)


def _tail(inside: Inside, riders: list[Rider]) -> tuple[Any, list[tuple[Rider, Embedded]]]:
    """The tail that riders put behind the video, and each of those with its tokens. Nothing is embedded where
    all of it is known from an earlier step."""
    known, rule, kept = inside.tail, None, None
    if known is not None:
        rule = _rule(known, inside)
        if inside.text is None or inside.text.groups is None:
            kept = recall.kept_for(inside.call.options, known.layout, rule, inside.call.x)
        if kept is not None and len(kept.blocks) == wan.blocks(inside.module):
            token_lora.rest(inside.call.options)
            return recall.Recalled(kept, rule), []
    found = [(rider, rider.embed(inside)) for rider in riders]
    embedded = [(rider, one) for rider, one in found if one is not None]
    if known is None or rule is None or not embedded:
        return None, []
    tail = TailInBlocks(inside, known, [one for _, one in embedded], rule)
    if kept is not None:
        tail.keep_in = partial(recall.Recording, kept=kept)
    return tail, embedded


def _rule(tail: TailRule, inside: Inside) -> Rule:
    whole = WHOLE_ATTENTION[tail.path](tail.groups) if tail.path in WHOLE_ATTENTION else None
    behind = inside.call.options.get(wire.PATH_BEHIND)
    block = measured_block(wan.blocks(inside.module))
    return Rule(tail.bias, tail.groups, tail.attention, tail.path, whole, behind, tail.focus, block)


class BlockPatch:
    """A patch that runs a block, or the patch that was there before, with all that travels with the video."""

    def __init__(self, previous: Callable | None):
        self.previous = previous

    def __call__(self, args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        sequence = args["transformer_options"].get(wire.PACK)
        previous = self.previous
        run = extra["original_block"] if previous is None else lambda given: previous(given, extra)
        return run(args) if sequence is None else sequence.through(run, args)
