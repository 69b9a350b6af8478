"""Baselines of Slot-ID's encoder: the same size and features, one thing changed [choice: slot-baselines]."""

import torch
from torch import Tensor

from ...core.slots import Encoded, SlotEncoder


class MeanEncoder(SlotEncoder):
    """Every slot reads the mean of the subject's tokens over the whole clip: no routing, no order."""

    def _read(self, tokens: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        share = weights / weights.sum((1, 2), keepdim=True).clamp_min(1e-6)
        mean = torch.einsum("bfn,bfnc->bc", share.to(tokens.dtype), tokens)
        begun = self.first_slots(torch.arange(self.config.slots, device=tokens.device))
        slots = begun + self.reader.value(mean)[:, None]
        slots = slots + self.reader.mlp(self.reader.norm_mlp(slots))
        return slots, share[:, :, None].expand(-1, -1, self.config.slots, -1)


class PictureEncoder(SlotEncoder):
    """Slots read the anchor picture alone: what a single image can say."""

    def forward(self, clip: Tensor, cover: Tensor, anchor: Tensor, anchor_cover: Tensor) -> Encoded:
        return super().forward(anchor, anchor_cover, anchor, anchor_cover)


class OpenEncoder(SlotEncoder):
    """The gate fixed open: all of every slot enters."""

    def _gates(self, slots: Tensor, picture: Tensor) -> Tensor:
        return torch.ones_like(slots[..., :1])


ENCODERS = {
    "slots": SlotEncoder,
    "mean pooling": MeanEncoder,
    "one picture": PictureEncoder,
    "gate fixed open": OpenEncoder,
}
