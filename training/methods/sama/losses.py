"""SAMA's losses: the video's, and semantic anchoring (arXiv 2603.19228, §3.2)."""

import torch
from torch import Tensor

from ....backbones.wan.dit import WanDiT
from ....backbones.wan.text import TextEncoder, fold_padding
from ....core.guidance import CONDITIONED
from ....core.recipe import Recipe
from ....core.semantic import SemanticModules, as_frames, as_tokens
from ....hosts.plain.evaluation import Text
from ....hosts.plain.sampling import Condition, velocity
from ....hosts.plain.source import SourceRider
from .batch import PairBatch


def sama_losses(
    dit: WanDiT, modules: SemanticModules, text: TextEncoder, recipe: Recipe, batch: PairBatch
) -> tuple[Tensor, Tensor]:
    """Weighted squared error of the video's velocity, and mean absolute error of the semantic tokens'. The
    second is SAMA's (§3.2, and the released head, which predicts a velocity); it is 0 without semantic
    tokens."""
    with torch.no_grad():
        words = Text(*fold_padding(text.states(batch.tokens), batch.tokens))
    # At level σ a sample is (1 - σ) x + σ ε, and its velocity ε - x: for tokens (B, 65, features) too.
    target, level = batch.rows.target.float(), batch.sigma[:, None, None, None, None]
    noisy, frames = (1 - level) * target + level * batch.noise, target.shape[2]
    source = SourceRider(batch.rows.source.float(), recipe, modules)
    semantic = batch.rows.semantic.float()
    noisy_semantic = (1 - level[..., 0, 0]) * semantic + level[..., 0, 0] * batch.semantic_noise
    # Semantic tokens travel as frames behind the video's.
    state = noisy
    if source.count:
        state = torch.cat([noisy, as_frames(noisy_semantic, tuple(noisy.shape))], dim=2)
    out = velocity(dit, state, batch.sigma, Condition({CONDITIONED.text: words}, (source,)), CONDITIONED)
    video = ((out[:, :, :frames].float() - (batch.noise - target)).pow(2) * batch.weight).mean()
    if not source.count:
        return video, torch.zeros_like(video)
    predicted = as_tokens(out[:, :, frames:], *semantic.shape[1:])
    return video, (predicted.float() - (batch.semantic_noise - semantic)).abs().mean()
