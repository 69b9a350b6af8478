"""VACE's own reference frames under control: frames in front of the video that its hint branch is shown.

ComfyUI's model runs them itself, as with WanVaceToVideo's reference_image. What controls say of them acts on
their keys, in every self-attention of a forward: of the blocks and of the hint branch."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.controls import Controls
from ...core.front import ShownSpans, front_turn, shown_spans
from ...core.layout import Layout
from ...core.reach import words_on
from ...core.recipes import recipe_named
from ...core.references import arrange
from ...core.schedule import share_of
from ...kernels.grouped import Groups
from ...kernels.paths import ANY_ATTENTION, attention_asked, tell_path
from ...kernels.whole import WHOLE_ATTENTION
from . import wire
from .attention import OVERRIDE, Rule
from .attention_choice import ComfyAttentionNeed, choose_comfy_attention
from .evaluation import Evaluation, Options, Rider, kinds, past_apply_model
from .families import wan
from .wire import Conditioning

logger = logging.getLogger(__name__)

HINTS = "vace_frames"  # by core's name: latents that a hint branch is shown, with those of the references


@dataclass(frozen=True)
class AttachedVaceReferences:
    """Reference frames as a conditioning carries them, beside core's hints that hold their latents.

    recipe     its name
    masks      (H, W) of each in [0, 1], prepared
    controls   of each
    reach      (F or 1, h or 1, w or 1) bool of each: cells of the video latent that it acts on
    attention  that is asked for, by name
    """

    recipe: str
    masks: tuple[Tensor, ...]
    controls: tuple[Controls, ...]
    reach: tuple[Tensor, ...]
    attention: str = ANY_ATTENTION

    @property
    def count(self) -> int:
        """Frames in front of the video."""
        return len(self.masks)


@dataclass(frozen=True)
class VaceReferences(Rider):
    """Reference frames of one evaluation.

    layout        of their tokens
    shown         spans of each whose keys may be seen
    soft          (B, n), log of the shares that soft masks cover
    cells         (B, 1, F, h, w) int64 of the video alone, bit k where reference k acts
    attention     that is asked for, by name
    path          that runs, of `kernels.paths`; None until it is worked out
    bias, groups  weights of keys (1 or B, L), and queries that see different ones
    """

    layout: Annotated[Layout, wire.CONSTANT]
    shown: Annotated[ShownSpans, wire.CONSTANT]
    soft: Tensor | None = None
    cells: Annotated[Tensor | None, wire.Cells] = None
    attention: str = ANY_ATTENTION
    path: str | None = None
    bias: Tensor | None = None
    groups: Groups | None = None

    attached = AttachedVaceReferences
    name = "VACE references"
    nodes = "Apply References"
    unseen = (
        "positive carries reference frames of VACE, which is not shown here: they are frames of the video "
        "that is made"
    )

    @classmethod
    def takes(cls, model: ModelPatcher) -> bool:
        return wan.takes_hints(model)

    @classmethod
    def conds(cls, cond: Options, model: ModelPatcher, grid: tuple[int, ...]) -> "VaceReferences | None":
        """ValueError for a model without a hint branch, a latent without the frames in front, context
        windows, and areas."""
        attached = wire.read(AttachedVaceReferences, cond)
        if attached is None:
            return None
        require_hint_branch(model, "model")
        _require_frames(cond, attached.count, grid)
        _require_whole(cond, model)
        recipe = recipe_named(attached.recipe)
        arranged = arrange(list(attached.masks), list(attached.controls), recipe, wan.geometry(model))
        cells = words_on(attached.reach, (grid[0] - attached.count, *grid[1:]))
        words = None if cells is None else cells[None, None]
        return cls(arranged.layout, shown_spans(arranged), arranged.soft, words, attached.attention)

    @classmethod
    def check(cls, conditions: Sequence[Options]) -> None:
        """ValueError where only some conditions have the frames, and beside riders that lie on frames of the
        video."""
        carried = [wire.of_conds(cls, cond) is not None for cond in conditions]
        if any(carried) and not all(carried):
            raise ValueError(
                "positive or negative carries no reference frames of VACE, the other does; connect both from one "
                "Apply References"
            )
        for kind in kinds() if any(carried) else ():
            if kind is not cls and any(_on_grid(kind, cond) for cond in conditions):
                raise ValueError(
                    f"conditioning carries {kind.name} of {kind.nodes} on frames or regions of the video, and "
                    "VACE's reference frames stand in front of it; leave one of them out"
                )

    @classmethod
    def tell_scale(cls, positive: Sequence[Options]) -> None:
        """Log that an image scale does nothing to the frames, which every pass keeps."""
        if any(cls.carried(options) for options in positive):
            logger.warning(
                "refvid: image_scale: it does nothing to VACE's reference frames, which every pass keeps; set it "
                "to 1, which saves a pass"
            )

    def now(self, evaluation: Evaluation) -> Evaluation:
        model, tokens = evaluation.model, self._tokens(evaluation.x)
        front = sum(stream.tokens for stream in self.layout.streams)
        share = 0.0
        if self.layout.timed:
            share = share_of(float(evaluation.t.max()), model.model_sampling.percent_to_sigma)
        cells = None if self.cells is None else self.cells[0, 0]
        device = evaluation.x.device
        turn = front_turn(self.layout, self.shown, share, cells, self.soft, tokens - front, device)
        attention, override = attention_asked(self.attention), evaluation.options.get(OVERRIDE)
        asked = ComfyAttentionNeed(
            model, self.layout, turn, len(evaluation.x), tokens, tokens, device, override
        )
        choice = choose_comfy_attention(asked, attention)
        tell_path(choice)
        evaluation.options[wire.PATH_BEHIND] = override  # others may set one in between
        made = replace(
            self, cells=None, attention=attention, path=choice.path.name, bias=turn.bias, groups=turn.groups
        )
        if not made._rule(choice.path.name).neutral:
            _require_other_length(evaluation, tokens)
        return evaluation.having(made)

    def called(self, call: wan.ForwardCall) -> None:
        if self.path is None:
            raise past_apply_model()
        rule = self._rule(self.path, call.options.get(wire.PATH_BEHIND))
        if rule.neutral:
            return
        call.require_plain_sequence()
        override = whole_override(rule, self._tokens(call.x), call.options.get(OVERRIDE))
        call.options = {**call.options, OVERRIDE: override}

    def _rule(self, path: str, behind: Callable | None = None) -> Rule:
        whole = WHOLE_ATTENTION[path](self.groups) if path in WHOLE_ATTENTION else None
        return Rule(self.bias, self.groups, self.attention, path, whole, behind)

    def _tokens(self, x: Tensor) -> int:
        return self.layout.geometry.count(*x.shape[2:])


def whole_override(rule: Rule, tokens: int, previous: Callable | None) -> Callable:
    """An attention override for a whole forward: self-attention over so many tokens follows the rule, in
    blocks and hint branch alike. The text's reading, which has other keys, is left alone."""

    def override(kernel, query, key, value, *args, **kwargs):
        run = kernel if previous is None else partial(previous, kernel)
        inside = wan.RAN in kwargs.get("transformer_options", {})  # small calls that only ask are not
        if not inside or key.shape[-2] != tokens:
            return run(query, key, value, *args, **kwargs)
        if query.shape[-2] != tokens:
            raise RuntimeError(
                "refvid: another pack runs Wan's self-attention in parts; VACE's reference frames under control "
                "cannot share it. Remove one of the two"
            )
        return rule.attend(run, previous, query, key, value, args, kwargs)

    return override


def frames_in_front(conditioning: Conditioning) -> int:
    """Number of reference frames that it carries already."""
    carried = [wire.read(AttachedVaceReferences, options) for _, options in conditioning]
    return max((one.count for one in carried if one is not None), default=0)


# ---- what a run cannot have


def require_hint_branch(model: ModelPatcher, what: str) -> None:
    """ValueError unless the model is a VACE."""
    if not wan.takes_hints(model):
        raise ValueError(
            f"{what} is {type(model.model).__name__}, not a VACE model, whose hint branch is shown the references; "
            "load a VACE model, or choose the recipe that this one was trained for"
        )


def _require_other_length(evaluation: Evaluation, tokens: int) -> None:
    text = evaluation.text + sum(sum(one.sizes) for one in evaluation.behind_text)
    if text == tokens:
        raise ValueError(
            f"the video and VACE's reference frames have {tokens} tokens, as many as the text, so that their "
            "attentions cannot be told apart; make the video a frame longer or larger"
        )


def _require_frames(cond: Options, count: int, grid: tuple[int, ...]) -> None:
    for hint in cond.get(HINTS) or [None]:
        frames = 0 if hint is None else hint.shape[2]
        if frames != grid[0]:
            raise ValueError(
                f"latent has {grid[0]} frames, the conditioning {frames}, of which {count} are VACE's references in "
                "front; connect the latent that Apply References gave, and put no other control behind that node"
            )


def _require_whole(cond: Options, model: ModelPatcher) -> None:
    if model.model_options.get(wire.WINDOWS) is not None:
        raise ValueError(
            "model has context windows, and VACE's reference frames would be in the first window alone; leave the "
            "windows out, or choose a recipe whose references stand behind the video"
        )
    if "area" in cond:
        raise ValueError(
            "conditioning is set to an area, and VACE's control and reference frames belong to the whole video; "
            "leave that node out"
        )


def _on_grid(kind: type[Rider], cond: Options) -> bool:
    """True where a rider has cells or frames of the video in a condition."""
    part = wire.of_conds(kind, cond)
    if part is None:
        return False
    return any(type(one) in (wire.Cells, wire.GRID) for one in wire.conds(part).values())
