"""SAMA without ComfyUI: a source video and semantic tokens beside the video on the plain Wan."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.layout import Stream, source_streams
from ..core.recipes import Recipe
from ..core.semantic import SemanticModules, as_frames, as_tokens, first_frames
from ..wan.dit import WanDiT


@dataclass(frozen=True)
class Edit:
    """A source video's latent (1, C, F, h, w), its recipe, and the recipe's modules, in the DiT's type and on its device, or None where it
    has none. Semantic tokens travel as frames behind the video's latent (`core.semantic.as_frames`)."""

    source: Tensor
    recipe: Recipe
    modules: SemanticModules | None = None

    @property
    def frames(self) -> int:
        """Latent frames of the video."""
        return self.source.shape[2]

    @property
    def streams(self) -> tuple[Stream, ...]:
        """What stands behind the pictures."""
        frames, rows, columns = self.source.shape[2:]
        return source_streams(self.recipe, frames, rows // 2, columns // 2)

    @property
    def count(self) -> int:
        """Semantic tokens."""
        return 0 if self.modules is None else self.recipe.semantic_tokens

    def begin(self, noise: Tensor, seed: int) -> Tensor:
        """Noise of a video (B, C, F, h, w) with that of semantic tokens behind it."""
        if self.modules is None:
            return noise
        numbers = self.count * self.modules.config.features
        return torch.cat([noise, first_frames(tuple(noise.shape), numbers, seed).to(noise)], dim=2)

    def embedded(self, dit: WanDiT, latent: Tensor) -> list[Tensor]:
        """Tokens of the source and of what stands behind the video's frames in a latent (B, C, F + k, h, w), (1 or B, n, C) each."""
        parts = [dit.embed_patches(self.source.to(latent))]
        if self.modules is not None:
            state = as_tokens(latent[:, :, self.frames :], self.count, self.modules.config.features)
            parts.append(self.modules.siglip_feat_mlp(state))
        return parts

    def typed(self, parts: list[Tensor], rows: list[int]) -> list[Tensor]:
        """Every stream's tokens with its row of the type embedding."""
        if self.modules is None:
            return parts
        return [part + one for part, one in zip(parts, self.modules.types(rows), strict=True)]

    @property
    def video_type(self) -> Tensor | None:
        """(C,), what is added to the video's own tokens."""
        if self.modules is None or self.recipe.types is None:
            return None
        return self.modules.types([self.recipe.types.video])[0]

    def finish(self, velocity: Tensor, tail: Tensor) -> Tensor:
        """The video's velocity with that of the semantic tokens behind it, from the tail's tokens after the last block."""
        if self.modules is None:
            return velocity
        said = self.modules.semantic_head(tail[:, -self.count :])
        return torch.cat([velocity, as_frames(said, velocity.shape)], dim=2)


def require_modules(recipe: Recipe, modules: SemanticModules | None, what: str) -> None:
    """ValueError where the recipe needs modules that are not there."""
    if recipe.types is not None and modules is None:
        raise ValueError(
            f"{what} has no segment_embedding, siglip_feat_mlp and semantic_head, which the recipe {recipe.name} needs: give SAMA's "
            "file or an editing adapter, or choose in_context"
        )
