"""One evaluation of ComfyUI's model, what travels with it (its riders), and what these may put to it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.geometry import Geometry
from ...core.layout import Layout
from ...core.references import Arranged
from ...kernels.grouped import Groups
from ...kernels.paths import ANY_ATTENTION
from . import wire
from .families import wan
from .run import SamplerRun

Options = dict[str, Any]  # of a condition, or all that a condition of a run has


@dataclass(frozen=True)
class StreamsBehindVideo:
    """Streams of tokens behind the video: their layout, which of the tokens are kept (B, n) and soft masks;
    cells (F, h, w) int64 of the video's latent, bit k where stream k acts, or None for everywhere; the
    attention that is asked for, by name."""

    arranged: Arranged
    cells: Tensor | None = None
    attention: str = ANY_ATTENTION


@dataclass(frozen=True)
class GroupsBehindText:
    """Tokens behind the text: the sizes of groups of them that are read apart; bias (1, n), added to the
    logits of their keys; cells (F, h, w) int64 of the video's latent, bit k where group k is read, or None
    for everywhere."""

    sizes: tuple[int, ...]
    bias: Tensor | None = None
    cells: Tensor | None = None


@dataclass(frozen=True)
class Embedded:
    """The tokens of what stands behind the video, before removal.

    tokens     (B, n, C), of each stream
    rotations  (1, n, 1, D/2, 2, 2), of each stream
    types      rows of the model's type embedding, numbers -> (rows, C), where it has one
    """

    tokens: list[Tensor]
    rotations: list[Tensor]
    types: Callable[[list[int]], Tensor] | None = None


@dataclass(frozen=True)
class Evaluation:
    """One call of the model, of rows that one condition or several of a batch have. Its parts are found by
    their type.

    model  a `BaseModel`
    x      (B, C, F + k, h, w), what the sampler holds: the video's latent, and behind it frames of a rider's own
    t      (B,), noise levels
    text   tokens of the text
    behind, behind_text   what riders put there
    """

    model: Any
    x: Tensor
    t: Tensor
    text: int
    parts: tuple[Any, ...]
    behind: tuple[StreamsBehindVideo, ...] = ()
    behind_text: tuple[GroupsBehindText, ...] = ()

    @property
    def riders(self) -> list["Rider"]:
        """Those of its parts, as they act."""
        return _in_order(self.parts)

    @property
    def video(self) -> Tensor:
        """(B, C, F, h, w), what the sampler holds of the video."""
        return self.x[:, :, : self.x.shape[2] - spare(self.parts, self.x)]

    def having(self, part: Any) -> "Evaluation":
        """With this part in the place of the one of its type."""
        return replace(self, parts=(*(one for one in self.parts if type(one) is not type(part)), part))


@dataclass(frozen=True)
class TailRule:
    """What stands behind the video in one evaluation.

    keep       (B, n) int64, the tokens that act of all that the layout has
    layout     of all that stand there
    attention  that was asked for, by name
    path       that runs, of `kernels.paths`
    bias       (1 or B, n), added to the logits of their keys
    groups     who sees whom
    """

    keep: Tensor
    layout: Annotated[Layout, wire.CONSTANT]
    attention: str
    path: str
    bias: Tensor | None = None
    groups: Groups | None = None


@dataclass(frozen=True)
class TextRule:
    """What stands behind the text in one evaluation: bias (1, n), added to the logits of its keys, and who
    reads what."""

    bias: Tensor | None = None
    groups: Groups | None = None


@dataclass(frozen=True)
class Inside:
    """An evaluation inside of the model: the module whose forward is called, the call, all that the sampler
    holds (B, C, F + k, h, w), and what was worked out for the video's tail and for the text, or None where
    nothing acts there."""

    module: Any
    call: wan.ForwardCall
    state: Tensor
    tail: TailRule | None
    text: TextRule | None

    @property
    def layout(self) -> Layout:
        """Of what stands behind the video. RuntimeError where that was not worked out."""
        if self.tail is None:
            raise past_apply_model()
        return self.tail.layout

    @property
    def spare(self) -> Tensor:
        """(B, C, k, h, w), what the sampler holds behind the video."""
        return self.state[:, :, self.call.x.shape[2] :]


class Rider:
    """A feature that travels with a run: references, identities, given frames, a source video. An instance is
    its part of one evaluation, a frozen dataclass that `wire` packs. What it is not asked to do, it leaves as
    it is.

    attached  the dataclass that a conditioning carries of it
    name      in words, and `nodes`, which give a model and a conditioning with it
    experts   whether these take Wan 2.2's second expert
    guided    whether an image scale acts on it: passes without conditions are without it
    unseen    why it cannot be inspected, or None
    """

    attached: ClassVar[type]
    name: ClassVar[str]
    nodes: ClassVar[str]
    experts: ClassVar[bool] = True
    guided: ClassVar[bool] = True
    unseen: ClassVar[str | None] = None

    # ---- its two halves

    @classmethod
    def carried(cls, options: Options) -> bool:
        """Whether a condition has it."""
        return wire.read(cls.attached, options) is not None

    @classmethod
    def takes(cls, model: ModelPatcher) -> bool:
        """Whether a model on which our hooks are runs it."""
        return True

    @classmethod
    def unlike(cls, model: ModelPatcher, sides: Any) -> Iterator[str]:
        """What a model has otherwise than the conditions of its sides, in words."""
        return iter(())

    @classmethod
    def recipe_of(cls, options: Options) -> str | None:
        """The name of the recipe that a condition's tokens behind the video follow."""
        return getattr(wire.read(cls.attached, options), "recipe", None)

    @classmethod
    def null(cls, options: Options, positive: Sequence[Options]) -> Options:
        """A condition of a negative as it is in guiders' pass without conditions, beside the positive
        ones."""
        return options

    @classmethod
    def tell_scale(cls, positive: Sequence[Options]) -> None:
        """Log why an image scale does nothing to it, where it does not."""

    # ---- a run

    @classmethod
    def conds(cls, cond: Options, model: ModelPatcher, grid: tuple[int, ...]) -> "Rider | None":
        """Its part of the evaluations of one condition, for a video latent of grid (frames, rows, columns);
        None without."""
        return None

    @classmethod
    def model_conds(cls, cond: Options, model: ModelPatcher) -> Options:
        """What the model itself has to be given with a condition, by core's names."""
        return {}

    @classmethod
    def check(cls, conditions: Sequence[Options]) -> None:
        """ValueError where the conditions of a run do not belong together."""

    @classmethod
    def run(cls, given: SamplerRun, execute: Callable[[SamplerRun], Any]) -> Any:
        """The whole run. -> its samples."""
        return execute(given)

    @classmethod
    def end(cls, conditions: Sequence[Options], samples: Tensor) -> Tensor:
        """The samples of a run that ends without noise."""
        return samples

    # ---- an evaluation

    def spare(self, x: Tensor) -> int:
        """Frames of its own behind the video's of what a sampler holds (B, C, F + k, h, w)."""
        return 0

    def count(self, geometry: Geometry) -> int:
        """Tokens that it adds to the sequence, for ComfyUI's estimate of memory."""
        return 0

    def now(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation with what is its own: outside of the module that may be compiled."""
        return evaluation

    def called(self, call: wan.ForwardCall) -> None:
        """Changes the call of the module."""

    def embed(self, inside: Inside) -> Embedded | None:
        """The tokens of what it put behind the video."""
        return None

    def embed_text(self, inside: Inside) -> Tensor | None:
        """The tokens of what it put behind the text, (B, n, C) in the module's width."""
        return None

    def finish(self, out: Tensor, after: Tensor | None) -> Tensor:
        """The velocity that the module says, from what it made of the video (B, C, F, h, w) and of the
        rider's own tokens behind it, after the last block (B, R, C), which are None where no block ran."""
        return out

    def estimate(self, denoised: Tensor) -> Tensor:
        """A clean estimate (B, C, F + k, h, w), of a pass that has it, and after guidance."""
        return denoised


_kinds: list[type[Rider]] = []


def register_rider(kind: type[Rider]) -> None:
    """Make a kind of rider known. Riders act in the order in which their kinds were registered."""
    if kind not in _kinds:
        _kinds.append(kind)


def kinds() -> tuple[type[Rider], ...]:
    """All that are registered, as they act."""
    return tuple(_kinds)


def _in_order(parts: Iterable[Any]) -> list[Rider]:
    """The riders among the parts of an evaluation, as they act."""
    by_kind = {type(part): part for part in parts}
    return [by_kind[kind] for kind in _kinds if kind in by_kind]


def spare(parts: Iterable[Any], x: Tensor) -> int:
    """Frames behind the video's of what a sampler holds."""
    return sum(rider.spare(x) for rider in _in_order(parts))


def recipe_carried(options: Options) -> str | None:
    """The name of the recipe that what a condition carries is for, whichever rider's."""
    return next((name for kind in _kinds if (name := kind.recipe_of(options)) is not None), None)


def past_apply_model() -> RuntimeError:
    """Strengths, windows and regions would be lost without a word."""
    return RuntimeError(
        "refvid: the diffusion model was called past ComfyUI's apply_model, where the controls of references are worked "
        "out; another pack does that. Remove it"
    )
