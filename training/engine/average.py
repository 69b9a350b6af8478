"""A moving average of the weights that learn: what is exported."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Average:
    """Moving average of a module's weights: the first step's as they are, then a mean with this decay. At 0
    it is the last weights."""

    def __init__(self, module: nn.Module, decay: float):
        self._module = module
        self.model = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay))

    @property
    def module(self) -> nn.Module:
        """The module with the averaged weights."""
        return self.model.module

    def update(self) -> None:
        """Take in the weights as they are after a step."""
        self.model.update_parameters(self._module)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Averaged weights in the place of the last ones while something is measured."""
        pairs = list(zip(self._module.parameters(), self.module.parameters(), strict=True))
        kept = [mine.detach().clone() for mine, _ in pairs]
        with torch.no_grad():
            for mine, mean in pairs:
                mine.copy_(mean)
        try:
            yield
        finally:
            with torch.no_grad():
                for (mine, _), last in zip(pairs, kept, strict=True):
                    mine.copy_(last)
