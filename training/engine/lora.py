"""Low-rank changes of a frozen Wan DiT's linear layers, trained (LoRA, arXiv 2106.09685): put on by name,
written out in ComfyUI's key names, and begun with another file's."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ...backbones.wan.dit import WanDiT
from ...core.checkpoint import read_safetensors, read_shapes
from ...core.lora import LORA, changes, matched_layers


class LowRank(nn.Module):
    """Frozen linear layer with a learned change B A (`up`, `down`), which is zero at the start. The change is
    held in fp32, whatever the layer's type."""

    def __init__(self, base: nn.Linear, rank: int):
        super().__init__()
        self.base = base
        self.down = nn.Linear(base.in_features, rank, bias=False, dtype=torch.float32)
        self.up = nn.Linear(rank, base.out_features, bias=False, dtype=torch.float32)
        nn.init.zeros_(self.up.weight)

    @property
    def weight(self) -> Tensor:
        """Weight of the frozen layer: its type and device are the layer's."""
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) -> (..., out), in the type of the frozen layer's output. Under autocast the change is
        computed in autocast's type, else in fp32."""
        output = self.base(x)
        if not torch.is_autocast_enabled(x.device.type):  # which casts by itself, and keeps no copy in fp32
            x = x.to(self.down.weight.dtype)
        return output + self.up(self.down(x)).to(output.dtype)


def add_lora(dit: WanDiT, rank: int, targets: Sequence[str]) -> nn.ModuleDict:
    """Freeze the DiT and put a LowRank around the linear layers that targets name. -> what learns, `down` and
    `up` by layer, with `-` for the dots of its name. Frozen layers are shared with the DiT.

    A target is a regular expression, and matches whole parts of a layer's name, one or several in a row.
    `self_attn` is every layer below that name in every block, `ffn.0` the first of every feed-forward,
    `head.head` one layer. Layers come target by target, each in the DiT's order.

    ValueError for a target that is no expression or matches no linear layer, and for none. So for a rank
    below 1, and for a DiT that has a LoRA."""
    if rank < 1:
        raise ValueError(f"rank is {rank}; needed 1 or more")
    if any(isinstance(module, LowRank) for module in dit.modules()):
        raise ValueError("this DiT has a LoRA already; give all targets at once")
    linear = {name: layer for name, layer in dit.named_modules() if isinstance(layer, nn.Linear)}
    named = matched_layers(list(linear), targets)
    dit.requires_grad_(False)
    layers = nn.ModuleDict()
    for name in named:
        place, _, last = name.rpartition(".")
        layer = LowRank(linear[name], rank)
        setattr(dit.get_submodule(place), last, layer)
        layers[name.replace(".", "-")] = nn.ModuleDict({"down": layer.down, "up": layer.up})
    return layers


def lora_state(layers: nn.ModuleDict) -> dict[str, Tensor]:
    """Learned changes under the names of ComfyUI's LoRA files; alpha is the rank, so that strength 1 is what
    was trained."""
    found: dict[str, Tensor] = {}
    for name, down, up in changed_layers(layers):
        found[f"{LORA}{name}.lora_A.weight"] = down.detach()
        found[f"{LORA}{name}.lora_B.weight"] = up.detach()
        found[f"{LORA}{name}.alpha"] = torch.tensor(float(len(down)))
    return found


def changed_layers(layers: nn.ModuleDict) -> Iterator[tuple[str, nn.Parameter, nn.Parameter]]:
    """Layers that are changed: original name, A (rank, in) and B (out, rank)."""
    for key in layers:
        weights = dict(layers[key].named_parameters())
        yield key.replace("-", "."), weights["down.weight"], weights["up.weight"]


@torch.no_grad()
def begin_with(layers: nn.ModuleDict, dit: WanDiT, path: str | Path) -> None:
    """Begin with the changes of a LoRA file, in any of ComfyUI's key names. `dit` is the one that `add_lora`
    changed; a file's alpha is folded into B.

    ValueError, and nothing is changed, where the file is no LoRA of this DiT, or has other layers or another
    rank than this run. So for parts that are no pair."""
    what = "start"
    shapes, name = read_shapes(path, what)[0], f"{what}: {Path(path).name}"
    learned = {id(parameter) for parameter in layers.parameters()}
    weights = {
        name.replace(".base.", "."): weight
        for name, weight in dit.named_parameters()
        if id(weight) not in learned
    }
    _require_same(changes(shapes, weights, name), layers, name)
    parts = changes(read_safetensors(path, what)[0], weights, name)
    for layer, down, up in changed_layers(layers):
        given = parts[f"{layer}.weight"]
        scale = float(given["alpha"]) / len(down) if "alpha" in given else 1.0
        down.copy_(given["down"])
        up.copy_(given["up"].to(up.dtype) * scale)


def _require_same(found: dict[str, dict[str, Tensor]], layers: nn.ModuleDict, name: str) -> None:
    """ValueError unless a file's changes are pairs, on the layers and of the rank of this run."""
    wanted = {f"{layer}.weight": len(down) for layer, down, _ in changed_layers(layers)}
    for weight, parts in found.items():
        if odd := sorted(parts.keys() - {"up", "down", "alpha"}):
            raise ValueError(f"{name} changes {weight} by {odd[0]}; needed pairs of lora_A and lora_B alone")
    more, missing = sorted(found.keys() - wanted.keys()), sorted(wanted.keys() - found.keys())
    if more or missing:
        which = f"changes {more[0]}, which this run does not" if more else f"does not change {missing[0]}"
        raise ValueError(
            f"{name} {which}: {len(found)} layers in the file, {len(wanted)} by the run's targets; "
            "give the targets it was trained with, or another file"
        )
    for weight, rank in wanted.items():
        if (came := len(found[weight]["down"])) != rank:
            raise ValueError(
                f"{name} changes {weight} with rank {came}, this run's is {rank}; give rank {came}"
            )
