"""Trial of edits: whether they do what is asked and nothing else, on unseen pairs whose truth is known.

Directions of effect on the demo world only; they say nothing about SAMA's figures (arXiv 2603.19228)
[choice: edit-figures].
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Generator, Tensor

from ...backbones.base import VideoVAE
from ...core.editing import PREFIX, edit_prompt
from ...core.recipe import Recipe
from ...demo import edits
from ...demo.captions import colour_said
from ...drawing.sheet import column_sheet
from ...hosts.plain.pipeline import Pipeline, Progress, generate_in_rows
from ...hosts.plain.source import SourceRider
from .. import toy_figures
from ..tables import FigureValues, mean_over_noises
from .clips import CODED, TRUTH, UNSEEN_SEED, seeds_of, through

LEAST_CHANGE = 0.2  # of a range of 2; what an edit changes less the VAE alone loses
MOST_DECIBELS = 100.0
EDIT_FIGURES = {
    "way": "share of the way from source to truth, in the region that the edit changes",
    "nearer": "that region is nearer to the truth than to the source",
    "kept": "all else against the source, decibels",
    "motion": "correlation with the truth of where and when pictures change",
    "stays": "a toy that the edit leaves alone is still there, where one is",
    "colour": "a quarter of that region or more is of the hue that is asked for, where one is",
}
ROWS_OF_KIND = 2  # of a sheet
UNEDITED = "source itself"  # a clip that no model made


class EditTrial:
    """Unseen edits of one kind, in a size and length, that change their region by LEAST_CHANGE or more."""

    def __init__(self, kind: str, count: int, frames: int, size: int):
        generator = Generator().manual_seed(UNSEEN_SEED + 10 + edits.EDIT_KINDS.index(kind))
        asked: list[str] = []
        parts: list[tuple[Tensor, ...]] = []
        while len(asked) < count:  # about half of some kinds change enough
            drawn = edits.sample_edits(kind, 4 + 2 * count, generator, frames, size)
            change = _distance(drawn.source, drawn.target, drawn.region)
            rows = change.ge(LEAST_CHANGE).nonzero()[: count - len(asked), 0]
            clips = drawn.source, drawn.target, drawn.region, drawn.bystander, drawn.ground
            parts.append(tuple(part[rows] for part in clips))
            asked += [drawn.instructions[row] for row in rows.tolist()]
        joined = map(torch.cat, zip(*parts, strict=True))
        self.source, self.truth, self.region, self.bystander, self.ground = joined
        self.prompts, self.colours = list(map(edit_prompt, asked)), list(map(colour_said, asked))

    def __len__(self) -> int:
        return len(self.prompts)

    def measure(self, clips: Tensor) -> dict[str, Tensor]:
        """One value per edit of every one of EDIT_FIGURES, (N,), of clips (N, 3, F, H, W); NaN where one does
        not apply.

        way     1 - d(clip, truth) / d(source, truth), d the mean absolute difference in the region. 1 for the
                truth, 0 for the source, a for the blend with a share a of the truth. Below 0: further off
        nearer  d(clip, truth) < d(clip, source)
        kept    peak signal to noise ratio outside of the region, of a range of 2, MOST_DECIBELS at most
        motion  Pearson's correlation, over pixels and steps in time, of how much pictures change from one to
                the next. The change is a norm over the colours, so that another colour is no other motion. 0
                for a clip that stands still, none where the truth does
        stays   d(clip, source) < d(clip, ground), over the pixels of a toy that the edit leaves alone; none
                where there is none
        colour  `toy_figures.shows_word` of the region; none where the instruction names no colour
        """
        missed = _distance(clips, self.truth, self.region)
        error = _mean((clips - self.source).square(), ~self.region)
        changes = [clip.diff(dim=2).square().sum(1).sqrt().flatten(1) for clip in (clips, self.truth)]
        still = changes[1].amax(1) < 1 / 255
        there, bare = (_distance(clips, one, self.bystander) for one in (self.source, self.ground))
        return {
            "way": 1 - missed / _distance(self.source, self.truth, self.region),
            "nearer": (missed < _distance(clips, self.source, self.region)).float(),
            "kept": (10 * torch.log10(4 / error)).clamp_max(MOST_DECIBELS),
            "motion": _correlation(*changes).masked_fill(still, torch.nan),
            "stays": (there < bare).float().masked_fill(there.isnan(), torch.nan),
            "colour": toy_figures.shows_word(clips, self.region, self.colours),
        }


def evaluate_edits(
    backbone: Pipeline, recipe: Recipe, count: int, noises: int, progress: Progress | None = None
) -> FigureValues:
    """Figures of `count` unseen edits of every kind, means over the noises. `backbone` carries an editing
    adapter's LoRA and modules; its settings give size and length. `progress` counts kinds."""
    values, settings = {}, backbone.settings
    for done, kind in enumerate(edits.EDIT_KINDS, 1):
        trial = EditTrial(kind, count, settings.frames, settings.height)

        def measure(noise: int, trial: EditTrial = trial) -> dict[str, Tensor]:
            return trial.measure(edited(backbone, recipe, trial, noise))

        values[kind] = mean_over_noises(noises, measure)
        if progress is not None:
            progress(done, len(edits.EDIT_KINDS))
    return values


def without_model(name: str, vae: VideoVAE, count: int, frames: int, size: int) -> FigureValues:
    """Figures of clips that no model made, by a name of WITHOUT_MODEL."""
    trials = {kind: EditTrial(kind, count, frames, size) for kind in edits.EDIT_KINDS}
    return {kind: trial.measure(WITHOUT_MODEL[name](vae, trial)) for kind, trial in trials.items()}


@torch.no_grad()
def edited(backbone: Pipeline, recipe: Recipe, trial: EditTrial, noise: int) -> Tensor:
    """The trial's clips (N, 3, F, H, W), as `hosts.plain.edit_film.edit_film` makes each by itself with the
    seed that `clips.seed_of` gives."""

    def source(rows: slice) -> tuple[SourceRider, ...]:
        vae, modules = backbone.vae, backbone.modules if recipe.types else None
        latent = vae.encode(trial.source[rows].to(vae.device, vae.dtype))
        return (SourceRider(latent, recipe, modules),)

    seeds = seeds_of(backbone.settings, len(trial), noise)
    return generate_in_rows(backbone, trial.prompts, seeds, source, PREFIX)


def edit_sheet(made: Mapping[str, Callable[[EditTrial], Tensor]], frames: int, size: int, path: Path) -> None:
    """Draw unseen edits of every kind, unselected and not those of a larger trial: source, what each of
    `made` makes of them, and truth."""
    trials = [EditTrial(kind, ROWS_OF_KIND, frames, size) for kind in edits.EDIT_KINDS]
    columns = {"source": torch.cat([trial.source for trial in trials])}
    columns |= {name: torch.cat([make(trial) for trial in trials]) for name, make in made.items()}
    columns[TRUTH] = torch.cat([trial.truth for trial in trials])
    prompts = [prompt for trial in trials for prompt in trial.prompts]
    column_sheet(columns, path, prompts, scale=1)


WITHOUT_MODEL: dict[str, Callable[[VideoVAE, EditTrial], Tensor]] = {
    UNEDITED: lambda vae, trial: trial.source,
    CODED: lambda vae, trial: through(vae, trial.truth),
}


def _distance(one: Tensor, other: Tensor, region: Tensor) -> Tensor:
    """Mean absolute difference in a region, (N,)."""
    return _mean((one - other).abs(), region)


def _mean(values: Tensor, region: Tensor) -> Tensor:
    """Mean over the colours and the pixels of a region, (N,); NaN where it has none."""
    total = (values * region).sum((1, 2, 3, 4))
    return total / (values.shape[1] * region.sum((1, 2, 3, 4)))


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    """Pearson's, of rows (N, n); 0 where a row is constant."""
    first, second = (part - part.mean(1, keepdim=True) for part in (one, other))
    return (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1)).clamp_min(1e-12)
