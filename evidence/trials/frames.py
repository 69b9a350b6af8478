"""Trial of given frames: guidance by the frame too or by the prompt alone, what lies between two pictures, a
long video.

Directions of effect only; they say nothing about STIV's figures (arXiv 2412.07730).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Generator, Tensor

from ...backbones.wan.geometry import GROUP
from ...core.frames import Placed
from ...core.guidance import Guidance, Scale, joint
from ...core.long_video import LongVideo
from ...demo import captions, casting, world
from ...drawing.sheet import column_sheet, contact_sheet
from ...hosts.plain.long_video import FinishedParts, generate_long
from ...hosts.plain.pipeline import Pipeline, Progress, Request, generate
from ..tables import (
    FigureValues,
    Interval,
    interval_lines,
    interval_of,
    mean_over_noises,
    number_of,
    write_report,
)
from .clips import CODED, TRUTH, UNSEEN_SEED, seeded, through
from .references import Trial

_MOST_ROWS = 8  # of a sheet
JOINT, TEXT = "prompt and frame (JIT-CFG)", "prompt alone (CFG)"
GUIDED_FIGURES = ("motion", "own", "direction", "shape")  # of `references`, for a first frame
APART = 12  # pictures between two keys, as the demo base was trained
LONG = LongVideo(GROUP, 20, 20)  # the paper's 380 frames
TENTHS = 10
LONG_TOYS = 4
EVERY, KEYS_ALONE = "reference in every segment", "for the keys alone"


@dataclass(frozen=True)
class FrameReport:
    """Everything one evaluation says.

    rows       means over toys and noises by variant and figure
    along      mean similarity to the reference in every tenth of the long videos
    intervals  95 %, over toys; over joins where they are of joins
    """

    toys: int
    seeds: int
    rows: dict[str, dict[str, float]]
    along: dict[str, list[float]]
    intervals: list[Interval]


def evaluate_frames(
    backbone: Pipeline, toys: int, seeds: int, folder: Path, progress: Progress
) -> FrameReport:
    """Measure all three; write frames.json and the sheets into `folder`. Every toy is made with `seeds`
    noises, the same for all variants."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = 3 * toys * seeds
    rows, first = _first_frame(backbone, toys, seeds, folder, lambda done: progress(done, whole))
    between, second = _between(
        backbone, toys, seeds, folder, lambda done: progress(2 * toys * seeds + done, whole)
    )
    along, third = _long(backbone, seeds, folder, LONG)
    report = FrameReport(toys, seeds, {**rows, **between}, along, [*first, *second, *third])
    write_report(report, folder / "frames.json")
    return report


def guided_both_ways(
    backbone: Pipeline, toys: int, seeds: int, progress: Callable[[int], None] = lambda _: None
) -> tuple[FigureValues, dict[str, Tensor]]:
    """Guidance on a true first frame and the prompt against guidance on the prompt, whose null pass keeps the
    frame.

    -> figures, means over the noises, also of the true clips, as they are and through the VAE; the last
    noise's clips
    """
    settings = backbone.settings
    trial, scale = Trial(toys, settings.frames, settings.height), Scale(settings.scale)
    guidances = {JOINT: joint(scale), TEXT: Guidance(image=Scale(1.0), text=scale)}
    own = trial.own()
    values: FigureValues = {}
    clips: dict[str, Tensor] = {}
    for turn, (name, guidance) in enumerate(guidances.items()):

        def measure(
            noise: int, turn: int = turn, name: str = name, guidance: Guidance = guidance
        ) -> dict[str, Tensor]:
            made = []
            for index in range(toys):
                request = Request(trial.prompts[index], seeded(settings, index, noise), guidance=guidance)
                made.append(generate(backbone, replace(request, given=_given(trial.truth[index], [0]))))
                progress((turn * seeds + noise) * toys + index + 1)
            clips[name] = torch.stack(made)
            return {figure: one.double() for figure, one in trial.measure(own, clips[name]).items()}

        values[name] = mean_over_noises(seeds, measure)
    for name, clip in ((TRUTH, trial.truth), (CODED, through(backbone.vae, trial.truth))):
        values[name] = trial.measure(own, clip)
    return values, {TRUTH: trial.truth, **clips}


def _first_frame(
    backbone: Pipeline, toys: int, seeds: int, folder: Path, progress: Callable[[int], None]
) -> tuple[dict[str, dict[str, float]], list[Interval]]:
    values, clips = guided_both_ways(backbone, toys, seeds, progress)
    column_sheet(clips, folder / "first_frame.png", scale=1, most=_MOST_ROWS)
    rows = {
        f"first frame, {name}": {figure: row[figure].nanmean().item() for figure in GUIDED_FIGURES}
        for name, row in values.items()
    }
    return rows, [
        interval_of(f"{JOINT} minus {TEXT}, {figure}", values[JOINT][figure] - values[TEXT][figure])
        for figure in GUIDED_FIGURES
    ]


def travelling(toys: int, size: int) -> tuple[Tensor, list[str]]:
    """Unseen toys that travel, in APART + 1 pictures in a row from anywhere in a scene, (N, 3, APART + 1,
    size, size), and their captions."""
    generator = Generator().manual_seed(UNSEEN_SEED + 2)
    scenes = casting.sample_scenes(toys, generator)
    going = casting.heading(scenes, scenes.direction % world.DIRECTIONS.index("still"))  # it is the last
    cast = (casting.sample_identities(toys, generator), going)
    starts = torch.randint(0, world.WORLD_LENGTH - APART, (toys,), generator=generator)
    truth, _ = world.render(*cast, world.moments(APART + 1, 1, starts), size)
    return truth, captions.captions([cast], stride=1)


def _between(
    backbone: Pipeline, toys: int, seeds: int, folder: Path, progress: Callable[[int], None]
) -> tuple[dict[str, dict[str, float]], list[Interval]]:
    """Pictures between two true ones of a toy that moves, against the truth: the model's, blended ones, and
    the first picture held."""
    plan, settings = LongVideo(GROUP, 2, APART), backbone.settings
    truth, prompts = travelling(toys, settings.height)
    share = torch.linspace(0, 1, APART + 1)[1:-1, None, None]
    first, last, inside = truth[:, :, :1], truth[:, :, -1:], truth[:, :, 1:-1]
    blended = first + share * (last - first)
    made: list[Tensor] = []

    def measure(noise: int) -> dict[str, Tensor]:
        clips = []
        for index in range(toys):
            sized = replace(seeded(settings, index, noise), frames=plan.segment)
            pair = torch.stack([truth[index, :, 0], truth[index, :, -1]], 1)
            asked = Request(prompts[index], sized, given=_given(pair, [0, plan.segment - 1]))
            clips.append(generate(backbone, asked)[:, 1:APART])
            progress(noise * toys + index + 1)
        made.append(torch.stack(clips))
        return {"decibels": _decibels(made[-1], inside)}

    values = {
        "model": mean_over_noises(seeds, measure)["decibels"],
        "blended": _decibels(blended, inside),
        "first held": _decibels(first.expand_as(inside), inside),
        CODED: _decibels(through(backbone.vae, truth)[:, :, 1:APART], inside),
    }
    shown = {TRUTH: truth, "model": made[-1], "blended": blended}
    column_sheet(shown, folder / "between.png", scale=1, most=_MOST_ROWS)
    rows = {f"between, {name}": {"decibels": one.mean().item()} for name, one in values.items()}
    return rows, [
        interval_of(f"between: model minus {name}, decibels", values["model"] - values[name])
        for name in ("blended", "first held")
    ]


def _long(
    backbone: Pipeline, seeds: int, folder: Path, plan: LongVideo
) -> tuple[dict[str, list[float]], list[Interval]]:
    """Long videos of a few toys with their reference in every segment, or for the keys alone. -> similarity
    along them; intervals of it, and of how pictures differ at joins and inside segments."""
    trial = Trial(LONG_TOYS, backbone.settings.frames, backbone.settings.height)
    runs: dict[str, list[Tensor]] = {EVERY: [], KEYS_ALONE: []}
    videos, shown = [], []
    for name, toy in product(runs, range(LONG_TOYS)):
        made = [_long_clip(backbone, trial, plan, toy, seed, name == EVERY) for seed in range(seeds)]
        tenths = [video.unflatten(1, (TENTHS, -1)).movedim(1, 0) for video in made]
        runs[name].append(torch.stack([trial.similarity(one)[:, toy] for one in tenths]).mean(0))
        videos += made
        shown.append([one[:, one.shape[1] // 2] for one in tenths[-1]])
    contact_sheet(shown, [f"{100 * k // TENTHS} %" for k in range(TENTHS)], folder / "long.png", scale=1)
    own = {name: torch.stack(one) for name, one in runs.items()}
    drift, helps = own[EVERY][:, -1] - own[EVERY][:, 0], own[EVERY].mean(1) - own[KEYS_ALONE].mean(1)
    return {name: one.mean(0).tolist() for name, one in own.items()}, [
        interval_of("long: last tenth minus first, own", drift),
        interval_of("long: reference in every segment minus for the keys alone, own", helps),
        *_joins(videos, plan),
    ]


def _long_clip(
    backbone: Pipeline, trial: Trial, plan: LongVideo, toy: int, noise: int, every: bool
) -> Tensor:
    """(3, length, H, W): keys with the reference, segments with it or without."""
    references, cast = (trial.reference(toy),), [(trial.toys, trial.scenes)]
    apart, next_to = (captions.captions(cast, stride=stride)[toy] for stride in (APART, 1))
    keys = Request(apart, seeded(backbone.settings, toy, noise), references)
    between = replace(keys, prompt=next_to, references=references if every else ())
    with TemporaryDirectory() as parts:
        return generate_long(backbone, plan, keys, between, FinishedParts(Path(parts), ""))


def _joins(videos: list[Tensor], plan: LongVideo) -> list[Interval]:
    """Differences of pictures from the ones before them, at joins against inside segments."""
    steps = torch.stack([video.diff(dim=1).abs().mean((0, 2, 3)).double() for video in videos])
    at_join = torch.arange(1, plan.length) % (plan.stride // plan.keep) == 0
    join, inside = steps[:, at_join], steps[:, ~at_join]
    within = (join <= inside.amax(1, keepdim=True)).double().mean(1)
    return [
        interval_of("long: share of joins no larger than the largest step inside", within),
        interval_of("long: mean step at joins minus inside", join.mean(1) - inside.mean(1)),
    ]


def _given(clip: Tensor, indices: list[int]) -> Placed:
    """The first pictures of a clip (3, F, H, W) in [-1, 1]."""
    return Placed(clip[:, : len(indices)].movedim(0, -1) / 2 + 0.5, indices)


def _decibels(clips: Tensor, truth: Tensor) -> Tensor:
    """Peak signal to noise ratio of each clip, (N,), of a range of 2."""
    return 10 * torch.log10(4 / (clips - truth).square().mean((1, 2, 3, 4)).double().clamp_min(1e-10))


def frame_table(report: FrameReport) -> str:
    """The report for a terminal."""
    lines = [
        f"{report.toys} unseen toys, {number_of(report.seeds, 'noise')} each; long videos: {LONG_TOYS} toys"
    ]
    lines += [
        f"{name:48}" + "  ".join(f"{figure} {value:.4g}" for figure, value in row.items())
        for name, row in report.rows.items()
    ]
    lines += [
        f"long, {name}: own " + " ".join(f"{value:.2f}" for value in one)
        for name, one in report.along.items()
    ]
    return "\n".join([*lines, *interval_lines(report.intervals, "+.4f")])
