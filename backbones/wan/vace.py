"""The VACE variant of Wan's DiT (arXiv 2503.07598) in plain torch, with the original parameter names. A
second branch is shown frames."""

from collections.abc import Callable

from torch import Tensor, nn

from ..base import HintFrames
from .dit import Block, WanDiT
from .files import DiTConfig


class HintBlock(Block):
    """Block of the hint branch, with what it adds to the video; the first one takes the video in."""

    before_proj: nn.Linear

    def __init__(self, config: DiTConfig, first: bool):
        super().__init__(config)
        if first:
            self.before_proj = nn.Linear(config.width, config.width)
        self.after_proj = nn.Linear(config.width, config.width)


class VaceDiT(WanDiT):
    """Predicts the flow velocity of a latent whose frames a hint branch is shown (Wan-Video/Wan2.1,
    wan/modules/vace_model.py). Its blocks run beside every second one, or as their number says."""

    def __init__(self, config: DiTConfig):
        super().__init__(config)
        patch = (1, config.geometry.patch, config.geometry.patch)
        self.vace_patch_embedding = nn.Conv3d(config.hint_channels, config.width, patch, patch)
        self.vace_blocks = nn.ModuleList(HintBlock(config, not index) for index in range(config.hint_layers))

    def run_blocks(
        self, run: Callable[[nn.Module, Tensor], Tensor], tokens: Tensor, hints: HintFrames | None
    ) -> Tensor:
        """Tokens (B, L, C) after the last block. ValueError without hints."""
        if hints is None:
            raise ValueError("hints are missing, which a VACE needs: a grey control where there is no other")
        every = self.config.layers // len(self.vace_blocks)
        blocks = [block for block in self.vace_blocks if isinstance(block, HintBlock)]
        beside = dict(zip(range(0, self.config.layers, every), blocks, strict=True))
        shown = self.vace_patch_embedding(hints.shown.to(tokens)).flatten(2).mT
        shown = beside[0].before_proj(shown) + tokens
        for index, block in enumerate(self.blocks):
            tokens = run(block, tokens)
            if index in beside:
                shown = run(beside[index], shown)
                tokens = tokens + hints.strength * beside[index].after_proj(shown)
        return tokens
