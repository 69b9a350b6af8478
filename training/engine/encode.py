"""Clips of a source as latents and token ids, made once for each VAE, tokenizer and source."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ...backbones.wan.text import TextEncoder
from ...backbones.wan.vae import WanVAE
from ...core.geometry import Geometry
from ...data.source import ClipSource
from .cache import PART, RowsT, cached_rows
from .precision import mixed

# Pictures that a CPU encodes together: more of them leave its caches, and take up to four times as long
# (docs/log.md).
_AT_ONCE = 8
PAIRS_EVERY = 4  # parts; one of them shows two subjects


@dataclass(frozen=True)
class ClipEncoder:
    """Encoder of a source's clips into rows that are kept in a folder: the VAE, and the text encoder whose
    token ids they hold."""

    vae: WanVAE
    text: TextEncoder
    source: ClipSource
    folder: Path

    def rows(
        self, rows: type[RowsT], name: str, count: int, numbers: object, encode_part: Callable[[int], RowsT]
    ) -> RowsT:
        """Rows of `cached_rows`, read only where this encoder and source made them before by the same
        `numbers`."""
        made_by = f"{self._digests} {self.source.name} {numbers}"
        return cached_rows(rows, self.folder, name, count, made_by, encode_part)

    def tokens(self, texts: list[str], prefix: str = "") -> Tensor:
        """Token ids (len(texts), S), all as long as the source's longest caption behind `prefix`, so that
        parts can be joined."""
        longest = f"{prefix} {self._longest}" if prefix else self._longest
        return self.text.tokenize([*texts, longest])[:-1]  # the longest pads the others, and goes again

    def captions(self, *columns: list[str]) -> Tensor:
        """Token ids (N, columns, S) of several captions a clip."""
        tokens = self.tokens([text for column in columns for text in column])
        return tokens.unflatten(0, (len(columns), -1)).movedim(0, 1).contiguous()

    @cached_property
    def _longest(self) -> str:
        """The source's caption of the most tokens."""
        first, *others = self.source.longest
        return (
            max([first, *others], key=lambda text: self.text.tokenize([text]).shape[1]) if others else first
        )

    @cached_property
    def _digests(self) -> str:
        """Digests of the VAE's weights and of the tokenizer."""
        weights = b"".join(value.cpu().numpy().tobytes() for value in self.vae.state_dict().values())
        return f"{sha256(weights).hexdigest()} {sha256(self.text.spiece_model).hexdigest()}"


def subjects_of_part(source: ClipSource, index: int) -> int:
    """Subjects of the clips of a part: pairs in every fourth, where the source has them."""
    return min(2, source.most_subjects) if index % PAIRS_EVERY == PAIRS_EVERY - 1 else 1


def encode_clips(vae: WanVAE, video: Tensor) -> Tensor:
    """Latents of clips (N, 3, pictures, H, W) in [-1, 1], in fp16 on the CPU."""
    group = vae.geometry.group  # pictures of a clip at once
    clips = max(1, _AT_ONCE // min(group, video.shape[2])) if vae.device.type == "cpu" else PART
    with mixed(vae.device):
        parts = [vae.encode(part.to(vae.device), chunk=group) for part in video.split(clips)]
    return torch.cat([part.half().cpu() for part in parts])


def cell_coverage(alpha: Tensor, geometry: Geometry) -> Tensor:
    """Coverage of latent cells (N, F, h, w) by alpha (N, 1, pictures, H, W): the most that any of a latent
    frame's pictures covers."""
    cells = F.avg_pool3d(alpha, (1, geometry.stride, geometry.stride))[:, 0]
    # The first latent frame is of one picture, every other of `group`.
    return torch.cat([cells[:, :1], cells[:, 1:].unflatten(1, (-1, geometry.group)).amax(2)], dim=1)


def tokens_kept(masks: Tensor, geometry: Geometry) -> Tensor:
    """Tokens (N, tokens) bool of a picture that hold some of its mask (N, 1, H, W)."""
    return F.max_pool2d(masks, geometry.token).flatten(1).gt(0.5)


def no_words(tokens: Tensor) -> Tensor:
    """Token ids (B, S) of an empty prompt: </s> and padding."""
    empty = torch.zeros_like(tokens)
    empty[:, 0] = 1  # </s>; padding is 0
    return empty
