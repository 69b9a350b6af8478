"""Flow-matching loss of Saber, with masked references and replaced frames."""

from collections.abc import Callable

from torch import Tensor

from ....backbones.wan.dit import WanDiT
from ....backbones.wan.text import TextEncoder, fold_padding
from ....core.frames import GivenFrames
from ....core.guidance import CONDITIONED
from ....core.layout import Stream
from ....core.recipes import recipe_named
from ....hosts.plain.evaluation import Rider, Text
from ....hosts.plain.frames import FramesRider
from ....hosts.plain.references import references_in_rows
from ....hosts.plain.sampling import Condition, velocity
from .batch import MaskedBatch


def masked_reference_loss(
    dit: WanDiT, text: TextEncoder, recipe: str, attention_mask: bool = True
) -> Callable[[MaskedBatch], Tensor]:
    """Weighted squared error of the velocity on the frames that are not replaced.

    Masked-out reference tokens are seen by nobody, though rows of a batch keep different ones
    (`hosts.plain.tail`). Replaced frames are clean and have timestep 0 (Wan2.2-TI2V's choice). With
    `attention_mask` False every token of a reference that is not dropped stays visible.
    """
    method = recipe_named(recipe)

    def riders(batch: MaskedBatch) -> list[Rider]:
        """References and given frames of a batch, where it has any."""
        found: list[Rider] = []
        if bool(batch.keep.any()):
            _, rows, columns = dit.geometry.tokens(*batch.reference.shape[2:])
            keep = batch.keep  # (B, K * tokens)
            seen = keep if attention_mask else keep.any(1, keepdim=True).expand_as(keep)
            stream = Stream(rows, columns, rows * columns)
            found.append(references_in_rows(batch.reference, seen, stream, method, dit.geometry))
        # One level for all frames is the cheaper path: modulation is then not expanded to every token.
        if bool(batch.replaced.any()):
            found.append(FramesRider(GivenFrames(batch.given, batch.replaced)))
        return found

    def loss(batch: MaskedBatch) -> Tensor:
        words = Text(*fold_padding(text.states(batch.tokens), batch.tokens))
        # At level σ a sample is (1 - σ) x + σ ε, and its velocity ε - x.
        level = batch.sigma[:, None, None, None, None]
        noisy = (1 - level) * batch.latent + level * batch.noise
        condition = Condition({CONDITIONED.text: words}, tuple(riders(batch)))
        predicted = velocity(dit, noisy, batch.sigma, condition, CONDITIONED)
        error = (predicted.float() - (batch.noise - batch.latent)).pow(2)
        return (error * batch.weight).mean()

    return loss
