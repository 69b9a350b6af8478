"""VACE on the plain host: a grey control, and references as frames in front of the video."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...backbones.base import HintFrames, VideoVAE
from ...backbones.wan.vace import VaceDiT
from ...core.front import ShownSpans, front_turn, require_visible, shown_spans
from ...core.layout import Layout
from ...core.recipe import Recipe
from ...core.recipes import RECIPES
from ...core.references import Reference
from ...core.schedule import flow_sigma, share_of
from ...kernels.paths import tell_path
from .attention_choice import PlainAttentionNeed, attention, choose_plain_attention
from .evaluation import Evaluation, FramesInFront, Rider
from .references import arrange_references, encode_pictures
from .tail import Schedule


@dataclass(frozen=True)
class HintsRider(Rider):
    """Frames that VACE's hint branch is shown: references, then a grey control.

    layout  of the references
    spans   of each, whose keys may be seen
    soft    (1, kept), log of the shares that soft masks cover
    cells   (F, h, w) int64 of the video's latent, bit k where reference k acts; None: everywhere
    shown   (1, channels, n + F, h, w)
    """

    layout: Layout
    spans: ShownSpans
    soft: Tensor | None
    cells: Tensor | None
    shown: Tensor

    @property
    def count(self) -> int:
        """Frames in front of the video."""
        return len(self.layout.streams)

    def spare(self, latent: tuple[int, ...]) -> int:
        return self.count

    def begin(self, noise: Tensor, seed: int) -> Tensor:
        """Noise of a video, and behind it that of the frames in front, by the next seed. The video's own is
        what it is without them [choice: vace-noise]."""
        shape = (*noise.shape[:2], self.count, *noise.shape[3:])
        own = torch.randn(shape, generator=torch.Generator().manual_seed((seed + 1) % 2**63))
        return torch.cat([noise, own.to(noise)], dim=2)

    def over(self, start: int, stop: int) -> "HintsRider":
        """ValueError: frames in front of the video belong to no window of it."""
        raise ValueError("windows: VACE's reference frames stand in front of the whole video; leave them out")

    def now(self, evaluation: Evaluation) -> Evaluation:
        latent = evaluation.latent
        frames = evaluation.state[:, :, latent.shape[2] :].to(latent)
        front = FramesInFront(self.layout, self.spans, self.soft, self.cells, frames, self.shown)
        return replace(evaluation, front=front)

    def finish(self, evaluation: Evaluation, out: Tensor, after: Tensor) -> Tensor:
        return torch.cat([out[:, :, self.count :], out[:, :, : self.count]], dim=2)


def require_carrier(recipe: Recipe, hints: bool) -> None:
    """ValueError for a recipe whose references travel otherwise than on a DiT with a hint branch, or without
    one."""
    if (recipe.carrier == "hints") == hints:
        return
    fitting = [name for name, build in RECIPES.items() if build().carrier == "hints"]
    which, needed = ("a VACE", "the recipe " + ", ".join(fitting)) if hints else ("no VACE", "one")
    raise ValueError(f"recipe is {recipe.name}, but the DiT is {which}; needed {needed}")


def encode_hints(
    dit: VaceDiT, vae: VideoVAE, references: list[Reference], recipe: Recipe, grid: tuple[int, int, int]
) -> HintsRider:
    """Frames that the hint branch is shown, for a video latent of grid (frames, rows, columns).

    They are the references that act, then a grey control with a mask of ones. ValueError as `require_visible`
    says.
    """
    require_visible(reference.controls for reference in references)
    geometry = dit.geometry
    arranged, cells, prepared = arrange_references(references, recipe, grid, geometry)
    frames, height, width = geometry.pictures(grid[0]), *(side * geometry.stride for side in grid[1:])
    grey = encode_pictures(vae, torch.full((frames, height, width, 3), 0.5))
    channels = dit.config.hint_channels - 2 * geometry.channels  # of the mask
    unknown = grey.new_ones(1, channels, *grid)
    shown = [torch.cat([grey, grey, unknown], dim=1)]
    for reference in reversed(prepared):
        picture = encode_pictures(vae, reference.picture[None])
        nothing = picture.new_zeros(1, geometry.channels + channels, *picture.shape[2:])
        shown.insert(0, torch.cat([picture, nothing], dim=1))
    spans = shown_spans(arranged)
    return HintsRider(arranged.layout, spans, arranged.soft, cells, torch.cat(shown, dim=2))


def hint_frames(evaluation: Evaluation, how: Schedule) -> HintFrames | None:
    """Frames that a pass shows a hint branch; None where no rider has any. ValueError beside tokens behind
    the video, regions of identities, and timesteps of the video's own frames."""
    front, dit = evaluation.front, evaluation.dit
    if front is None:
        return None
    if (
        evaluation.behind
        or evaluation.clock.ndim > 1
        or any(one.cells is not None for one in evaluation.behind_text)
    ):
        raise ValueError(
            "riders: VACE's reference frames cannot be beside other references, a source video, frames with a clock "
            "of their own, or identities with a region; leave one of them out"
        )
    layout, batch = front.layout, len(evaluation.latent)
    share = 0.0
    if layout.timed:
        share = share_of(float(evaluation.sigma.max()), lambda part: flow_sigma(part, how.shift))
    video = dit.geometry.count(*evaluation.latent.shape[2:])
    turn = front_turn(layout, front.spans, share, front.cells, front.soft, video, dit.device)
    tokens = video + sum(stream.tokens for stream in layout.streams)
    asked = PlainAttentionNeed(
        dit.heads, dit.head_size, layout, turn, batch, 0, tokens, dit.device, dit.dtype
    )
    choice = choose_plain_attention(asked, how.attention)
    tell_path(choice)
    shown = front.shown.to(evaluation.latent)
    return HintFrames(shown, 1.0, turn.bias, attention(choice.path.name, turn.groups))
