"""Trial of a reference's controls: whether they do what they say, at cfg 1, where only attention can act."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from ...core.controls import Controls
from ...core.references import Reference, make_reference
from ...demo import captions, world
from ...drawing.sheet import column_sheet, masked_cell
from ...evaluation.statistics import rank_correlation
from ...hosts.plain.pipeline import Pipeline, Progress, Request, generate
from ..tables import Interval, interval_lines, interval_of, write_report
from ..toy_figures import colour_histogram, segment
from .clips import UNSEEN_SEED, seeded
from .references import Trial

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
UNTOUCHED = STRENGTHS.index(1.0)
_MOST_ROWS = 8  # of a sheet


@dataclass(frozen=True)
class ControlReport:
    """Everything one evaluation says: mean similarity to the own reference at each of STRENGTHS, and 95 %
    intervals over the toys."""

    toys: int
    strengths: dict[str, float]
    intervals: list[Interval]


def evaluate_controls(backbone: Pipeline, toys: int, folder: Path, progress: Progress) -> ControlReport:
    """Measure strengths and regions; write controls.json and two sheets into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = toys * (len(STRENGTHS) + 2)
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
    references: list[tuple[Reference, Reference]]
    pictures: tuple[Tensor, Tensor]
    masks: tuple[Tensor, Tensor]
    halves: tuple[Tensor, Tensor]


def sample_duets(n: int, size: int, seed: int = UNSEEN_SEED + 1) -> Duets:
    """Unseen pairs of toys, n of them, side by side across their way, the first left or above."""
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
    return Duets(scenes, captions.captions(casts), references, pictures, masks, halves)  # pyright: ignore[reportArgumentType]


def _first_halves(first: world.Scenes, second: world.Scenes, size: int) -> Tensor:
    """Masks (n, size, size), 1 on the half of the picture in which the first toy's path is."""
    across = second.offset - first.offset
    line = (torch.arange(size) < size / 2).float()
    beside = across[:, 0].abs() > across[:, 1].abs()
    return torch.where(beside[:, None, None], line[None, None, :], line[None, :, None]).expand(-1, size, size)


def _regions(backbone: Pipeline, toys: int, folder: Path, progress: Callable[[int], None]) -> list[Interval]:
    """Each toy in its own half: colours of a half against its own reference less those against the
    other's."""
    settings = replace(backbone.settings, scale=1.0)
    pairs = sample_duets(toys, settings.height)
    made: dict[str, list[Tensor]] = {"without": [], "with": []}
    for index in range(toys):
        bound = [
            replace(reference, region=half[index])
            for reference, half in zip(pairs.references[index], pairs.halves, strict=True)
        ]
        for name, given in (("without", list(pairs.references[index])), ("with", bound)):
            asked = Request(pairs.prompts[index], seeded(settings, index), tuple(given))
            made[name].append(generate(backbone, asked))
        progress(2 * (index + 1))
    clips = {name: torch.stack(one) for name, one in made.items()}
    apart = {name: _kept_apart(one, pairs) for name, one in clips.items()}
    columns = {
        title: masked_cell(pairs.pictures[k], pairs.masks[k]) for k, title in enumerate(("first", "second"))
    }
    columns |= {f"{name} regions": _middle(one) for name, one in clips.items()}
    column_sheet(columns, folder / "regions.png", scale=2, most=_MOST_ROWS)
    return [
        interval_of("own half minus other half, without regions", apart["without"]),
        interval_of("own half minus other half, with regions", apart["with"]),
        interval_of("regions bring", apart["with"] - apart["without"]),
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
