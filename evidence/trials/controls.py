"""Do the controls of a reference do what they say? Measured on the demo world at cfg 1, where only attention can act."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from ...core.controls import Controls
from ...core.files import write_text
from ...core.references import Reference, make_reference
from ...demo import captions, world
from ...drawing.sheet import contact_sheet
from ...evaluation.figures import paired_interval, rank_correlation
from ...hosts.plain.pipeline import Pipeline, Request, generate
from .. import toy_figures as score
from ..showcase import masked
from .references import UNSEEN_SEED, Interval, Trial

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
UNTOUCHED = STRENGTHS.index(1.0)
SHEET_ROWS = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ControlReport:
    """strengths: mean similarity to the own reference at each of STRENGTHS; intervals over the toys, 95 %."""

    toys: int
    strengths: dict[str, float]
    intervals: list[Interval]


def evaluate_controls(backbone: Pipeline, toys: int, folder: Path, progress: Progress) -> ControlReport:
    """Strengths and regions; write controls.json and two sheets into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = toys * (len(STRENGTHS) + 2)
    by_strength, first = _strengths(backbone, toys, folder, lambda done: progress(done, whole))
    second = _regions(backbone, toys, folder, lambda done: progress(toys * len(STRENGTHS) + done, whole))
    report = ControlReport(toys, by_strength, [*first, *second])
    write_text(folder / "controls.json", json.dumps(asdict(report), indent=1, allow_nan=False) + "\n")
    return report


def _strengths(
    backbone: Pipeline, toys: int, folder: Path, progress: Callable[[int], None]
) -> tuple[dict[str, float], list[Interval]]:
    settings = replace(backbone.settings, scale=1.0)
    trial = Trial(toys, settings.frames, settings.height)
    clips: list[list[Tensor]] = []
    for index in range(toys):
        given = trial.reference(index)
        seeded = replace(settings, seed=settings.seed + index)
        clips.append(
            [
                generate(
                    backbone,
                    Request(trial.prompts[index], seeded, (replace(given, controls=Controls(s)),)),
                )
                for s in STRENGTHS
            ]
        )
        progress((index + 1) * len(STRENGTHS))
    alike = torch.stack(
        [trial.similarity(torch.stack(column)).diagonal() for column in zip(*clips, strict=True)], 1
    )
    up_to_one = alike[:, : UNTOUCHED + 1]
    ranks = rank_correlation(torch.tensor(STRENGTHS[: UNTOUCHED + 1]).expand_as(up_to_one), up_to_one)
    rows = [
        [masked(trial.pictures[i], trial.masks[i]), *(c[:, c.shape[1] // 2] for c in clips[i])]
        for i in range(min(SHEET_ROWS, toys))
    ]
    titles = ["reference", *(f"strength {s:g}" for s in STRENGTHS)]
    contact_sheet(rows, titles, folder / "strengths.png", scale=2)
    return (
        {f"{s:g}": alike[:, k].mean().item() for k, s in enumerate(STRENGTHS)},
        [
            Interval("rank correlation of strength 0 to 1 with similarity", *paired_interval(ranks)),
            Interval(
                "similarity at strength 2 minus 1", *paired_interval(alike[:, -1] - alike[:, UNTOUCHED])
            ),
        ],
    )


@dataclass(frozen=True)
class Pairs:
    """Two toys a clip, each with a photograph and the half of the video that it is asked for."""

    prompts: list[str]
    references: list[tuple[Reference, Reference]]
    pictures: tuple[Tensor, Tensor]
    masks: tuple[Tensor, Tensor]
    halves: tuple[Tensor, Tensor]


def sample_pairs(n: int, size: int, seed: int = UNSEEN_SEED + 1) -> Pairs:
    """n unseen pairs side by side across their way, the first left or above."""
    generator = Generator().manual_seed(seed)
    scenes = world.sample_scenes(n, generator)
    casts = [(world.sample_identities(n, generator), place) for place in world.duets(scenes)]
    photos = [world.render(toys, world.other_scenes(place, generator), 1, size) for toys, place in casts]
    pictures = tuple(video[:, :, 0] for video, _ in photos)
    masks = tuple(alpha[:, :, 0].gt(0.5).float() for _, alpha in photos)
    first = _first_halves(casts[0][1], casts[1][1], size)
    halves = (first, 1 - first)
    references = [
        tuple(make_reference(pictures[k][i].movedim(0, -1) / 2 + 0.5, masks[k][i, 0]) for k in (0, 1))
        for i in range(n)
    ]
    return Pairs(captions.captions(casts), references, pictures, masks, halves)  # pyright: ignore[reportArgumentType]


def _first_halves(first: world.Scenes, second: world.Scenes, size: int) -> Tensor:
    """(n, size, size), 1 on the half of the picture in which the first toy's path is."""
    across = second.offset - first.offset
    line = (torch.arange(size) < size / 2).float()
    beside = across[:, 0].abs() > across[:, 1].abs()
    return torch.where(beside[:, None, None], line[None, None, :], line[None, :, None]).expand(-1, size, size)


def _regions(backbone: Pipeline, toys: int, folder: Path, progress: Callable[[int], None]) -> list[Interval]:
    """Each toy in its own half: colours of a half against its own reference less those against the other's."""
    settings = replace(backbone.settings, scale=1.0)
    pairs = sample_pairs(toys, settings.height)
    made: dict[str, list[Tensor]] = {"without": [], "with": []}
    for index in range(toys):
        seeded = replace(settings, seed=settings.seed + index)
        bound = [
            replace(reference, region=half[index])
            for reference, half in zip(pairs.references[index], pairs.halves, strict=True)
        ]
        for name, given in (("without", list(pairs.references[index])), ("with", bound)):
            made[name].append(generate(backbone, Request(pairs.prompts[index], seeded, tuple(given))))
        progress(2 * (index + 1))
    kept = {name: _kept_apart(torch.stack(clips), pairs) for name, clips in made.items()}
    rows = [
        [
            *(masked(pairs.pictures[k][i], pairs.masks[k][i]) for k in (0, 1)),
            *(clips[i][:, clips[i].shape[1] // 2] for clips in made.values()),
        ]
        for i in range(min(SHEET_ROWS, toys))
    ]
    titles = ["first", "second", "without regions", "with regions"]
    contact_sheet(rows, titles, folder / "regions.png", scale=2)
    return [
        Interval("own half minus other half, without regions", *paired_interval(kept["without"])),
        Interval("own half minus other half, with regions", *paired_interval(kept["with"])),
        Interval("regions bring", *paired_interval(kept["with"] - kept["without"])),
    ]


def _kept_apart(clips: Tensor, pairs: Pairs) -> Tensor:
    """(n,): mean over the two halves of the similarity to the half's reference less that to the other one."""
    seen = score.segment(clips)
    found = []
    for k, half in enumerate(pairs.halves):
        colours = score.colour_histogram(clips, seen * half[:, None, None])
        alike = [
            torch.minimum(colours, score.colour_histogram(p.unsqueeze(2), m.unsqueeze(2))).sum(1)
            for p, m in zip(pairs.pictures, pairs.masks, strict=True)
        ]
        found.append(alike[k] - alike[1 - k])
    return torch.stack(found).mean(0)


def table(report: ControlReport) -> str:
    """What a person reads."""
    lines = [f"{report.toys} unseen toys, cfg 1"]
    lines += [f"strength {name:>4}: similarity {value:.3f}" for name, value in report.strengths.items()]
    lines += [f"{i.name}: {i.mean:+.3f} [{i.low:+.3f}, {i.high:+.3f}] (95 %)" for i in report.intervals]
    return "\n".join(lines)
