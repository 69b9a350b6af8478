"""Losses of VideoMaker: the video's, and guidance-recognition of the reference (arXiv 2412.19645, §3)."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ....backbones.wan.dit import WanDiT
from ....backbones.wan.text import TextEncoder, fold_padding
from ....core.controls import Controls
from ....core.guidance import CONDITIONED
from ....core.layout import Stream
from ....core.recipes import recipe_named
from ....hosts.plain.evaluation import Text
from ....hosts.plain.references import ReferencesRider, references_in_rows
from ....hosts.plain.sampling import Condition, evaluate_pass
from .batch import PhotographedBatch
from .config import VideoMakerTraining


def videomaker_losses(
    dit: WanDiT, text: TextEncoder, config: VideoMakerTraining
) -> Callable[[PhotographedBatch], tuple[Tensor, Tensor]]:
    """Weighted squared error of the video's velocity, and that of the reference's over the tokens that are
    kept (guidance-recognition loss, §3; 0 where its weight is 0).

    The reference is shown as (1 - αs) r + αs ε at the video's noise level s; its velocity is ε - r. A dropped
    one is a zero latent, as in the recipe's null pass, and is not recognised [choice: dropped-photograph].
    Its timestep is that of its own noise, αs, or the video's, as the recipe says.
    """
    own = recipe_named(config.recipe).clock == "own"

    def losses(batch: PhotographedBatch) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            words = Text(*fold_padding(text.states(batch.tokens), batch.tokens))
        level, latent = batch.sigma[:, None, None, None, None], batch.rows.latent.float()
        little = config.noise_ratio * batch.sigma * ~batch.dropped  # αs (B,): a dropped one has no noise
        noisy = (1 - level) * latent + level * batch.noise
        rider = photograph(dit, config, _shown(batch, little), batch.rows.keep, little)
        condition = Condition({CONDITIONED.text: words}, (rider,))
        predicted, after = evaluate_pass(dit, noisy, batch.sigma, condition, CONDITIONED)
        video = ((predicted.float() - (batch.noise - latent)).pow(2) * batch.weight).mean()
        if not config.recognition_weight:
            return video, torch.zeros_like(video)
        return video, _recognition(dit, after, little if own else batch.sigma, batch)

    return losses


def _shown(batch: PhotographedBatch, level: Tensor) -> Tensor:
    """References (B, 16, h, w) as the model sees them, with a little noise; zero where they are dropped."""
    level = level[:, None, None, None]
    noisy = (1 - level) * batch.rows.reference.float() + level * batch.reference_noise
    return noisy.masked_fill(batch.dropped[:, None, None, None], 0.0)


def photograph(
    dit: WanDiT, config: VideoMakerTraining, reference: Tensor, keep: Tensor, level: Tensor | None = None
) -> ReferencesRider:
    """Rider of a batch's references (B, 16, h, w), of which each row keeps its own tokens (B, tokens).
    `level` (B,) is their noise, or None where they are clean."""
    _, rows, columns = dit.geometry.tokens(1, *reference.shape[2:])
    stream = Stream(rows, columns, rows * columns, Controls(sees=config.sees))
    recipe = recipe_named(config.recipe)
    rider = references_in_rows(reference.unsqueeze(2), keep, stream, recipe, dit.geometry)
    return replace(rider, level=level)


def _recognition(dit: WanDiT, after: Tensor, clock: Tensor, batch: PhotographedBatch) -> Tensor:
    """Squared error of the references' velocity over kept tokens, by the DiT's own head on their tokens after
    the last block (B, R, C)."""
    reference, keep = batch.rows.reference.float(), batch.rows.keep & ~batch.dropped[:, None]
    rows, columns = reference.shape[2:]
    time, _ = dit.embed_time(clock * dit.geometry.clock)
    velocity = dit.to_latent(after, time, (1, rows, columns))[:, :, 0].float()  # (B, 16, h, w)
    patch, grid = dit.geometry.patch, dit.geometry.tokens(1, rows, columns)
    # (B, 1, h, w): tokens as the cells that they are made of
    seen = keep.view(-1, *grid).repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    error = (velocity - (batch.reference_noise - reference)).pow(2) * seen
    return error.sum() / (seen.sum() * reference.shape[1]).clamp_min(1)
