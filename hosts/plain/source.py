"""A source video on the plain host (SAMA): it and semantic tokens beside the video that is made of it."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...core.layout import Layout, source_streams
from ...core.recipe import Recipe
from ...core.references import Arranged
from ...core.semantic import SemanticModules, as_frames, as_tokens, first_frames, spare_frames
from .evaluation import Evaluation, Rider, TokensBehindVideo


@dataclass(frozen=True)
class SourceRider(Rider):
    """A source video of a run. Every pass keeps it.

    latent   (1 or B, C, F, h, w)
    recipe   by which it stands beside the video
    modules  that the recipe needs, in the DiT's type and on its device; None where it needs none

    Semantic tokens travel as frames behind the video's latent (`core.semantic.as_frames`).
    """

    latent: Tensor
    recipe: Recipe
    modules: SemanticModules | None = None

    def __post_init__(self) -> None:
        if self.recipe.types is not None and self.modules is None:
            raise ValueError(
                "the model has no segment_embedding, siglip_feat_mlp and semantic_head, which the recipe "
                f"{self.recipe.name} needs: give "
                "SAMA's file or an editing adapter, or choose in_context"
            )

    @property
    def count(self) -> int:
        """Number of semantic tokens."""
        return 0 if self.modules is None else self.recipe.semantic_tokens

    @property
    def numbers(self) -> int:
        """Numbers that all semantic tokens hold."""
        return 0 if self.modules is None else self.count * self.modules.config.features

    def spare(self, latent: tuple[int, ...]) -> int:
        return spare_frames(self.numbers, latent)

    def begin(self, noise: Tensor, seed: int) -> Tensor:
        if not self.count:
            return noise
        return torch.cat([noise, first_frames(tuple(noise.shape), self.numbers, seed).to(noise)], dim=2)

    def over(self, start: int, stop: int) -> "SourceRider":
        return replace(self, latent=self.latent[:, :, start:stop])

    def now(self, evaluation: Evaluation) -> Evaluation:
        dit, latent = evaluation.dit, evaluation.latent
        _, _, frames, rows, columns = self.latent.shape
        streams = source_streams(self.recipe, *dit.geometry.tokens(frames, rows, columns))
        layout = Layout(self.recipe, streams, dit.geometry)
        tokens = [dit.embed_patches(self.latent.to(latent))]
        if self.count and self.modules is not None:
            state = as_tokens(evaluation.spare.to(latent), self.count, self.modules.config.features)
            tokens.append(self.modules.siglip_feat_mlp(state))
        types = None if self.modules is None else self.modules.types
        mine = TokensBehindVideo(Arranged(layout, torch.arange(layout.kept), None), tokens, types=types)
        return replace(evaluation, behind=(*evaluation.behind, mine))

    def finish(self, evaluation: Evaluation, out: Tensor, after: Tensor) -> Tensor:
        """The velocity of the video with that of the semantic tokens behind it, from their tokens after the
        last block."""
        if not self.count or self.modules is None:
            return out
        said = self.modules.semantic_head(after[:, -self.count :])
        return torch.cat([out, as_frames(said, tuple(out.shape))], dim=2)
