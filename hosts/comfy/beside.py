"""What travels beside the video in one evaluation of the model, and the patch that takes it through every block."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...core.layout import Layout
from .attention import OVERRIDE, Muted, Reading, Rule, block_override
from .edited import Edited
from .families import wan

KEY = "refvid"  # in a block's transformer_options: the Evaluation


class Evaluation:
    """References (`Beside`, or `recall.Recalled`) and identities of one evaluation. Lives as long as it."""

    def __init__(self, references: Any, identities: "Reading | None", text_call: int):
        self.references, self.identities, self.ran = references, identities, False
        self._text_call = text_call

    def through(self, run: Callable, args: dict[str, Any]) -> dict[str, Any]:
        """What a block says of the video, with references behind it and identities behind the text. `args` stays as it is."""
        self.ran = True
        given = args if self.references is None else self.references.join(args)
        if self.identities is not None:
            given = {**given, "txt": self.identities.behind(args["txt"])}
        options = args["transformer_options"]
        rule, reading, patches = None, self.identities, {}
        if self.references is not None:
            rule = self.references.rule_of(options)
            reading, patches = self.references.unread(reading, options)
        override = block_override(rule, reading, self._text_call, options.get(OVERRIDE))
        if override is not None:
            given = {**given, "transformer_options": {**options, **patches, OVERRIDE: override}}
        out = run(given)
        return out if self.references is None else self.references.split(out, args["img"].shape[1])


@dataclass(frozen=True)
class Shown:
    """What an evaluation puts beside the video: pictures, as inputs of the patch embedding (B, channels, 1, h, w); the tokens kept (B, n) of
    all that the layout names; and a source video with its semantic tokens, or None."""

    inputs: list[Tensor]
    keep: Tensor
    layout: Layout
    edit: Edited | None


class Beside:
    """Tokens beside the video in one evaluation of the model. Lives as long as that evaluation."""

    def __init__(self, module, call: wan.Call, shown: Shown, rule: Rule):
        layout, edit, dtype = shown.layout, shown.edit, call.x.dtype
        embedded, turned = [], []
        for index, latent in enumerate(shown.inputs if edit is None else [*shown.inputs, edit.source]):
            picture = layout.streams[index].role == "picture"
            frame, source = layout.recipe.placement(index, call.frames) if picture else (0, 0)
            tokens, rotations = wan.embed(module, call, latent, frame, source)
            embedded.append(tokens)
            turned.append(rotations)
        for tokens in [] if edit is None else edit.semantic():
            embedded.append(tokens.to(dtype))
            turned.append(
                torch.zeros_like(turned[0][:, :1]).expand(-1, tokens.shape[1], *turned[0].shape[2:])
            )
        self._video_type = None
        if edit is not None and edit.modules is not None and layout.recipe.types is not None:
            types = edit.modules.types([*layout.types(), layout.recipe.types.video]).to(dtype)
            embedded = [part + one for part, one in zip(embedded, types[:-1], strict=True)]
            self._video_type = types[-1]
        self.tokens = torch.take_along_dim(torch.cat(embedded, dim=1), shown.keep.unsqueeze(-1), dim=1)
        self._pe = torch.cat(turned, dim=1)[0][shown.keep]
        self.rule = rule
        self.keep_in: Callable | None = None  # makes of a rule one that also keeps keys and values
        # With a timestep per frame (TI2V) references take the clock of the noisiest frame: the others are clean.
        self._noisiest = call.timestep.argmax(dim=1) if call.timestep.ndim == 2 else None
        self._clean = wan.clean_modulation(module, call) if layout.recipe.clock == "own" else None
        self._reads_text, self._module = layout.recipe.reads_text, module
        self._joined: dict[str, tuple[Tensor, Tensor]] = {}

    def join(self, args: dict[str, Any]) -> dict[str, Any]:
        """A block's arguments with the references behind the video. `args` stays as it is."""
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
        """What a block's self-attention follows."""
        if self.keep_in is None:
            return self.rule
        return self.keep_in(rule=self.rule, block=options[wan.RAN], count=self.tokens.shape[1])

    def unread(
        self, reading: Reading | None, options: dict[str, Any]
    ) -> tuple[Reading | Muted | None, dict[str, Any]]:
        """How this block reads the text where references do not, and the patch that takes back what its output layer adds to nothing."""
        if self._reads_text:
            return reading, {}
        count = self.tokens.shape[1]
        return Muted(count, reading), wan.unread(self._module, count, options)

    def split(self, out: dict[str, Any], length: int) -> dict[str, Any]:
        """Take the references back out of a block's result."""
        self.tokens = out["img"][:, length:]
        return {**out, "img": out["img"][:, :length]}

    def _once(self, name: str, given: Tensor, build: Callable[[Tensor], Tensor]) -> Tensor:
        """Built once an evaluation: every block is handed the same tensor."""
        if name not in self._joined or self._joined[name][0] is not given:
            self._joined[name] = (given, build(given))
        return self._joined[name][1]

    def _join_pe(self, pe: Tensor) -> Tensor:
        return torch.cat([pe.expand(len(self._pe), *pe.shape[1:]), self._pe.to(pe)], dim=1)

    def _join_vec(self, vec: Tensor, video: Tensor) -> Tensor:
        return wan.join_modulation(vec, self._clean, self._noisiest, video, self.tokens.shape[1])


class BlockPatch:
    """Runs a block, or the patch that was there before, with all that travels beside the video."""

    def __init__(self, previous: Callable | None):
        self.previous = previous

    def __call__(self, args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        evaluation = args["transformer_options"].get(KEY)
        previous = self.previous
        run = extra["original_block"] if previous is None else lambda given: previous(given, extra)
        return run(args) if evaluation is None else evaluation.through(run, args)
