"""What travels beside the video in one evaluation of the model, and the patch that takes it through every block."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.ldm.common_dit
import torch
from comfy.ldm.wan.model import sinusoidal_embedding_1d
from torch import Tensor

from ...core.layout import Layout
from .attention import OVERRIDE, Muted, Reading, Rule, block_override
from .edited import Edited

KEY = "refvid"  # in a block's transformer_options: the Evaluation
RAN = "block_index"  # Wan's forward leaves it there


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

    def __init__(
        self, module, x: Tensor, timestep: Tensor, shown: Shown, frames: int, streams: int, options: dict, rule: Rule
    ):  # fmt: skip
        layout, edit = shown.layout, shown.edit
        embedded, turned = [], []
        for index, latent in enumerate(shown.inputs if edit is None else [*shown.inputs, edit.source]):
            latent = comfy.ldm.common_dit.pad_to_patch_size(latent.to(x), module.patch_size)
            embedded.append(module.patch_embedding(latent.float()).to(x.dtype).flatten(2).transpose(1, 2))
            picture = layout.streams[index].role == "picture"
            frame, source = layout.recipe.placement(index, frames) if picture else (0, 0)
            turned.append(
                module.rope_encode(
                    *latent.shape[-3:], t_start=frame, device=x.device, dtype=x.dtype,
                    transformer_options=options, source_id=source + streams if source else 0,
                )
            )  # fmt: skip
        for tokens in [] if edit is None else edit.semantic():
            embedded.append(tokens.to(x.dtype))
            turned.append(
                torch.zeros_like(turned[0][:, :1]).expand(-1, tokens.shape[1], *turned[0].shape[2:])
            )
        self._video_type = None
        if edit is not None and edit.modules is not None and layout.recipe.types is not None:
            types = edit.modules.types([*layout.types(), layout.recipe.types.video]).to(x.dtype)
            embedded = [part + one for part, one in zip(embedded, types[:-1], strict=True)]
            self._video_type = types[-1]
        self.tokens = torch.take_along_dim(torch.cat(embedded, dim=1), shown.keep.unsqueeze(-1), dim=1)
        self._pe = torch.cat(turned, dim=1)[0][shown.keep]
        self.rule = rule
        self.keep_in: Callable | None = None  # makes of a rule one that also keeps keys and values
        # With a timestep per frame (TI2V) references take the clock of the noisiest frame: the others are clean.
        self._noisiest = timestep.argmax(dim=1) if timestep.ndim == 2 else None
        self._clean = _clean_modulation(module, timestep, x.dtype) if layout.recipe.clock == "own" else None
        self._reads_text, self._blocks = layout.recipe.reads_text, module.blocks
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
        return self.keep_in(rule=self.rule, block=options[RAN], count=self.tokens.shape[1])

    def unread(
        self, reading: Reading | None, options: dict[str, Any]
    ) -> tuple[Reading | Muted | None, dict[str, Any]]:
        """How this block reads the text where references do not, and the patch that takes back what its output layer adds to nothing."""
        if self._reads_text:
            return reading, {}
        count, layer = self.tokens.shape[1], self._blocks[options[RAN]].cross_attn.o

        def take_back(args: dict[str, Any]) -> Tensor:
            x = args["x"]
            return torch.cat([x[:, :-count], x[:, -count:] - layer(torch.zeros_like(x[:, :1]))], dim=1)

        patches = options.get("patches", {})
        first = {**patches, "attn2_patch": [take_back, *patches.get("attn2_patch", ())]}
        return Muted(count, reading), {"patches": first}

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
        """One modulation for all tokens stays; else as many rows as the video and the references can share evenly, which core's repeat_e
        spreads over the tokens."""
        if self._clean is None and (vec.ndim < 4 or vec.shape[1] == 1 or self._noisiest is None):
            return vec
        last = self._clean
        if last is None:
            last = vec[torch.arange(len(vec), device=vec.device), self._noisiest].unsqueeze(1)
        length, added = video.shape[1], self.tokens.shape[1]
        each = math.ceil(length / vec.shape[1])
        if each * vec.shape[1] != length:
            vec, each = vec.repeat_interleave(each, dim=1)[:, :length], 1
        # Tokens that a row of both stands for. A compiled model takes one: sizes that may change have no divisor yet.
        row = 1 if torch.compiler.is_compiling() else math.gcd(each, added)
        both = [vec.repeat_interleave(each // row, dim=1), last.expand(len(vec), added // row, -1, -1)]
        # In x's dtype: core's fused modulation kernel on CUDA takes x's type for granted.
        return torch.cat([one.to(video.dtype) for one in both], dim=1)


def _clean_modulation(module, timestep: Tensor, dtype: torch.dtype) -> Tensor:
    """The six modulation vectors of timestep 0, (1, 1, 6, C), as core's forward makes them."""
    clock = timestep.new_zeros(1)
    time = module.time_embedding(sinusoidal_embedding_1d(module.freq_dim, clock).to(dtype))
    return module.time_projection(time).unflatten(1, (6, module.dim)).unsqueeze(1)


class BlockPatch:
    """Runs a block, or the patch that was there before, with all that travels beside the video."""

    def __init__(self, previous: Callable | None):
        self.previous = previous

    def __call__(self, args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        evaluation = args["transformer_options"].get(KEY)
        previous = self.previous
        run = extra["original_block"] if previous is None else lambda given: previous(given, extra)
        return run(args) if evaluation is None else evaluation.through(run, args)
