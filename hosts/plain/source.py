"""SAMA without ComfyUI: a source video and semantic tokens beside the video on the plain Wan."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..backbones.base import Backbone
from ..core.editing import Windows
from ..core.geometry import Geometry
from ..core.layout import Stream, source_streams
from ..core.recipes import Recipe
from ..core.semantic import SemanticModules, as_frames, as_tokens, first_frames


@dataclass(frozen=True)
class Edit:
    """A source video's latent (1, C, F, h, w), its recipe, and the recipe's modules, in the DiT's type and on its device, or None where it
    has none; the windows that a longer one is evaluated in. Semantic tokens travel as frames behind the video's latent
    (`core.semantic.as_frames`)."""

    source: Tensor
    recipe: Recipe
    modules: SemanticModules | None = None
    windows: Windows | None = None

    def __post_init__(self) -> None:
        if self.recipe.types is not None and self.modules is None:
            raise ValueError(
                f"the model has no segment_embedding, siglip_feat_mlp and semantic_head, which the recipe {self.recipe.name} needs: give "
                "SAMA's file or an editing adapter, or choose in_context"
            )

    @property
    def frames(self) -> int:
        """Latent frames of the video."""
        return self.source.shape[2]

    def streams(self, geometry: Geometry) -> tuple[Stream, ...]:
        """What stands behind the pictures."""
        frames, rows, columns = self.source.shape[2:]
        return source_streams(self.recipe, *geometry.tokens(frames, rows, columns))

    @property
    def count(self) -> int:
        """Semantic tokens."""
        return 0 if self.modules is None else self.recipe.semantic_tokens

    def begin(self, noise: Tensor, seed: int) -> Tensor:
        """Noise of a video (B, C, F, h, w) with that of semantic tokens behind it."""
        if not self.count or self.modules is None:
            return noise
        numbers = self.count * self.modules.config.features
        return torch.cat([noise, first_frames(tuple(noise.shape), numbers, seed).to(noise)], dim=2)

    def embedded(self, dit: Backbone, latent: Tensor) -> list[Tensor]:
        """Tokens of the source and of what stands behind the video's frames in a latent (B, C, F + k, h, w), (1 or B, n, C) each."""
        parts = [dit.embed_patches(self.source.to(latent))]
        if self.count and self.modules is not None:
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
        if not self.count or self.modules is None:
            return velocity
        said = self.modules.semantic_head(tail[:, -self.count :])
        return torch.cat([velocity, as_frames(said, velocity.shape)], dim=2)


def in_windows(evaluate: Callable[[Tensor, Edit, int, int], Tensor], latent: Tensor, edit: Edit) -> Tensor:
    """What `evaluate(latent, edit, start, stop)` says of overlapping parts [start, stop) of a video latent (B, C, F + k, h, w), put together as
    ComfyUI does: each part is led by the frame before it, weights are a pyramid, and semantic tokens, which go into every part whole,
    take the mean (our choice: the released code leaves them out)."""
    windows, frames = edit.windows, edit.frames
    if windows is None or frames <= windows.frames:
        return evaluate(latent, edit, 0, frames)
    video, spare = latent[:, :, :frames], latent[:, :, frames:]
    total, count, said = torch.zeros_like(video), torch.zeros(frames, 1, 1, device=latent.device), []
    for start, stop in windows.spans(frames):
        first = max(0, start - 1)
        part = replace(edit, source=edit.source[:, :, first:stop], windows=None)
        out = evaluate(torch.cat([video[:, :, first:stop], spare], dim=2), part, first, stop)
        weight = windows.weights(stop - start)[:, None, None].to(count)
        total[:, :, start:stop] += out[:, :, start - first : stop - first] * weight
        count[start:stop] += weight
        said.append(out[:, :, stop - first :])
    return torch.cat([total / count, torch.stack(said).mean(0)], dim=2)
