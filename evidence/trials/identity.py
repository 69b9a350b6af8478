"""Does a reference video reach the video? Measured on toys the model never saw, most of which only motion tells apart.

Directions of effect on the demo world only; they say nothing about the paper's figures.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ...backbones.wan.geometry import WAN
from ...backbones.wan.vae import WanVAE
from ...core.reference_video import cover, make_reference_video
from ...core.slots import SlotEncoder, SlotsConfig
from ...demo import captions, world
from ...evaluation.figures import hits, paired_interval
from ...hosts.plain.identities import People, Person
from ...hosts.plain.pipeline import Pipeline, Settings, generate_in_rows
from .. import toy_figures as score
from ..dynamics import dynamics_of, kind_of
from .references import CODED, UNSEEN_SEED, Interval, through

NAMED = "nothing; its caption names the toy"
FIGURES = {
    "own": "similarity of colours to the toy's own video",
    "retrieval": "the own video is the most similar of all",
    "dynamics": "moves in itself as the toy does, of nine ways; over toys that do",
    "shape": "shape as the toy's",
    "texture": "texture as the toy's",
    "direction": "direction as asked",
    "background": "background as asked",
}


class IdentityTrial:
    """Unseen toys, three in four of which move in themselves, the scene each is asked for, and a video of it elsewhere."""

    def __init__(
        self,
        toys: int,
        settings: Settings,
        slots: SlotsConfig,
        seed: int = UNSEEN_SEED + 1,
        named: bool = False,
    ):
        """`named`: captions say each toy's shape, and how it moves in itself."""
        generator = Generator().manual_seed(seed)
        self.toys = world.sample_identities(toys, generator, dynamic_share=0.75)
        self.scenes = world.sample_scenes(toys, generator)
        self.prompts = captions.captions([(self.toys, self.scenes)], torch.full((toys,), named))
        self.truth, _ = world.render(self.toys, self.scenes, settings.frames, settings.height)
        film, alpha = world.render(
            self.toys, world.other_scenes(self.scenes, generator), slots.frames, slots.size
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
        """One value per toy of every one of FIGURES, (N,); NaN where a figure does not apply."""
        alike = score.similarity(clips, self.pictures, self.masks)
        moves = dynamics_of(clips, self.toys, self.scenes) == kind_of(self.toys)
        found = {
            "own": alike.diagonal(),
            "retrieval": hits(alike, torch.arange(len(self))),
            "dynamics": moves.float().masked_fill(self.toys.dynamics == 0, torch.nan),
            "shape": (score.shape_of(clips) == self.toys.shape).float(),
            "texture": (score.texture_of(clips, self.toys) == self.toys.texture).float(),
            "direction": (score.direction_of(clips) == self.scenes.direction).float(),
            "background": (score.background_of(clips) == self.scenes.background).float(),
        }
        return {name: found[name] for name in FIGURES}


@dataclass(frozen=True)
class Reading:
    """What a variant reads: of whom (`turn` toys further), which tokens, frames in order or not; nobody at all."""

    turn: int = 0
    slots: bool = True
    anchor: bool = True
    ordered: bool = True
    nobody: bool = False


READINGS = {
    "own video": Reading(),
    "own video, frames shuffled": Reading(ordered=False),
    "slots alone": Reading(anchor=False),
    "anchor alone": Reading(slots=False),
    "another's video": Reading(turn=1),
    "nobody": Reading(nobody=True),
}


def evaluate_identity(
    backbone: Pipeline,
    slots: SlotsConfig,
    encoder: SlotEncoder,
    toys: int,
    seeds: int = 1,
    progress: Callable[[int, int], None] | None = None,
    readings: Iterable[str] = READINGS,
) -> dict[str, dict[str, Tensor]]:
    """Generate every toy in each of `readings` (names of READINGS) at the same noises. `backbone` carries the adapter's LoRA already. -> values per toy,
    means over the seeds, by variant and figure; also of the true clips."""
    trial = IdentityTrial(toys, backbone.settings, slots)
    values, names = {"truth": trial.measure(trial.truth)}, list(readings)
    for done, name in enumerate(names):
        tokens = read_tokens(trial, backbone.vae, encoder, READINGS[name])
        runs = []
        for seed in range(seeds):
            runs.append(trial.measure(clips_of(backbone, trial, tokens, encoder.nobody(), seed)))
            if progress is not None:
                progress(done * seeds + seed + 1, len(names) * seeds)
        values[name] = {figure: torch.stack([run[figure] for run in runs]).mean(0) for figure in FIGURES}
    return values


@torch.no_grad()
def evaluate_base(
    backbone: Pipeline, slots: SlotsConfig, toys: int, seeds: int = 1
) -> dict[str, dict[str, Tensor]]:
    """What a base without an adapter allows: how much comes through its VAE, and how far words go where captions name the toys. -> values
    per toy, means over the seeds, by variant and figure."""
    trial = IdentityTrial(toys, backbone.settings, slots, named=True)
    runs = [trial.measure(clips_of(backbone, trial, None, None, seed)) for seed in range(seeds)]
    named = {figure: torch.stack([run[figure] for run in runs]).mean(0) for figure in FIGURES}
    return {CODED: trial.measure(through(backbone.vae, trial.truth)), NAMED: named}


@torch.no_grad()
def read_tokens(trial: IdentityTrial, vae: WanVAE, encoder: SlotEncoder, reading: Reading) -> Tensor:
    """(N, n, C): what each toy's clip is told of who is in it."""
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
                vae.encode(pictures.to(device).movedim(-1, 0)[None] * 2 - 1).float(),
                cover(masks, vae.geometry)[None].to(device),
            ]
        encoded = encoder(*given)
        chosen = [encoded.anchors] * reading.anchor + [encoded.slots] * reading.slots
        parts.append(torch.cat(chosen, dim=1))
    return torch.cat(parts)


@torch.no_grad()
def clips_of(
    backbone: Pipeline, trial: IdentityTrial, tokens: Tensor | None, nobody: Tensor | None, seed: int
) -> Tensor:
    """Clips (N, 3, F, H, W) with joint guidance, whose null pass has no words and nobody, or without identities; noise depends on the toy and
    the seed alone."""

    def people(rows: slice) -> tuple[People, ...]:
        return () if tokens is None or nobody is None else (People((Person(tokens[rows]),), nobody),)

    seeds = [backbone.settings.seed + row + 1000 * seed for row in range(len(trial))]
    return generate_in_rows(backbone, trial.prompts, seeds, people)


def intervals(values: dict[str, dict[str, Tensor]]) -> list[Interval]:
    """Paired differences of what reading someone is meant to change, over the toys that a figure applies to."""
    asked = [
        ("own video", "nobody", "own"),
        ("own video", "another's video", "own"),
        ("own video", "anchor alone", "dynamics"),
        ("own video", "own video, frames shuffled", "dynamics"),
        ("own video", "nobody", "dynamics"),
        ("own video", "nobody", "direction"),
    ]
    return [
        Interval(
            f"{one} minus {other}, {figure}",
            *paired_interval(_applying(values[one][figure] - values[other][figure])),
        )
        for one, other, figure in asked
    ]


def _applying(values: Tensor) -> Tensor:
    return values[~values.isnan()]
