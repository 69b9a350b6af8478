"""VACE's forward as it was published (Wan-Video/Wan2.1, wan/modules/vace_model.py), from weights alone, as an
oracle: float64, one clip, one softmax over everything, with a table of who sees whom and weights of keys."""

import torch
from refvid_sama_published import Published
from torch import Tensor
from torch.nn import functional as F

HEADS, LAYERS, CHANNELS = 2, 2, 16


class PublishedVace(Published):
    """Blocks and hint branch of tiny weights, with heads of 48 features."""

    def __init__(self, state: dict[str, Tensor], heads: int = HEADS, layers: int = LAYERS):
        self.state, self.modules = {key: value.double() for key, value in state.items()}, {}
        self.sizes, self.layers, self.table = _Heads(heads), layers, torch.zeros(())

    def logits(self, logits: Tensor, own: bool) -> Tensor:
        return logits + self.table if own else logits

    def embedded(self, frames: Tensor, name: str) -> Tensor:
        """Tokens of frames (C, F, h, w), by a convolution in float32, where hosts keep it."""
        weight, bias = (self.state[f"{name}.{part}"].float() for part in ("weight", "bias"))
        made = F.conv3d(frames[None].float(), weight, bias, (1, 2, 2))
        return made[0].flatten(1).mT.double()

    def velocity(
        self, x: Tensor, hint: Tensor, words: Tensor, time: float, table: Tensor, strength: float
    ) -> Tensor:
        """Velocity (C, F, h, w) of frames x with their hint (96, F, h, w), states of the text (S, width).
        table (L, L), added to the logits of query over key, in blocks and hint branch."""
        self.table = table
        tokens, turn = self.embedded(x, "patch_embedding"), rotation(*x.shape[1:])
        context = self.linear(
            F.gelu(self.linear(words.double(), "text_embedding.0"), approximate="tanh"), "text_embedding.2"
        )
        waves = time * 10000 ** (-torch.arange(128).double() / 128)
        clock = self.linear(torch.cat([waves.cos(), waves.sin()]), "time_embedding.0")
        clock = self.linear(F.silu(clock), "time_embedding.2")
        six = self.linear(F.silu(clock), "time_projection.1").view(6, -1)
        shown, skips = self.embedded(hint, "vace_patch_embedding"), []
        shown = self.linear(shown, "vace_blocks.0.before_proj") + tokens
        for index in range(self.layers):
            shown = self.block(f"vace_blocks.{index}", shown, six, context, turn)
            skips.append(self.linear(shown, f"vace_blocks.{index}.after_proj"))
        for index in range(self.layers):
            tokens = self.block(f"blocks.{index}", tokens, six, context, turn) + strength * skips[index]
        shift, scale = self.state["head.modulation"][0] + clock
        made = self.linear(self.norm(tokens) * (1 + scale) + shift, "head.head")
        frames, rows, columns = x.shape[1], x.shape[2] // 2, x.shape[3] // 2
        parts = made.view(frames, rows, columns, 2, 2, CHANNELS)
        return parts.permute(5, 0, 1, 3, 2, 4).reshape(CHANNELS, frames, 2 * rows, 2 * columns)


class _Heads:
    def __init__(self, heads: int):
        self.heads = heads


def rotation(frames: int, rows: int, columns: int) -> Tensor:
    """Of every token of a video, (L, 24) complex: a third of a head's 48 features each for time, height and
    width."""
    rates = 10000.0 ** (-torch.arange(0, 16, 2).double() / 16)
    turns = [
        torch.cat([t * rates, y * rates, x * rates])
        for t in range(frames)
        for y in range(rows // 2)
        for x in range(columns // 2)
    ]
    return torch.polar(torch.ones(len(turns), 24).double(), torch.stack(turns))
