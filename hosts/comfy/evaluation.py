"""One evaluation of ComfyUI's model, the riders that travel with it, and what these may put to it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.geometry import Geometry
from ...core.layout import Layout
from ...core.references import Arranged
from ...kernels.focus import Focus
from ...kernels.grouped import Groups
from ...kernels.paths import ANY_ATTENTION
from . import wire
from .families import wan
from .run import SamplerRun

Options = dict[str, Any]  # of a condition, or all that a condition of a run has


@dataclass(frozen=True)
class StreamsBehindVideo:
    """Streams of tokens behind the video.

    arranged   their layout, which tokens are kept (B, n), and soft masks
    cells      (F, h, w) int64 of the video's latent, bit k where stream k acts; None: everywhere
    attention  that is asked for, by name
    """

    arranged: Arranged
    cells: Tensor | None = None
    attention: str = ANY_ATTENTION


@dataclass(frozen=True)
class GroupsBehindText:
    """Tokens behind the text.

    sizes  of the groups of tokens that are read apart
    bias   (1, n), added to the logits of their keys
    cells  (F, h, w) int64 of the video's latent, bit k where group k is read; None: everywhere
    """

    sizes: tuple[int, ...]
    bias: Tensor | None = None
    cells: Tensor | None = None


@dataclass(frozen=True)
class Embedded:
    """A rider's tokens behind the video, before removal.

    tokens     (B, n, C), of each stream
    rotations  (1, n, 1, D/2, 2, 2), of each stream
    types      rows of the model's type embedding, numbers -> (rows, C), where it has one
    """

    tokens: list[Tensor]
    rotations: list[Tensor]
    types: Callable[[list[int]], Tensor] | None = None


@dataclass(frozen=True)
class Evaluation:
    """One call of the model, for rows of one condition or of several in a batch. Its parts are found by their
    type.

    model                a `BaseModel`
    x                    (B, C, F + k, h, w), what the sampler holds: the video's latent, and behind it frames
                         of a rider's own
    t                    (B,), noise levels
    text                 number of tokens of the text
    behind, behind_text  what riders put there
    options              transformer_options, a copy for this call
    """

    model: Any
    x: Tensor
    t: Tensor
    text: int
    parts: tuple[Any, ...]
    behind: tuple[StreamsBehindVideo, ...] = ()
    behind_text: tuple[GroupsBehindText, ...] = ()
    options: Options = field(default_factory=dict)

    @property
    def riders(self) -> list["Rider"]:
        """Riders among its parts, in the order in which they act."""
        return _in_order(self.parts)

    @property
    def video(self) -> Tensor:
        """The video's part (B, C, F, h, w) of what the sampler holds."""
        return self.x[:, :, : self.x.shape[2] - spare(self.parts, self.x)]

    def having(self, part: Any) -> "Evaluation":
        """A copy with this part in the place of the one of its type."""
        return replace(self, parts=(*(one for one in self.parts if type(one) is not type(part)), part))


@dataclass(frozen=True)
class TailRule:
    """The tail of one evaluation: which tokens act, and who sees whom.

    keep       (B, n) int64, the tokens that act of all that the layout has
    layout     of all streams behind the video
    attention  that was asked for, by name
    path       that runs, of `kernels.paths`
    bias       (1 or B, n), added to the logits of their keys
    groups     queries that see different keys
    focus      automatic regions
    """

    keep: Tensor
    layout: Annotated[Layout, wire.CONSTANT]
    attention: str
    path: str
    bias: Tensor | None = None
    groups: Groups | None = None
    focus: Focus | None = None


@dataclass(frozen=True)
class TextRule:
    """The rule for what stands behind the text: bias (1, n), added to the logits of its keys, and groups of
    queries that read different tokens."""

    bias: Tensor | None = None
    groups: Groups | None = None


@dataclass(frozen=True)
class Inside:
    """An evaluation inside of the model.

    module      whose forward is called
    call        its arguments
    state       (B, C, F + k, h, w), all that the sampler holds
    tail, text  what was worked out for the video's tail and for the text; None where nothing acts there
    """

    module: Any
    call: wan.ForwardCall
    state: Tensor
    tail: TailRule | None
    text: TextRule | None

    @property
    def layout(self) -> Layout:
        """The layout of what stands behind the video. RuntimeError where it was not worked out."""
        if self.tail is None:
            raise past_apply_model()
        return self.tail.layout

    @property
    def spare(self) -> Tensor:
        """Frames (B, C, k, h, w) that the sampler holds behind the video."""
        return self.state[:, :, self.call.x.shape[2] :]


class Rider:
    """A feature that travels with a run: references, identities, given frames, a source video.

    An instance is its part of one evaluation, a frozen dataclass that `wire` packs. A rider leaves as it is
    what it is not asked to do.

    attached  the dataclass that a conditioning carries of it
    name      in words, as messages have it
    nodes     that give a model and a conditioning with it, in words
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
        """True where a condition has it."""
        return wire.read(cls.attached, options) is not None

    @classmethod
    def takes(cls, model: ModelPatcher) -> bool:
        """True where a model that has our hooks runs it."""
        return True

    @classmethod
    def unlike(cls, model: ModelPatcher, sides: Any) -> Iterator[str]:
        """Differences between a model and the conditions of its sides, in words."""
        return iter(())

    @classmethod
    def recipe_of(cls, options: Options) -> str | None:
        """The name of the recipe that a condition's tokens behind the video follow."""
        return getattr(wire.read(cls.attached, options), "recipe", None)

    @classmethod
    def null(cls, options: Options, positive: Sequence[Options]) -> Options:
        """A negative condition as the guiders' pass without conditions has it, beside the positive ones."""
        return options

    @classmethod
    def tell_scale(cls, positive: Sequence[Options]) -> None:
        """Log the reason where an image scale does nothing to it."""

    # ---- a run

    @classmethod
    def conds(cls, cond: Options, model: ModelPatcher, grid: tuple[int, ...]) -> "Rider | None":
        """The rider's part of the evaluations of one condition; None where the condition does not carry it.
        grid: (frames, rows, columns) of the video latent."""
        return None

    @classmethod
    def model_conds(cls, cond: Options, model: ModelPatcher) -> Options:
        """Arguments that the model itself needs with a condition, by core's names."""
        return {}

    @classmethod
    def check(cls, conditions: Sequence[Options]) -> None:
        """ValueError where the conditions of a run do not belong together."""

    @classmethod
    def run(cls, sampler_run: SamplerRun, execute: Callable[[SamplerRun], Any]) -> Any:
        """Run all steps. -> the samples."""
        return execute(sampler_run)

    @classmethod
    def end(cls, conditions: Sequence[Options], samples: Tensor) -> Tensor:
        """The samples of a run that ends without noise."""
        return samples

    # ---- an evaluation

    def spare(self, x: Tensor) -> int:
        """Number of its own frames behind the video's, in what a sampler holds (B, C, F + k, h, w)."""
        return 0

    def count(self, geometry: Geometry) -> int:
        """Number of tokens that it adds to the sequence, for ComfyUI's estimate of memory."""
        return 0

    def now(self, evaluation: Evaluation) -> Evaluation:
        """The evaluation with what is its own, worked out outside of the module that may be compiled."""
        return evaluation

    def called(self, call: wan.ForwardCall) -> None:
        """Change the call of the module."""

    def embed(self, inside: Inside) -> Embedded | None:
        """Tokens of what it put behind the video."""
        return None

    def embed_text(self, inside: Inside) -> Tensor | None:
        """Tokens of what it put behind the text, (B, n, C) in the module's width."""
        return None

    def finish(self, out: Tensor, after: Tensor | None) -> Tensor:
        """The velocity, from what the module made of the video.

        out    (B, C, F, h, w), the module's result for the video
        after  (B, R, C), the rider's own tokens after the last block; None where no block ran
        """
        return out

    def estimate(self, denoised: Tensor) -> Tensor:
        """A clean estimate (B, C, F + k, h, w), of a pass that has the rider, and after guidance."""
        return denoised


_kinds: list[type[Rider]] = []


def register_rider(kind: type[Rider]) -> None:
    """Make a kind of rider known. Riders act in the order in which their kinds were registered."""
    if kind not in _kinds:
        _kinds.append(kind)


def kinds() -> tuple[type[Rider], ...]:
    """Kinds of riders that are registered, in the order in which they act."""
    return tuple(_kinds)


def _in_order(parts: Iterable[Any]) -> list[Rider]:
    """Riders among the parts of an evaluation, in the order in which they act."""
    by_kind = {type(part): part for part in parts}
    return [by_kind[kind] for kind in _kinds if kind in by_kind]


def spare(parts: Iterable[Any], x: Tensor) -> int:
    """Number of frames behind the video's, in what a sampler holds."""
    return sum(rider.spare(x) for rider in _in_order(parts))


def recipe_carried(options: Options) -> str | None:
    """The name of the recipe that a condition's riders follow, whichever rider names it."""
    return next((name for kind in _kinds if (name := kind.recipe_of(options)) is not None), None)


def past_apply_model() -> RuntimeError:
    """An error for a model that is called past `apply_model`: strengths, windows and regions would be lost in
    silence."""
    return RuntimeError(
        "refvid: the diffusion model was called past ComfyUI's apply_model, where the controls of references "
        "are worked "
        "out; another pack does that. Remove it"
    )
