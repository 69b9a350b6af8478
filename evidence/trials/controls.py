"""Trial of a reference's controls: whether they do what they say, at cfg 1, where only attention can act."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from ...core.controls import Controls
from ...core.references import Reference, make_reference
from ...demo import captions, casting, world
from ...drawing.sheet import column_sheet, masked_cell
from ...evaluation.statistics import rank_correlation
from ...hosts.plain.pipeline import Pipeline, Progress, Request, generate
from ..tables import Interval, interval_lines, interval_of, write_report
from ..toy_figures import colour_histogram, segment
from .clips import UNSEEN_SEED, seeded
from .references import Trial

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
UNTOUCHED = STRENGTHS.index(1.0)
_APART = UNBOUND, BY_REGIONS, BY_WORDS = "neither", "regions", "words"  # by which two subjects are kept apart
_MOST_ROWS = 8  # of a sheet


@dataclass(frozen=True)
class ControlReport:
    """Everything one evaluation says: mean similarity to the own reference at each of STRENGTHS, and 95 %
    intervals over the toys."""

    toys: int
    strengths: dict[str, float]
    intervals: list[Interval]


def evaluate_controls(backbone: Pipeline, toys: int, folder: Path, progress: Progress) -> ControlReport:
    """Measure strengths, regions and words; write controls.json and two sheets into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = toys * (len(STRENGTHS) + len(_APART))
    by_strength, first = _strengths(backbone, toys, folder, lambda done: progress(done, whole))
    second = _regions(backbone, toys, folder, lambda done: progress(toys * len(STRENGTHS) + done, whole))
    report = ControlReport(toys, by_strength, [*first, *second])
    write_report(report, folder / "controls.json")
    return report


def _strengths(
    backbone: Pipeline, toys: int, folder: Path, progress: Callable[[int], None]
) -> tuple[dict[str, float], list[Interval]]:
    settings = replace(backbone.settings, scale=1.0)
    trial = Trial(toys, settings.frames, settings.height)
    clips: list[list[Tensor]] = []
    for index in range(toys):
        given, own = trial.reference(index), seeded(settings, index)
        asked = [(replace(given, controls=Controls(strength)),) for strength in STRENGTHS]
        clips.append([generate(backbone, Request(trial.prompts[index], own, one)) for one in asked])
        progress((index + 1) * len(STRENGTHS))
    by_strength = [torch.stack(column) for column in zip(*clips, strict=True)]
    alike = torch.stack([trial.similarity(column).diagonal() for column in by_strength], 1)
    up_to_one = alike[:, : UNTOUCHED + 1]
    ranks = rank_correlation(torch.tensor(STRENGTHS[: UNTOUCHED + 1]).expand_as(up_to_one), up_to_one)
    columns = {"reference": masked_cell(trial.pictures, trial.masks)}
    columns |= {f"strength {s:g}": _middle(made) for s, made in zip(STRENGTHS, by_strength, strict=True)}
    column_sheet(columns, folder / "strengths.png", scale=2, most=_MOST_ROWS)
    return (
        {f"{s:g}": alike[:, k].mean().item() for k, s in enumerate(STRENGTHS)},
        [
            interval_of("rank correlation of strength 0 to 1 with similarity", ranks),
            interval_of("similarity at strength 2 minus 1", alike[:, -1] - alike[:, UNTOUCHED]),
        ],
    )


@dataclass(frozen=True)
class Duets:
    """Two toys a clip, each with a photograph and the half of the video that it is asked for."""

    scenes: world.Scenes
    prompts: list[str]
    named: list[str]  # prompts that say of each toy its colour, its shape and its place
    references: list[tuple[Reference, Reference]]
    pictures: tuple[Tensor, Tensor]
    masks: tuple[Tensor, Tensor]
    halves: tuple[Tensor, Tensor]


def sample_duets(n: int, size: int) -> Duets:
    """Unseen pairs of toys, n of them, side by side across their way, the first left or above."""
    generator = Generator().manual_seed(UNSEEN_SEED + 1)
    scenes = casting.sample_scenes(n, generator)
    first, second = casting.duets(scenes)
    toys = casting.sample_identities(n, generator)
    # Two shapes, so that words can tell them apart.
    casts = [(toys, first), (casting.other_shape(toys, generator), second)]
    photos = [world.render(toys, casting.other_scenes(place, generator), 1, size) for toys, place in casts]
    pictures = tuple(video[:, :, 0] for video, _ in photos)
    masks = tuple(alpha[:, :, 0].gt(0.5).float() for _, alpha in photos)
    half = _first_halves(first, second, size)
    halves = (half, 1 - half)
    references = [
        tuple(make_reference(pictures[k][i].movedim(0, -1) / 2 + 0.5, masks[k][i, 0]) for k in (0, 1))
        for i in range(n)
    ]
    named = captions.captions(casts, captions.telling(n, "shape", "colour", "place"))
    return Duets(scenes, captions.captions(casts), named, references, pictures, masks, halves)  # pyright: ignore[reportArgumentType]


def _first_halves(first: world.Scenes, second: world.Scenes, size: int) -> Tensor:
    """Masks (n, size, size), 1 on the half of the picture in which the first toy's path is."""
    across = second.offset - first.offset
    line = (torch.arange(size) < size / 2).float()
    beside = across[:, 0].abs() > across[:, 1].abs()
    return torch.where(beside[:, None, None], line[None, None, :], line[None, :, None]).expand(-1, size, size)


def _regions(backbone: Pipeline, toys: int, folder: Path, progress: Callable[[int], None]) -> list[Interval]:
    """Each toy in its own half, by a region or by the prompt's words. What counts is the colours of a half
    against its own reference, less those against the other's."""
    settings = replace(backbone.settings, scale=1.0)
    pairs = sample_duets(toys, settings.height)
    made: dict[str, list[Tensor]] = {name: [] for name in _APART}
    for index in range(toys):
        bound = [
            replace(reference, region=half[index])
            for reference, half in zip(pairs.references[index], pairs.halves, strict=True)
        ]
        prompt, free = pairs.prompts[index], pairs.references[index]
        asked = {
            UNBOUND: (prompt, free),
            BY_REGIONS: (prompt, tuple(bound)),
            BY_WORDS: (pairs.named[index], free),
        }
        for name, (said, given) in asked.items():
            made[name].append(generate(backbone, Request(said, seeded(settings, index), given)))
        progress(len(_APART) * (index + 1))
    clips = {name: torch.stack(one) for name, one in made.items()}
    apart = {name: _kept_apart(one, pairs) for name, one in clips.items()}
    columns = {
        title: masked_cell(pairs.pictures[k], pairs.masks[k]) for k, title in enumerate(("first", "second"))
    }
    columns |= {name: _middle(one) for name, one in clips.items()}
    column_sheet(columns, folder / "regions.png", scale=2, most=_MOST_ROWS)
    return [
        *(interval_of(f"own half minus other half, {name}", apart[name]) for name in _APART),
        *(interval_of(f"{name} bring", apart[name] - apart[UNBOUND]) for name in (BY_REGIONS, BY_WORDS)),
    ]


def _middle(clips: Tensor) -> Tensor:
    """Middle pictures (N, 3, H, W) of clips (N, 3, F, H, W)."""
    return clips[:, :, clips.shape[2] // 2]


def half_similarities(clips: Tensor, pairs: Duets) -> list[list[Tensor]]:
    """Similarity of each half of clips to each of both references, (n,) each."""
    seen, found = segment(clips), []
    for half in pairs.halves:
        colours = colour_histogram(clips, seen * half[:, None, None])
        found.append(
            [
                torch.minimum(colours, colour_histogram(p.unsqueeze(2), m.unsqueeze(2))).sum(1)
                for p, m in zip(pairs.pictures, pairs.masks, strict=True)
            ]
        )
    return found


def _kept_apart(clips: Tensor, pairs: Duets) -> Tensor:
    """Mean over the two halves of the similarity to the half's reference less that to the other one, (n,)."""
    alike = half_similarities(clips, pairs)
    return torch.stack([alike[k][k] - alike[k][1 - k] for k in range(2)]).mean(0)


def control_table(report: ControlReport) -> str:
    """The report for a terminal."""
    lines = [f"{report.toys} unseen toys, cfg 1"]
    lines += [f"strength {name:>4}: similarity {value:.3f}" for name, value in report.strengths.items()]
    return "\n".join([*lines, *interval_lines(report.intervals)])
