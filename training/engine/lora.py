"""Low-rank changes to one attention of every block of a frozen Wan DiT, trained (arXiv 2106.09685)."""

import torch
from torch import Tensor, nn

from ...backbones.wan.dit import WanDiT
from ...core.lora import CROSS, PROJECTIONS, lora_key


class LowRank(nn.Module):
    """Frozen linear layer with a learned change B A (`up`, `down`), which is zero at the start."""

    def __init__(self, base: nn.Linear, rank: int):
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False)
        self.up = nn.Linear(rank, base.out_features, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.up(self.down(x))


def add_lora(dit: WanDiT, rank: int, attention: str = CROSS) -> nn.ModuleDict:
    """Freeze the DiT and put a LowRank around q, k, v and o of that attention of every block. -> what learns,
    by a name of its own; the base layers are shared with the DiT."""
    for name, parameter in dit.named_parameters():
        parameter.requires_grad_(".down." in name or ".up." in name)  # another LoRA on it goes on learning
    layers = nn.ModuleDict()
    for index, block in enumerate(dit.blocks):
        changed = getattr(block, attention)
        for projection in PROJECTIONS:
            layer = LowRank(getattr(changed, projection), rank)
            setattr(changed, projection, layer)
            layers[f"{index}_{projection}"] = nn.ModuleDict({"down": layer.down, "up": layer.up})
    return layers


def lora_state(layers: nn.ModuleDict, attention: str = CROSS) -> dict[str, Tensor]:
    """Learned changes under the names of ComfyUI's LoRA files; alpha is the rank, so that strength 1 is what
    was trained."""
    parts = {"down": "lora_A.weight", "up": "lora_B.weight"}
    found: dict[str, Tensor] = {}
    for name, weight in layers.named_parameters():
        place, part, _ = name.split(".")
        index, projection = place.split("_")
        found[lora_key(int(index), projection, parts[part], attention)] = weight.detach()
        if part == "down":
            rank = torch.tensor(float(len(weight)))  # down is (rank, in)
            found[lora_key(int(index), projection, "alpha", attention)] = rank
    return found
