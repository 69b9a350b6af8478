"""Given frames (STIV) in ComfyUI: what a conditioning carries of them, their part in a run, and the node
half.

Every pass that carries them sees the clean pictures, every other pass sees noise there, and the run ends in
the clean ones. Each stage has the hook that ComfyUI has for it:

OUTER_SAMPLE     conditioning becomes grids over the video, which ComfyUI crops with areas and slices with
                 context windows
APPLY_MODEL      a pass that carries frames is shown them, and says of them what they are
DIFFUSION_MODEL  with a clock of their own they have the timestep 0
PREDICT_NOISE    they are what was given, whatever guidance and its hooks made of them
OUTER_SAMPLE     a clean result ends in them: uni_pc stops a thousandth short of it
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.frames import GivenFrames, Placed, given_frames
from . import wire
from .evaluation import Evaluation, Options, Rider
from .families import wan
from .install import install
from .rounding import alike
from .wire import Conditioning


@dataclass(frozen=True)
class AttachedFrames:
    """Given frames as a conditioning carries them.

    latent    (1, C, F, h, w) that stands on them, as the VAE made it
    replaced  (F,) bool: the frames that are given
    clock     of `core.controls.CLOCKS`
    """

    latent: Tensor
    replaced: Tensor
    clock: str

    @property
    def given(self) -> GivenFrames:
        """Given frames in core's form."""
        return GivenFrames(self.latent, self.replaced, self.clock)


@dataclass(frozen=True)
class Frames(Rider):
    """Given frames of one evaluation.

    latent  (B, C, F, h, w), clean, as the model sees it
    places  (B, 1, F, h, w), above 0 where frames are given
    clock   of `core.controls.CLOCKS`
    still   (B, F) int64, the frames at timestep 0; None until that is worked out, and with a shared clock
    """

    latent: Annotated[Tensor, wire.GRID]
    places: Annotated[Tensor, wire.GRID]
    clock: str
    still: Tensor | None = None

    attached = AttachedFrames
    name = "replaced frames"
    nodes = "Replace Frames or Between Key Frames"

    @classmethod
    def null(cls, options: Options, positive: Sequence[Options]) -> Options:
        return wire.without(AttachedFrames, options)

    @classmethod
    def conds(cls, cond: Options, model: ModelPatcher, grid: tuple[int, ...]) -> "Frames | None":
        attached = wire.read(AttachedFrames, cond)
        if attached is None:
            return None
        frames = attached.given
        if tuple(frames.latent.shape[2:]) != tuple(grid):
            raise ValueError(
                f"latent has {grid[0]} frames of {grid[2]}x{grid[1]} cells, but frames were replaced for one "
                "of "
                f"{frames.latent.shape[2]} of {frames.latent.shape[4]}x{frames.latent.shape[3]}; connect the "
                "latent that Replace Frames gave"
            )
        places = frames.mask.float().expand(-1, -1, *grid)
        return cls(model.model.process_latent_in(frames.latent), places, frames.clock)

    @classmethod
    def check(cls, conditions: Sequence[Options]) -> None:
        """ValueError where conditions carry different frames: a frame can end in one picture only."""
        carried = [one for cond in conditions if (one := wire.of_conds(cls, cond)) is not None]
        for other in carried[1:]:
            pairs = ((carried[0].latent, other.latent), (carried[0].places, other.places))
            if not all(alike(*pair) for pair in pairs):
                raise ValueError(
                    "positive and negative carry different replaced frames; connect both from one Replace "
                    "Frames"
                )

    @classmethod
    def end(cls, conditions: Sequence[Options], samples: Tensor) -> Tensor:
        carried = [one for cond in conditions if (one := wire.read(AttachedFrames, cond)) is not None]
        return carried[0].given.on(samples) if carried else samples

    def now(self, evaluation: Evaluation) -> Evaluation:
        if self.clock == "own":
            still = (self.places > 0)[:, 0, :, 0, 0].to(torch.int64)  # other types are cast to the model's
            evaluation = evaluation.having(replace(self, still=still))
        return replace(evaluation, x=self.estimate(evaluation.x))

    def called(self, call: wan.ForwardCall) -> None:
        if self.still is not None:
            call.require_plain_sequence()
            clock = call.timestep if call.timestep.ndim == 2 else call.timestep[:, None]
            call.timestep = clock * (1 - self.still)

    def estimate(self, denoised: Tensor) -> Tensor:
        """A clean estimate with the given frames in it. Frames behind the video's stay."""
        frames, places = self.latent.shape[2], self.places.to(denoised.device) > 0
        video = torch.where(places, self.latent.to(denoised), denoised[:, :, :frames])
        return video if denoised.shape[2] == frames else torch.cat([video, denoised[:, :, frames:]], dim=2)


def attach(conditioning: Conditioning, frames: GivenFrames) -> Conditioning:
    """A copy that carries these frames beside those it has. ValueError for a frame that is given twice, and
    for two clocks."""
    return [
        [text, wire.onto(options, _joined(frames, wire.read(AttachedFrames, options)))]
        for text, options in conditioning
    ]


def _joined(frames: GivenFrames, before: AttachedFrames | None) -> AttachedFrames:
    latent, replaced = frames.latent, frames.replaced
    if before is not None:
        both = before.replaced & replaced if before.replaced.shape == replaced.shape else None
        if both is None or both.any() or before.clock != frames.clock:
            raise ValueError(
                "frames: the conditioning carries replaced frames already, and these are for another length, "
                "share a latent frame with "
                "them, or have another clock"
            )
        latent, replaced = frames.on(before.latent), before.replaced | replaced
    return AttachedFrames(latent, replaced, frames.clock)


def length_of(latent: dict[str, Tensor], model: ModelPatcher) -> int:
    """Pictures of a video latent. ValueError where it is not a video's, and for a model that is no Wan."""
    wan.require(model)
    return wan.geometry(model).pictures(wan.video_latent(latent, model).shape[2])


def replace_frames(
    models: list[ModelPatcher],
    positive: Conditioning,
    negative: Conditioning,
    vae,
    latent: dict[str, Tensor],
    placed: Placed,
) -> tuple[list[ModelPatcher], Conditioning, Conditioning, dict[str, Tensor]]:
    """Put pictures onto the video. Everything that may be refused is refused before anything is encoded.

    -> models, positive, negative, and the latent with the pictures in it: a run that begins below full noise
    finds them there.
    """
    for given, what in zip(models, ("model", "low_noise_model"), strict=False):
        wan.require(given, what)
        _require_frames(given, what, placed.clock)
    wan.require_vae(vae, models[0])
    samples = wan.video_latent(latent, models[0])
    encoded = given_frames(placed, vae.encode, torch.zeros_like(samples[:1]), wan.geometry(models[0]))
    return (
        [install(model, Frames) for model in models],
        attach(positive, encoded),
        attach(negative, encoded),
        {**latent, "samples": encoded.on(samples)},
    )


def _require_frames(model: ModelPatcher, what: str, clock: str) -> None:
    if wan.input_channels(model) != wan.geometry(model).channels:
        raise ValueError(
            f"{what} takes {wan.input_channels(model)} input channels: image-to-video weights are given "
            "their frames by their own nodes "
            "(WanImageToVideo, WanFirstLastFrameToVideo, WanFunInpaintToVideo)"
        )
    if clock == "own" and wan.takes_hints(model):
        raise ValueError(
            f"clock is own, but {what} is a VACE model, whose forward has one timestep for the whole video; "
            "choose shared, or give the "
            "frames to WanVaceToVideo"
        )
