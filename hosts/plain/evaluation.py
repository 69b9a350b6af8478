"""One pass of a backbone at one noise level, the riders that travel with it, and what these may put to it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from ...backbones.base import Backbone
from ...core.front import ShownSpans
from ...core.guidance import Pass
from ...core.layout import Layout
from ...core.references import Arranged
from ...core.token_lora import TokenLora


@dataclass(frozen=True)
class Text:
    """Text that cross-attention reads.

    states  (B or 1, S, text width)
    bias    (B or 1, S), added to the logits of their keys
    """

    states: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True)
class TokensBehindVideo:
    """Tokens behind the video.

    arranged  their layout, which of them are kept, and soft masks
    tokens    (1 or B, n, C) of one stream or several after the other, before removal
    cells     (F, h, w) int64 of the video's latent, bit k where stream k acts; None: everywhere
    seen      (B, kept) bool, which of the kept tokens a row of the batch has; None: all of them
    level     (1 or B,), their noise level, where the recipe gives them a timestep of their own; None: they
              are clean
    types     rows of the model's type embedding, numbers -> (rows, C), where it has one
    lora      of their queries, keys and values, where the recipe has one
    """

    arranged: Arranged
    tokens: list[Tensor]
    cells: Tensor | None = None
    seen: Tensor | None = None
    level: Tensor | None = None
    types: Callable[[list[int]], Tensor] | None = None
    lora: TokenLora | None = None


@dataclass(frozen=True)
class TokensBehindText:
    """Tokens behind the text.

    tokens  (B or 1, n, C) in the backbone's width
    sizes   of the groups of tokens that are read apart
    bias    (B or 1, n), added to the logits of their keys
    cells   (F, h, w) int64 of the video's latent, bit k where group k is read; None: everywhere
    """

    tokens: Tensor
    sizes: tuple[int, ...]
    bias: Tensor | None = None
    cells: Tensor | None = None


@dataclass(frozen=True)
class FramesInFront:
    """Frames in front of the video, in the model's own sequence, which its hint branch is shown (VACE).

    layout  of the references in the first of them
    spans   of each reference, whose keys may be seen (`core.front`)
    soft    (1, kept), log of the shares that soft masks cover
    cells   (F, h, w) int64 of the video's latent, bit k where reference k acts; None: everywhere
    frames  (B, C, n, h, w), as noisy as the video
    shown   (1, channels, n + F, h, w), what the branch is shown
    """

    layout: Layout
    spans: ShownSpans
    soft: Tensor | None
    cells: Tensor | None
    frames: Tensor
    shown: Tensor


@dataclass(frozen=True)
class Evaluation:
    """One pass at one noise level, of a batch whose rows may differ.

    state                (B, C, F + k, h, w), what a sampler holds: the video's latent, and behind it frames
                         of a rider's own
    latent               (B, C, F, h, w), the video's as the model is shown it, in the model's type
    sigma                noise level of the video: one, (B,), or (B, F) for a level per frame
    clock                the levels that the model is told, of the same forms
    behind, behind_text  what riders put there
    start                latent frame of the whole video that it begins with
    front                what a rider put in front of the video
    """

    dit: Backbone
    entry: Pass
    state: Tensor
    latent: Tensor
    sigma: Tensor
    clock: Tensor
    behind: tuple[TokensBehindVideo, ...] = ()
    behind_text: tuple[TokensBehindText, ...] = ()
    start: int = 0
    front: FramesInFront | None = None

    @property
    def video(self) -> Tensor:
        """The video's part (B, C, F, h, w) of what a sampler holds."""
        return self.state[:, :, : self.latent.shape[2]]

    @property
    def spare(self) -> Tensor:
        """Frames (B, C, k, h, w) that a sampler holds behind the video."""
        return self.state[:, :, self.latent.shape[2] :]


class Rider:
    """A feature that travels with a run: references, identities, given frames, a source video. It leaves as
    it is what it is not asked to do."""

    def spare(self, latent: tuple[int, ...]) -> int:
        """Number of its own frames behind a video's latent (B, C, F, h, w), which a sampler takes along."""
        return 0

    def begin(self, noise: Tensor, seed: int) -> Tensor:
        """Noise of a video (B, C, F, h, w), with that of its own frames behind."""
        return noise

    def over(self, start: int, stop: int) -> "Rider":
        """A copy for the video's latent frames [start, stop) alone."""
        return self

    def now(self, evaluation: Evaluation) -> Evaluation:
        """The pass, with what is its own."""
        return evaluation

    def finish(self, evaluation: Evaluation, out: Tensor, after: Tensor) -> Tensor:
        """The velocity of a pass, from what the model made of the video.

        out    (B, C, F, h, w), the model's result for the video, and for frames in front of it
        after  (B, R, C), the rider's own tokens behind it, after the last block
        """
        return out

    def guide(self, latent: Tensor, sigma: Tensor, velocity: Tensor) -> Tensor:
        """The velocity after guidance, from a latent as the sampler holds it."""
        return velocity


_kinds: list[type[Rider]] = []


def register_rider(kind: type[Rider]) -> None:
    """Make a kind of rider known. Riders act in the order in which their kinds were registered."""
    if kind not in _kinds:
        _kinds.append(kind)


def in_order(riders: Iterable[Rider]) -> list[Rider]:
    """Riders of a run, in the order in which they act. ValueError for two of a kind, and for a kind that is
    not registered."""
    riders = list(riders)
    kinds = [type(rider) for rider in riders]
    for kind in kinds:
        if kind not in _kinds or kinds.count(kind) > 1:
            known = ", ".join(one.__name__ for one in _kinds)
            raise ValueError(
                f"riders: {kind.__name__} came {kinds.count(kind)} times; needed one each of {known}"
            )
    return sorted(riders, key=lambda rider: _kinds.index(type(rider)))


def levels(sigma: Tensor) -> Tensor:
    """The noisiest level of each row, (1 or B, 1, 1, 1, 1), of one level, (B,) or (B, F)."""
    rows = 1 if sigma.ndim == 0 else len(sigma)
    return sigma.reshape(rows, -1).amax(1).view(-1, 1, 1, 1, 1)
