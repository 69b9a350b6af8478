"""A moving average of the weights that learn: what is exported."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Average:
    """Moving average of a module's weights: the first step's as they are, then a mean with this decay. At 0
    it is the last weights. A `warm` one forgets its beginning faster: after n steps its decay is at most
    (1 + n) / (10 + n), so that a short run's is not its first weights [choice: warm-average]."""

    def __init__(self, module: nn.Module, decay: float, warm: bool = False):
        self._module = module
        mean = _warm_mean(decay) if warm else get_ema_multi_avg_fn(decay)
        self.model = AveragedModel(module, multi_avg_fn=mean)

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


def _warm_mean(decay: float) -> Callable[[Any, Any, Tensor | int], None]:
    def update(means: Any, latest: Any, count: Tensor | int) -> None:
        share = min(decay, (1 + int(count)) / (10 + int(count)))
        with torch.no_grad():
            for mean, last in zip(means, latest, strict=True):
                mean.lerp_(last, 1 - share)

    return update
