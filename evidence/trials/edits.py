"""Does an edit do what is asked, and nothing else? Measured on unseen pairs of the demo world, whose truth is known.

Directions of effect on the demo world only; they say nothing about SAMA's figures (arXiv 2603.19228). The figures are our choice.
"""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from ...backbones.wan.vae import WanVAE
from ...core.editing import PREFIX, edit_prompt
from ...core.recipes import Recipe
from ...demo import edits, world
from ...hosts.plain.pipeline import Pipeline, generate_in_rows
from ...hosts.plain.source import Source
from .references import UNSEEN_SEED

TOGETHER = 16  # clips coded together
LEAST_CHANGE = 0.2  # of a range of 2; what an edit changes less the VAE alone loses
MOST_DECIBELS = 100.0
FIGURES = {
    "way": "share of the way from source to truth, in the region that the edit changes",
    "nearer": "that region is nearer to the truth than to the source",
    "kept": "all else against the source, decibels",
    "motion": "correlation with the truth of where and when pictures change",
}
SOURCE, CODED = (
    "source itself",
    "truth through the VAE",
)  # no edit, and what no model behind the VAE can surpass

Values = dict[str, dict[str, Tensor]]  # by kind of edit and figure, (edits,)


class EditTrial:
    """Unseen edits of one kind, in a size and length, that change their region by LEAST_CHANGE or more."""

    def __init__(self, kind: str, count: int, frames: int = 9, size: int = world.SIZE):
        generator = Generator().manual_seed(UNSEEN_SEED + 10 + edits.KINDS.index(kind))
        drawn = edits.sample_edits(kind, 4 + 2 * count, generator, frames, size)
        change = _distance(drawn.source, drawn.target, drawn.region)
        rows = change.ge(LEAST_CHANGE).nonzero()[:count, 0]
        self.source, self.truth, self.region = drawn.source[rows], drawn.target[rows], drawn.region[rows]
        self.prompts = [edit_prompt(drawn.instructions[row]) for row in rows.tolist()]

    def __len__(self) -> int:
        return len(self.prompts)

    def measure(self, clips: Tensor) -> dict[str, Tensor]:
        """One value per edit of every one of FIGURES, (N,), of clips (N, 3, F, H, W); NaN where one does not apply.

        way     1 - d(clip, truth) / d(source, truth), d the mean absolute difference in the region: 1 for the truth, 0 for the source, a
                for the blend of both with a share a of the truth, below 0 for what is further off than the source
        nearer  d(clip, truth) < d(clip, source)
        kept    peak signal to noise ratio outside of the region, of a range of 2, MOST_DECIBELS at most
        motion  Pearson's correlation, over pixels and steps in time, of how much pictures change from one to the next (norm over the
                colours, so that another colour is no other motion); 0 for a clip that stands still, none where the truth does
        """
        missed = _distance(clips, self.truth, self.region)
        error = _mean((clips - self.source).square(), ~self.region)
        changes = [clip.diff(dim=2).square().sum(1).sqrt().flatten(1) for clip in (clips, self.truth)]
        still = changes[1].amax(1) < 1 / 255
        return {
            "way": 1 - missed / _distance(self.source, self.truth, self.region),
            "nearer": (missed < _distance(clips, self.source, self.region)).float(),
            "kept": (10 * torch.log10(4 / error)).clamp_max(MOST_DECIBELS),
            "motion": _correlation(*changes).masked_fill(still, torch.nan),
        }


def evaluate_edits(backbone: Pipeline, recipe: Recipe, count: int, noises: int) -> Values:
    """Make `count` unseen edits of every kind with as many noises, in the size and length of the backbone's settings, and measure them:
    means over the noises. `backbone` carries an editing adapter's LoRA and modules."""
    values, settings = {}, backbone.settings
    for kind in edits.KINDS:
        trial = EditTrial(kind, count, settings.frames, settings.height)
        runs = [trial.measure(edited(backbone, recipe, trial, noise)) for noise in range(noises)]
        values[kind] = {figure: torch.stack([run[figure] for run in runs]).mean(0) for figure in FIGURES}
    return values


def without_model(name: str, vae: WanVAE, count: int, frames: int = 9, size: int = world.SIZE) -> Values:
    """The same of clips that no model made, by a name of WITHOUT_MODEL."""
    trials = {kind: EditTrial(kind, count, frames, size) for kind in edits.KINDS}
    return {kind: trial.measure(WITHOUT_MODEL[name](vae, trial)) for kind, trial in trials.items()}


@torch.no_grad()
def edited(backbone: Pipeline, recipe: Recipe, trial: EditTrial, noise: int) -> Tensor:
    """The trial's clips (N, 3, F, H, W), as `hosts.plain.edit_film.edit_film` makes each by itself with the seed of the settings, its
    row and 1000 times `noise`."""

    def source(rows: slice) -> tuple[Source, ...]:
        modules = backbone.modules if recipe.types else None
        return (Source(_encoded(backbone.vae, trial.source[rows]), recipe, modules),)

    seeds = [backbone.settings.seed + row + 1000 * noise for row in range(len(trial))]
    return generate_in_rows(backbone, trial.prompts, seeds, source, PREFIX)


WITHOUT_MODEL: dict[str, Callable[[WanVAE, EditTrial], Tensor]] = {
    SOURCE: lambda vae, trial: trial.source,
    CODED: lambda vae, trial: _decoded(vae, _encoded(vae, trial.truth)),
}


def _encoded(vae: WanVAE, video: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([vae.encode(part.to(vae.device, vae.dtype)) for part in video.split(TOGETHER)])


def _decoded(vae: WanVAE, latent: Tensor) -> Tensor:
    with torch.no_grad():
        parts = [vae.decode(part).float().clamp(-1, 1).cpu() for part in latent.split(TOGETHER)]
    return torch.cat(parts)


def _distance(one: Tensor, other: Tensor, region: Tensor) -> Tensor:
    """(N,)"""
    return _mean((one - other).abs(), region)


def _mean(values: Tensor, region: Tensor) -> Tensor:
    """Mean over the colours and the pixels of a region, (N,); NaN where it has none."""
    total = (values * region).sum((1, 2, 3, 4))
    return total / (values.shape[1] * region.sum((1, 2, 3, 4)))


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    """Pearson's, of rows (N, n); 0 where a row is constant."""
    first, second = (part - part.mean(1, keepdim=True) for part in (one, other))
    return (first * second).sum(1) / (first.norm(dim=1) * second.norm(dim=1)).clamp_min(1e-12)
