"""Reading of the text by a block, with identities behind it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from comfy.ldm.modules import attention as core_attention
from torch import Tensor

from ...kernels.grouped import Groups, grouped_attention
from .attention import drops_masks, with_bias


@dataclass(frozen=True)
class TextReading:
    """The rule of one evaluation for every block's reading of the text.

    tokens  (B, n, C), of identities, read behind the text
    bias    (1, n), added to the logits of their keys
    groups  queries that read different tokens
    """

    tokens: Tensor
    bias: Tensor | None = None
    groups: Groups | None = None

    @property
    def neutral(self) -> bool:
        """True where attention may stay as it is: the tokens are simply more text."""
        return self.bias is None and self.groups is None

    def behind(self, text: Tensor) -> Tensor:
        """The text (B, S, C) with the tokens behind it."""
        return torch.cat([text, self.tokens.to(text).expand(len(text), -1, -1)], dim=1)

    def attend(
        self,
        run: Callable,
        previous: Callable | None,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        args,
        kwargs,
    ):
        row, biased = None, run
        if self.bias is not None:
            row = F.pad(self.bias, (key.shape[1] - self.bias.shape[1], 0))
            lost = None
            if not torch.compiler.is_compiling():
                lost = drops_masks(previous, query.device, query.dtype)
            biased = run if lost is None else core_attention.attention_pytorch

        attend = with_bias(run, biased, args, kwargs)
        if self.groups is None:
            return attend(query, key, value, row)
        return grouped_attention(attend, query, key, value, self.groups, row, 1)


@dataclass(frozen=True)
class Muted:
    """A reading of the text by all but the last `count` tokens. These get nothing; the others read as they
    would."""

    count: int
    reading: TextReading | None
    neutral = False

    def attend(
        self,
        run: Callable,
        previous: Callable | None,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        args,
        kwargs,
    ):
        readers = query[:, : -self.count]
        if self.reading is None or self.reading.neutral:
            read = run(readers, key, value, *args, **kwargs)
        else:
            read = self.reading.attend(run, previous, readers, key, value, args, kwargs)
        return F.pad(read, (0, 0, 0, self.count))
