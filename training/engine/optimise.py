"""Muon for matrices and convolution kernels, Adam for the rest, and the rate over a run."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...core.ranks import ALONE, Ranks, share_out
from .precision import products

GENTLE = 1 / 7  # of Muon's rate: 1e-3 at the 7e-3 of adapters [choice: gentle-rate]


class Optimiser:
    """Muon and Adam together in one step, with clipping.

    `hidden(name, parameter)` says which parameters are matrices of the hidden layers (Muon, arXiv 2502.16982;
    a convolution kernel is the matrix of its outputs by all its inputs). Adam runs at `adam_share` of Muon's
    rate; what `gentle(name)` names is Adam's too, at GENTLE of Muon's rate.
    Several processes make matrices orthogonal in turns, which is most of a step; momentum is kept by all.
    """

    def __init__(
        self,
        module: nn.Module,
        hidden: Callable[[str, Tensor], bool],
        rate: float,
        adam_share: float = 1.0,
        weight_decay: float = 0.0,
        ranks: Ranks = ALONE,
        gentle: Callable[[str], bool] = lambda name: False,
        clip: float = 1.0,
    ):
        if not hasattr(torch.optim, "Muon"):
            raise ValueError(
                f"training needs torch 2.9 or newer, which has torch.optim.Muon; this is {torch.__version__}"
            )
        named = list(module.named_parameters())
        self.parameters = [parameter for _, parameter in named]
        self.device = self.parameters[0].device
        slow = [parameter for name, parameter in named if gentle(name)]
        self.kernels = [
            parameter for name, parameter in named if hidden(name, parameter) and not gentle(name)
        ]
        chosen = {id(parameter) for parameter in self.kernels + slow}
        rest = [parameter for parameter in self.parameters if id(parameter) not in chosen]
        # Muon takes matrices only: each kernel is seen through a flat view of the same storage.
        self.matrices = [nn.Parameter(kernel.detach().flatten(1)) for kernel in self.kernels]
        self.ranks = ranks
        groups = [{"params": [matrix]} for matrix in self.matrices]
        self.muon = torch.optim.Muon(
            groups or [{"params": []}], lr=rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"
        )
        self.orthogonal_steps = self.muon.defaults["ns_steps"]
        shares = [{"params": rest, "share": adam_share}, {"params": slow, "share": GENTLE}]
        self.adam = torch.optim.Adam(shares, lr=rate, betas=(0.9, 0.98), foreach=True)
        self.inner = {"muon": self.muon, "adam": self.adam}
        self.rate, self.clip = rate, clip

    def step(self, module: nn.Module, factor: float) -> float:
        """Take the gradients in; `factor` scales the rate of this step. -> their norm before it is clipped;
        nothing moves where that is not finite."""
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.clip, foreach=True))
        if math.isfinite(norm):
            self._move(factor)
        module.zero_grad(set_to_none=True)
        return norm

    def _move(self, factor: float) -> None:
        for matrix, kernel in zip(self.matrices, self.kernels, strict=True):
            matrix.grad = None if kernel.grad is None else kernel.grad.flatten(1)
        # Matrices of another process do not move here, they come by `share_out`. Newton-Schulz steps are the
        # cost of Muon: none for those.
        for index, group in enumerate(self.muon.param_groups):
            mine = self.ranks.owns(index)
            group["lr"], group["ns_steps"] = self.rate * factor * mine, self.orthogonal_steps * mine
        for group in self.adam.param_groups:
            group["lr"] = self.rate * factor * group["share"]
        with products(self.device):
            self.muon.step()
        self.adam.step()
        share_out(self.matrices, self.ranks)


def warm_hold_decay(step: int, steps: int, warm: int = 60, hold: float = 0.5, floor: float = 0.01) -> float:
    """Factor of the rate: linear warm-up, constant until `hold` of the run, linear decay to `floor`."""
    progress = step / steps
    decay = 1.0 if progress < hold else max(floor, (1 - progress) / (1 - hold))
    return min(1.0, (step + 1) / warm) * decay
