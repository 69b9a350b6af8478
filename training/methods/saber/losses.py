"""Flow-matching loss of Saber on clips of people."""

from torch import Tensor

from ....backbones.wan.dit import WanDiT
from ....core.guidance import CONDITIONED
from ....core.recipes import saber
from ....hosts.plain.references import kept_references_in_rows
from ....hosts.plain.sampling import Condition, velocity
from ...engine.loop import Losses
from .batch import ClipBatch


def saber_losses(dit: WanDiT, batch: ClipBatch) -> Losses:
    """Loss of a batch: the mean of its rows'."""
    each = row_losses(dit, batch)
    return Losses({"loss": (1.0, each.mean())}, batch.names, batch.sigma, each)


def row_losses(dit: WanDiT, batch: ClipBatch) -> Tensor:
    """Squared errors of the velocity (B,), each the mean over its clip. References travel behind the video,
    those of their tokens that a mask keeps."""
    riders = kept_references_in_rows(batch.reference, batch.masks, saber(), dit.geometry)
    # At level σ a sample is (1 - σ) x + σ ε, and its velocity ε - x.
    level = batch.sigma[:, None, None, None, None]
    noisy = (1 - level) * batch.latent + level * batch.noise
    condition = Condition({CONDITIONED.text: batch.text}, () if riders is None else (riders,))
    predicted = velocity(dit, noisy, batch.sigma, condition, CONDITIONED)
    return (predicted.float() - (batch.noise - batch.latent)).pow(2).mean((1, 2, 3, 4))
