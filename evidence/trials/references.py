"""Does the reference reach the video? Measured on toys the model never saw, pictured in another scene.

Directions of effect on the demo world only; they say nothing about the papers' figures.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from ...backbones.wan.vae import WanVAE
from ...core.files import write_text
from ...core.recipes import AUTO, choose_recipe
from ...core.references import Reference, make_reference
from ...demo import captions, world
from ...drawing.sheet import contact_sheet
from ...evaluation.figures import dynamic_degree, hits, paired_interval
from ...hosts.plain.pipeline import Pipeline, Request, generate
from .. import toy_figures as score
from ..showcase import masked

CODED = "truth through the VAE"
UNSEEN_SEED = 990_000  # training seeds stay far below
SHEET_ROWS = 12
FIGURES = {
    "own": "similarity to the toy's own reference",
    "other": "to those of the other toys, mean",
    "given": "to the reference that was given",
    "retrieval": "the own reference is the most similar of all",
    "shape": "shape as the toy's",
    "texture": "texture as the toy's",
    "direction": "direction as asked",
    "background": "background as asked",
    "leak": "background of the given reference in the clip's",
    "motion": "dynamic degree: diagonals per frame, fastest 5 %",
}


@dataclass(frozen=True)
class Variant:
    """What the toys are generated with: `given` (N,) whose reference, or none; `asked` (N,) whose caption."""

    name: str
    given: Tensor | None
    asked: Tensor


@dataclass(frozen=True)
class Interval:
    """A paired comparison of one figure and its 95 % bootstrap interval over the toys."""

    name: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Report:
    """Everything one evaluation says: means over the toys per row and figure, and what the toys' own values were; None
    where a figure does not apply."""

    toys: int
    rows: dict[str, dict[str, float | None]]
    intervals: list[Interval]
    values: dict[str, dict[str, list[float | None]]]


class Trial:
    """Unseen toys, the scene each is asked for, and its reference from another scene."""

    def __init__(self, toys: int, frames: int, size: int, seed: int = UNSEEN_SEED):
        generator = Generator().manual_seed(seed)
        self.toys = world.sample_identities(toys, generator)
        self.scenes = world.sample_scenes(toys, generator)
        self.elsewhere = world.other_scenes(self.scenes, generator)
        self.truth, _ = world.render(self.toys, self.scenes, frames, size)
        pictures, alpha = world.render(self.toys, self.elsewhere, 1, size)
        self.pictures, self.masks = pictures[:, :, 0], alpha[:, :, 0].gt(0.5).float()
        self.prompts = captions.captions([(self.toys, self.scenes)])

    def __len__(self) -> int:
        return len(self.prompts)

    def reference(self, index: int) -> Reference:
        return make_reference(self.pictures[index].movedim(0, -1) / 2 + 0.5, self.masks[index, 0])

    def similarity(self, clips: Tensor) -> Tensor:
        """(clips, references)"""
        return score.similarity(clips, self.pictures, self.masks)

    def variants(self) -> list[Variant]:
        """Who is given and what is asked, each changed while the other stays."""
        straight = torch.arange(len(self))
        turned = straight.roll(1)
        return [
            Variant("own reference", straight, straight),
            Variant("another's reference", turned, straight),
            Variant("no reference", None, straight),
            Variant("another's caption", straight, turned),
        ]

    def measure(self, variant: Variant, clips: Tensor) -> dict[str, Tensor]:
        """One value per toy of every one of FIGURES, (N,); NaN where a figure does not apply."""
        alike, n = self.similarity(clips), len(self)
        own, asked = alike.diagonal(), self.scenes[variant.asked]
        given = (
            torch.full((n,), torch.nan) if variant.given is None else alike[torch.arange(n), variant.given]
        )
        return {
            "own": own,
            "other": (alike.sum(1) - own) / (n - 1),
            "given": given,
            "retrieval": hits(alike, torch.arange(n)),
            "shape": _agree(score.shape_of(clips), self.toys.shape),
            "texture": _agree(score.texture_of(clips, self.toys), self.toys.texture),
            "direction": _agree(score.direction_of(clips), asked.direction),
            "background": _agree(score.background_of(clips), asked.background),
            "leak": self._leak(variant, clips),
            "motion": torch.tensor([dynamic_degree(clip.permute(1, 2, 3, 0) / 2 + 0.5) for clip in clips]),
        }

    def _leak(self, variant: Variant, clips: Tensor) -> Tensor:
        asked = self.scenes.background[variant.asked]
        source = self.elsewhere.background[variant.asked if variant.given is None else variant.given]
        told_apart = asked != source
        leak = torch.full((len(self),), torch.nan)
        leak[told_apart] = score.background_leak(clips[told_apart], asked[told_apart], source[told_apart])
        return leak


def evaluate(
    backbone: Pipeline,
    toys: int,
    folder: Path,
    progress: Callable[[int, int], None] | None = None,
    seeds: int = 1,
) -> Report:
    """Generate every toy with its own reference, another toy's, none, and with another's caption, at the same noise;
    write score.json and score.png into `folder`. With several seeds a toy's value is the mean over its noises."""
    choose_recipe(AUTO, backbone.recipe)  # refused before anything is rendered
    settings = backbone.settings
    trial = Trial(toys, settings.frames, settings.height)
    variants, own = trial.variants(), Variant("truth", torch.arange(toys), torch.arange(toys))
    truths = {"truth": trial.truth, CODED: through(backbone.vae, trial.truth)}
    values = {name: trial.measure(own, clips) for name, clips in truths.items()}
    shown: dict[str, Tensor] = {}
    for turn, variant in enumerate(variants):
        runs = []
        for seed in range(seeds):
            done = (turn * seeds + seed) * toys
            clips = clips_of(
                backbone, trial, variant, seed, _offset(progress, done, toys * seeds * len(variants))
            )
            shown.setdefault(variant.name, clips)
            runs.append(trial.measure(variant, clips))
        values[variant.name] = {name: torch.stack([run[name] for run in runs]).mean(0) for name in FIGURES}
    report = summary(toys, values)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "score.json", json.dumps(asdict(report), indent=1, allow_nan=False) + "\n")
    _sheet(trial, shown, folder / "score.png")
    return report


def summary(toys: int, values: dict[str, dict[str, Tensor]]) -> Report:
    """Means, and paired intervals of what the world is meant to show."""
    first, ceiling = values["own reference"], values[CODED]
    intervals = [
        Interval(
            f"own reference minus {name}, similarity", *paired_interval(first["own"] - values[name]["own"])
        )
        for name in ("another's reference", "no reference")
    ]
    share = first["own"] / ceiling["own"].mean()
    intervals.append(Interval("own reference, share of the ceiling", *paired_interval(share)))
    swapped = values["another's caption"]["own"] - first["own"]
    intervals.append(Interval("another's caption minus own caption, similarity", *paired_interval(swapped)))
    intervals += [
        Interval(f"own reference, {name}", *paired_interval(first[name].double()))
        for name in ("retrieval", "shape", "texture", "direction")
    ]
    rows = {
        row: {name: _said(column.nanmean().item()) for name, column in kept.items()}
        for row, kept in values.items()
    }
    single = {
        row: {name: [_said(value) for value in kept[name].tolist()] for name in FIGURES}
        for row, kept in values.items()
    }
    return Report(toys, rows, intervals, single)


def _said(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value


def table(report: Report) -> str:
    """What a person reads: the rows, then the intervals."""
    lines = [f"{report.toys} unseen toys, each pictured in another scene"]
    lines.append(" " * 24 + "".join(f"{name:>11}" for name in FIGURES))
    lines += [
        f"{name:24}"
        + "".join(f"{'-':>11}" if (v := row[figure]) is None else f"{v:11.3f}" for figure in FIGURES)
        for name, row in report.rows.items()
    ]
    lines += [f"{i.name}: {i.mean:+.3f} [{i.low:+.3f}, {i.high:+.3f}] (95 %)" for i in report.intervals]
    return "\n".join(lines)


def clips_of(
    backbone: Pipeline,
    trial: Trial,
    variant: Variant,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """The variant's clips (N, 3, F, H, W); noise depends on the toy and the seed alone."""
    made = []
    for index in range(len(trial)):
        references = () if variant.given is None else (trial.reference(int(variant.given[index])),)
        seeded = replace(backbone.settings, seed=backbone.settings.seed + index + 1000 * seed)
        prompt = trial.prompts[int(variant.asked[index])]
        made.append(generate(backbone, Request(prompt, seeded, references)))
        progress(index + 1)
    return torch.stack(made)


def _offset(progress: Callable[[int, int], None] | None, done: int, of: int) -> Callable[[int], None]:
    return lambda more: progress(done + more, of) if progress is not None else None


@torch.no_grad()
def through(vae: WanVAE, video: Tensor) -> Tensor:
    """video (N, 3, F, H, W), coded and decoded: what no model behind this VAE can surpass."""
    parts = [vae.decode(vae.encode(part.to(vae.device, vae.dtype))) for part in video.split(16)]
    return torch.cat(parts).float().cpu().clamp(-1, 1)


def _sheet(trial: Trial, clips: dict[str, Tensor], path: Path) -> None:
    rows: list[list[Tensor]] = []
    said: Sequence[str] = trial.prompts[:SHEET_ROWS]
    for i in range(len(said)):
        seen = [trial.pictures[i], masked(trial.pictures[i], trial.masks[i])]
        rows.append([*seen, *(video[i] for video in clips.values()), trial.truth[i]])
    titles = ["reference picture", "what the model sees", *clips, "truth"]
    contact_sheet(rows, titles, path, captions=[f'"{prompt}"' for prompt in said], scale=2)


def _agree(found: Tensor, wanted: Tensor) -> Tensor:
    return (found == wanted).float()
