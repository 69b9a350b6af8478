"""A run without ComfyUI: its conditions, the velocity of a pass, of passes under guidance, and the steps to a
video. Sampling, training and evaluation call the same."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...backbones.base import Backbone, VideoVAE
from ...backbones.wan.sampler import sample_euler
from ...core.editing import Windows
from ...core.guidance import CONDITIONED, Guidance, Pass, combine, renormed
from ...core.schedule import flow_sigma, share_of
from ...kernels.paths import ANY_ATTENTION
from .evaluation import Evaluation, Rider, Text, in_order
from .recall import Kept
from .tail import Schedule, identities, own_tokens, tail
from .vace import hint_frames


@dataclass(frozen=True)
class Condition:
    """Conditions of a run; rows of a batch may differ in all of it.

    texts      by the names of `core.guidance.Pass.text`
    riders     what travels with it, at most one of a kind (`evaluation.register_rider`)
    padding    (1, group + channels, F, h, w), fills the channels that a masked-input backbone has beside the
               latent
    shift      of the schedule, which step windows are shares of
    attention  by name
    windows    that a longer video is evaluated in
    """

    texts: dict[str, Text]
    riders: tuple[Rider, ...] = ()
    padding: Tensor | None = None
    shift: float = 1.0
    attention: str = ANY_ATTENTION
    windows: Windows | None = None

    def spare(self, latent: tuple[int, ...]) -> int:
        """Number of frames that riders have behind a video's latent (B, C, F, h, w)."""
        return sum(rider.spare(latent) for rider in self.riders)

    def begin(self, noise: Tensor, seed: int) -> Tensor:
        """Noise of a video (B, C, F, h, w), with that of what riders have behind it."""
        for rider in in_order(self.riders):
            noise = rider.begin(noise, seed)
        return noise

    def over(self, start: int, stop: int) -> "Condition":
        """A copy for the video's latent frames [start, stop) alone, in one window."""
        riders = tuple(rider.over(start, stop) for rider in self.riders)
        padding = None if self.padding is None else self.padding[:, :, start:stop]
        return replace(self, riders=riders, padding=padding, windows=None)


def velocity(
    dit: Backbone,
    state: Tensor,
    sigma: Tensor,
    condition: Condition,
    entry: Pass,
    kept: Kept | None = None,
) -> Tensor:
    """The velocity of one pass, in the form of `state`, in the model's type or the state's.

    state  (B, C, F + k, h, w): the video's latent, and behind it what riders have there
    sigma  noise level: scalar, (B,), or (B, F) for a level per frame
    kept   what this pass keeps from step to step
    """
    windows = condition.windows
    if windows is None or state.shape[2] - condition.spare(tuple(state.shape)) <= windows.frames:
        return evaluate_pass(dit, state, sigma, condition, entry, kept)[0]
    maps = None if kept is None else replace(kept, keys=None)

    def in_one(part: Tensor, start: int, stop: int) -> Tensor:
        return evaluate_pass(dit, part, sigma, condition.over(start, stop), entry, maps, start)[0]

    return _in_windows(
        in_one,
        state,
        condition.spare(tuple(state.shape)),
        windows,
    )


def evaluate_pass(
    dit: Backbone,
    state: Tensor,
    sigma: Tensor,
    condition: Condition,
    entry: Pass,
    kept: Kept | None = None,
    start: int = 0,
) -> tuple[Tensor, Tensor]:
    """The velocity of one pass in one window, as `velocity` says, and the tokens behind the video after the
    last block (B, R, C). start: latent frame of the whole video that the window begins with."""
    riders, video = in_order(condition.riders), state.shape[2] - condition.spare(tuple(state.shape))
    latent = state[:, :, :video].to(dit.device, dit.dtype)
    evaluation = Evaluation(dit, entry, state, latent, sigma, sigma, start=start)
    own = []
    for rider in riders:
        first = len(evaluation.behind)
        evaluation = rider.now(evaluation)
        own.append(range(first, len(evaluation.behind)))
    latent, batch = evaluation.latent, len(state)
    text = condition.texts[entry.text]
    states = text.states.to(latent).expand(batch, -1, -1)
    how = Schedule(condition.shift, condition.attention)
    behind, hints = tail(evaluation, how, kept), hint_frames(evaluation, how)
    front = [] if evaluation.front is None else [evaluation.front.frames]
    extra = [] if condition.padding is None else [condition.padding.to(latent).expand(batch, -1, -1, -1, -1)]
    clock = evaluation.clock * dit.geometry.clock
    out, after = dit.through(
        torch.cat([torch.cat([*front, latent], dim=2), *extra], dim=1),
        clock.expand(batch) if clock.ndim == 0 else clock,
        states,
        context_bias=text.bias,
        image_features=dit.no_image(batch),
        tail=behind,
        identities=identities(evaluation, states.shape[1], behind),
        hints=hints,
    )
    for rider, which in zip(riders, own, strict=True):
        out = rider.finish(evaluation, out, own_tokens(evaluation, which, after))
    return out, after


def _in_windows(
    evaluate: Callable[[Tensor, int, int], Tensor], state: Tensor, spare: int, windows: Windows
) -> Tensor:
    """The velocity of a video's latent (B, C, F + spare, h, w), put together from overlapping windows as
    ComfyUI does.

    `evaluate(state, start, stop)` gives that of the part [start, stop). Each part is led by the frame before
    it, and weights are a pyramid. Frames that riders have behind the video go into every window whole and
    take the mean [choice: semantic-tokens-over-windows].
    """
    frames = state.shape[2] - spare
    video, behind = state[:, :, :frames], state[:, :, frames:]
    total, count, spare_parts = torch.zeros_like(video), torch.zeros(frames, 1, 1, device=state.device), []
    for start, stop in windows.spans(frames):
        first = max(0, start - 1)
        out = evaluate(torch.cat([video[:, :, first:stop], behind], dim=2), first, stop)
        weight = windows.weights(stop - start)[:, None, None].to(count)
        total[:, :, start:stop] += out[:, :, start - first : stop - first] * weight
        count[start:stop] += weight
        spare_parts.append(out[:, :, stop - first :])
    return torch.cat([total / count, torch.stack(spare_parts).mean(0)], dim=2)


def guided_velocity(
    dit: Backbone, condition: Condition, guidance: Guidance
) -> Callable[[Tensor, Tensor], Tensor]:
    """A function for the steps of one run: the passes of a noise level, combined, in the latent's type. It
    keeps keys and maps from step to step, so the batch size stays."""
    kept: dict[Pass, Kept] = defaultdict(Kept)

    def combined(state: Tensor, sigma: Tensor) -> Tensor:
        table = guidance.table(share_of(float(sigma), lambda part: flow_sigma(part, condition.shift)))
        passes = {
            entry: velocity(dit, state, sigma, condition, entry, kept[entry]).to(state) for entry, _ in table
        }
        guided = combine(table, passes)
        if guidance.renorm != "off" and len(table) > 1:
            guided = renormed(guided, passes[CONDITIONED], guidance.renorm == "frames")
        for rider in in_order(condition.riders):
            guided = rider.guide(state, sigma, guided)
        return guided

    return combined


def run_steps(
    dit: Backbone,
    vae: VideoVAE,
    condition: Condition,
    guidance: Guidance,
    noise: Tensor,
    sigmas: Tensor,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Sample a whole run. -> video (B, 3, pictures, height, width) in [-1, 1].

    noise   (B, C, F + k, h, w), as `Condition.begin` makes it
    sigmas  (steps + 1,)

    The latent is kept in fp32 whatever the weights' type, as in ComfyUI: fifty small steps would round away
    in bf16.
    """
    state = sample_euler(guided_velocity(dit, condition, guidance), noise, sigmas.to(noise.device), progress)
    latent = state[:, :, : state.shape[2] - condition.spare(tuple(state.shape))]
    with torch.no_grad():
        return vae.decode(latent.to(vae.dtype)).float().clamp(-1, 1)
