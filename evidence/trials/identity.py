"""Trial of identities: whether a reference video reaches the video, on unseen toys that mostly motion tells
apart.

Directions of effect on the demo world only; they say nothing about the paper's figures.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ...backbones.base import VideoVAE
from ...backbones.wan.geometry import WAN
from ...core.recipes import AUTO_RECIPE, choose_recipe
from ...core.reference_video import cover, make_reference_video
from ...core.references import make_reference, prepare
from ...core.slots import SlotEncoder, SlotsConfig
from ...demo import captions, casting, world
from ...evaluation.statistics import hits
from ...hosts.plain.evaluation import Rider
from ...hosts.plain.identities import PeopleRider, Person
from ...hosts.plain.pipeline import Pipeline, Progress, Settings, generate_in_rows
from ...hosts.plain.references import encode_pictures, kept_references_in_rows
from .. import toy_figures
from ..dynamics import dynamics_of, kind_of
from ..tables import FigureValues, mean_over_noises
from .clips import CODED, TRUTH, UNSEEN_SEED, seeds_of, through

NAMED_BY_CAPTION = "nothing; its caption names the toy"
IDENTITY_FIGURES = {
    "own": "similarity of colours to the toy's own video",
    "retrieval": "the own video is the most similar of all",
    "dynamics": "moves in itself as the toy does, of thirteen ways; over toys that do",
    "shape": "shape as the toy's",
    "texture": "texture as the toy's",
    "direction": "direction as asked",
    "background": "background as asked",
}


class IdentityTrial:
    """Unseen toys, three in four of which move in themselves, the scene each is asked for, and a video of it
    elsewhere."""

    def __init__(
        self,
        toys: int,
        settings: Settings,
        slots: SlotsConfig,
        named: bool = False,
    ):
        """`named`: captions say each toy's shape, and how it moves in itself."""
        generator = Generator().manual_seed(UNSEEN_SEED + 1)
        self.toys = casting.sample_identities(toys, generator, dynamic_share=0.75)
        self.scenes = casting.sample_scenes(toys, generator)
        said = captions.telling(toys, "shape", "motion") if named else None
        self.prompts = captions.captions([(self.toys, self.scenes)], said)
        self.truth, _ = world.render(self.toys, self.scenes, settings.frames, settings.height)
        film, alpha = world.render(
            self.toys, casting.other_scenes(self.scenes, generator), slots.frames, slots.size
        )
        geometry = WAN[slots.channels]
        self.videos = [
            make_reference_video((one / 2 + 0.5).movedim(0, -1), mask[0], slots.frames, slots.size, geometry)
            for one, mask in zip(film, alpha, strict=True)
        ]
        self.pictures = torch.stack([v.pictures[v.anchor] for v in self.videos]).movedim(-1, 1) * 2 - 1
        self.masks = torch.stack([v.masks[v.anchor] for v in self.videos])[:, None]

    def __len__(self) -> int:
        return len(self.prompts)

    def measure(self, clips: Tensor) -> dict[str, Tensor]:
        """One value per toy of every one of IDENTITY_FIGURES, (N,); NaN where a figure does not apply."""
        alike = toy_figures.toy_similarity(clips, self.pictures, self.masks)
        moves = dynamics_of(clips, self.toys, self.scenes) == kind_of(self.toys)
        return {
            "own": alike.diagonal(),
            "retrieval": hits(alike, torch.arange(len(self))),
            "dynamics": moves.float().masked_fill(self.toys.dynamics == 0, torch.nan),
            **toy_figures.agreements(clips, self.toys, self.scenes),
        }


@dataclass(frozen=True)
class IdentityReading:
    """Tokens that a variant reads: of whom (`turn` toys further), which, frames in order or not; nobody at
    all. `picture`: the anchor's picture is given beside them, as a masked reference."""

    turn: int = 0
    slots: bool = True
    anchor: bool = True
    ordered: bool = True
    nobody: bool = False
    picture: bool = False


PICTURED, TOGETHER = "masked picture", "own video and masked picture"
READINGS = {
    "own video": IdentityReading(),
    "own video, frames shuffled": IdentityReading(ordered=False),
    "slots alone": IdentityReading(anchor=False),
    "anchor alone": IdentityReading(slots=False),
    "another's video": IdentityReading(turn=1),
    "nobody": IdentityReading(nobody=True),
    PICTURED: IdentityReading(nobody=True, picture=True),
    TOGETHER: IdentityReading(picture=True),
}


@dataclass(frozen=True)
class Known:
    """Conditions of a trial's clips: tokens (N, n, C) of somebody, those of nobody (1, n, C), and the masked
    pictures, if any."""

    tokens: Tensor
    nobody: Tensor
    picture: Callable[[slice], Rider] | None = None


def evaluate_identity(
    backbone: Pipeline,
    slots: SlotsConfig,
    encoder: SlotEncoder,
    toys: int,
    noises: int = 1,
    readings: Collection[str] = READINGS,
    progress: Progress | None = None,
) -> FigureValues:
    """Figures of every toy in each of `readings` (names of READINGS), means over the noises, and of the true
    clips. `backbone` carries the adapter's LoRA already; `progress` counts readings."""
    trial = IdentityTrial(toys, backbone.settings, slots)
    asked = any(READINGS[name].picture for name in readings)
    shown = masked_pictures(trial, backbone) if asked else None  # refused before a clip is made
    values = {TRUTH: trial.measure(trial.truth)}
    for done, name in enumerate(readings, 1):
        read = Known(
            read_tokens(trial, backbone.vae, encoder, READINGS[name]),
            encoder.nobody(),
            shown if READINGS[name].picture else None,
        )
        values[name] = _measured(backbone, trial, read, noises)
        if progress is not None:
            progress(done, len(readings))
    return values


@torch.no_grad()
def evaluate_base(backbone: Pipeline, slots: SlotsConfig, toys: int, noises: int = 1) -> FigureValues:
    """Figures of a base without an adapter, means over the noises. They are of the truth through its VAE, and
    of words alone where captions name the toys."""
    trial = IdentityTrial(toys, backbone.settings, slots, named=True)
    named = _measured(backbone, trial, None, noises)
    return {CODED: trial.measure(through(backbone.vae, trial.truth)), NAMED_BY_CAPTION: named}


def _measured(backbone: Pipeline, trial: IdentityTrial, read: Known | None, noises: int) -> dict[str, Tensor]:
    """Means over the noises."""
    return mean_over_noises(
        noises, lambda noise: trial.measure(clips_of_identity(backbone, trial, read, noise))
    )


@torch.no_grad()
def masked_pictures(trial: IdentityTrial, backbone: Pipeline) -> Callable[[slice], Rider]:
    """Rider of some rows that shows each toy's anchor picture as a masked reference of the base's recipe."""
    vae, geometry = backbone.vae, backbone.dit.geometry
    size = backbone.settings.height, backbone.settings.width
    recipe = choose_recipe(AUTO_RECIPE, backbone.recipe, found=backbone.found)
    shown = [
        prepare(
            make_reference(video.pictures[video.anchor], video.masks[video.anchor]),
            recipe,
            *size,
            geometry.token,
        )
        for video in trial.videos
    ]
    latents = torch.cat([encode_pictures(vae, one.picture[None]) for one in shown])
    masks = torch.stack([one.mask[None] for one in shown])

    def rider(rows: slice) -> Rider:
        found = kept_references_in_rows(latents[rows], masks[rows], recipe, geometry)
        assert found is not None  # every toy's mask holds something
        return found

    return rider


@torch.no_grad()
def read_tokens(
    trial: IdentityTrial, vae: VideoVAE, encoder: SlotEncoder, reading: IdentityReading
) -> Tensor:
    """Identity tokens (N, n, C) that each toy's clip is given."""
    if reading.nobody:
        return encoder.nobody().expand(len(trial), -1, -1)
    parts, device = [], vae.device
    for index in range(len(trial)):
        video = trial.videos[(index + reading.turn) % len(trial)]
        order = torch.arange(len(video.pictures))
        if not reading.ordered:
            order = torch.randperm(len(order), generator=Generator().manual_seed(index))
        picture = slice(video.anchor, video.anchor + 1)
        given = []
        for pictures, masks in (
            (video.pictures[order], video.masks[order]),
            (video.pictures[picture], video.masks[picture]),
        ):
            given += [
                vae.encode(pictures.to(device, vae.dtype).movedim(-1, 0)[None] * 2 - 1).float(),
                cover(masks, vae.geometry)[None].to(device),
            ]
        encoded = encoder(*given)
        chosen = [encoded.anchors] * reading.anchor + [encoded.slots] * reading.slots
        parts.append(torch.cat(chosen, dim=1))
    return torch.cat(parts)


@torch.no_grad()
def clips_of_identity(backbone: Pipeline, trial: IdentityTrial, read: Known | None, noise: int) -> Tensor:
    """Clips (N, 3, F, H, W) with joint guidance, whose null pass has no words, nobody and no picture, or
    without identities. Noise depends on the toy and the number of the noise alone."""

    def riders(rows: slice) -> tuple[Rider, ...]:
        if read is None:
            return ()
        people = PeopleRider((Person(read.tokens[rows]),), read.nobody)
        return (people,) if read.picture is None else (read.picture(rows), people)

    seeds = seeds_of(backbone.settings, len(trial), noise)
    return generate_in_rows(backbone, trial.prompts, seeds, riders)
