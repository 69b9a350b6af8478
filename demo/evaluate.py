"""Does the reference reach the video? Measured on toys the model never saw, pictured in another scene.

Directions of effect on the demo world only; they say nothing about the papers' figures.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from ..core.references import Reference, make_reference
from ..hosts.pipeline import Backbone, generate
from ..wan.vae import WanVAE
from . import score, world
from .sheet import contact_sheet
from .showcase import masked

UNSEEN_SEED = 990_000  # training seeds stay far below
SHEET_ROWS = 12


@dataclass(frozen=True)
class Row:
    """Means over the toys. own, other: similarity to the toy's own reference and to the others'; retrieval: own is
    the most similar; the rest are agreements with the caption, and the leak of the reference's background."""

    name: str
    own: float
    other: float
    retrieval: float
    shape: float
    direction: float
    background: float
    leak: float


@dataclass(frozen=True)
class Interval:
    """Mean of a paired difference in own-similarity and its 95 % bootstrap interval."""

    name: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Report:
    """Everything one evaluation says."""

    toys: int
    rows: list[Row]
    intervals: list[Interval]


class Trial:
    """Unseen toys, the scene each is asked for, and its reference from another scene."""

    def __init__(self, toys: int, frames: int, size: int, seed: int = UNSEEN_SEED):
        generator = Generator().manual_seed(seed)
        self.toys, self.scenes = (
            world.sample_identities(toys, generator),
            world.sample_scenes(toys, generator),
        )
        self.elsewhere = world.other_scenes(self.scenes, generator)
        self.truth, _ = world.render(self.toys, self.scenes, frames, size)
        pictures, alpha = world.render(self.toys, self.elsewhere, 1, size)
        self.pictures, self.masks = pictures[:, :, 0], alpha[:, :, 0].gt(0.5).float()
        self.prompts = world.captions(self.toys, self.scenes)

    def __len__(self) -> int:
        return len(self.prompts)

    def reference(self, index: int) -> Reference:
        return make_reference(self.pictures[index].movedim(0, -1) / 2 + 0.5, self.masks[index, 0])

    def similarity(self, clips: Tensor) -> Tensor:
        """(clips, references)"""
        return score.similarity(clips, self.pictures, self.masks)

    def row(self, name: str, clips: Tensor) -> Row:
        alike, n = self.similarity(clips), len(self)
        own = alike.diagonal()
        leak = score.background_leak(clips, self.scenes.background, self.elsewhere.background)
        return Row(
            name=name,
            own=own.mean().item(),
            other=((alike.sum(1) - own) / (n - 1)).mean().item(),
            retrieval=_share(alike.argmax(1), torch.arange(n)),
            shape=_share(score.shape_of(clips), self.toys.shape),
            direction=_share(score.direction_of(clips), self.scenes.direction),
            background=_share(score.background_of(clips), self.scenes.background),
            leak=leak.mean().item(),
        )


def evaluate(
    backbone: Backbone, toys: int, folder: Path, progress: Callable[[int, int], None] | None = None
) -> Report:
    """Generate every toy with its own reference, with another toy's and with none, at the same noise; write
    score.json and score.png into `folder`."""
    settings = backbone.settings
    trial = Trial(toys, settings.frames, settings.height)
    turned = torch.arange(toys).roll(1)
    # With someone else's reference the clip is still compared with its own toy.
    variants: dict[str, Callable[[int], list[Reference]]] = {
        "own reference": lambda i: [trial.reference(i)],
        "another's reference": lambda i: [trial.reference(int(turned[i]))],
        "no reference": lambda i: [],
    }
    clips, done = {}, 0
    for name, references in variants.items():
        parts = []
        for index in range(toys):
            seeded = replace(settings, seed=settings.seed + index)
            parts.append(generate(backbone, references(index), trial.prompts[index], seeded))
            done += 1
            if progress is not None:
                progress(done, toys * len(variants))
        clips[name] = torch.stack(parts)
    rows = {"truth": trial.truth, "truth through the VAE": _through(backbone.vae, trial.truth), **clips}
    report = Report(toys, [trial.row(name, video) for name, video in rows.items()], _intervals(trial, clips))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "score.json").write_text(json.dumps(asdict(report), indent=1) + "\n")
    _sheet(trial, clips, folder / "score.png")
    return report


@torch.no_grad()
def _through(vae: WanVAE, video: Tensor) -> Tensor:
    """video (N, 3, F, H, W), coded and decoded: what no model behind this VAE can surpass."""
    weight = vae.conv1.weight
    parts = [vae.decode(vae.encode(part.to(weight))) for part in video.split(16)]
    return torch.cat(parts).float().cpu().clamp(-1, 1)


def _intervals(trial: Trial, clips: dict[str, Tensor]) -> list[Interval]:
    own = {name: trial.similarity(video).diagonal() for name, video in clips.items()}
    first, *others = own
    return [
        Interval(f"{first} minus {name}", *score.paired_interval(own[first] - own[name])) for name in others
    ]


def _sheet(trial: Trial, clips: dict[str, Tensor], path: Path) -> None:
    rows = [
        [
            trial.pictures[i],
            masked(trial.pictures[i], trial.masks[i]),
            *(video[i] for video in clips.values()),
            trial.truth[i],
        ]
        for i in range(min(SHEET_ROWS, len(trial)))
    ]
    titles = ["reference picture", "what the model sees", *clips, "truth"]
    contact_sheet(
        rows, titles, path, captions=[f'"{prompt}"' for prompt in trial.prompts[: len(rows)]], scale=2
    )


def _share(found: Tensor, wanted: Tensor) -> float:
    return (found == wanted).float().mean().item()
