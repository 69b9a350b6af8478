"""SAMA's forward over its published sequence, written out from a model's weights, as an oracle."""

import math

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.text import TextEncoder
from refvid.core.semantic import SemanticModules
from refvid.training.methods.sama.batch import PairBatch


class Published:
    """Wan with SAMA's sequence, source, then semantic tokens, then video, from the weights alone: float64,
    one clip, rotations as complex numbers (zero for semantic tokens), one softmax over everything."""

    def __init__(self, dit: WanDiT, modules: SemanticModules, text: TextEncoder, semantic: bool):
        self.text, self.semantic, self.sizes = text, semantic, dit.config
        state = {key: value.double() for key, value in dit.state_dict().items()}
        for layer in [key.removesuffix(".base.weight") for key in state if key.endswith(".base.weight")]:
            change = state[f"{layer}.up.weight"] @ state[f"{layer}.down.weight"]
            state[f"{layer}.weight"] = state[f"{layer}.base.weight"] + change
            state[f"{layer}.bias"] = state[f"{layer}.base.bias"]
        self.state = state
        self.modules = {key: value.double() for key, value in modules.state_dict().items()}

    def linear(self, x: Tensor, name: str) -> Tensor:
        state = self.modules if f"{name}.weight" in self.modules else self.state
        return x @ state[f"{name}.weight"].flatten(1).mT + state[f"{name}.bias"]

    def norm(self, x: Tensor, name: str | None = None) -> Tensor:
        state = self.modules if f"{name}.weight" in self.modules else self.state
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
        return x if name is None else x * state[f"{name}.weight"] + state[f"{name}.bias"]

    def attention(self, x: Tensor, read: Tensor, name: str, turn: Tensor | None) -> Tensor:
        def rms(y: Tensor, which: str) -> Tensor:
            size = (y.square().mean(-1, keepdim=True) + 1e-6).sqrt()
            return rearrange(
                y / size * self.state[f"{name}.norm_{which}.weight"], "l (n d) -> n l d", n=self.sizes.heads
            )

        query, key = rms(self.linear(x, f"{name}.q"), "q"), rms(self.linear(read, f"{name}.k"), "k")
        if turn is not None:
            query, key = (
                torch.view_as_real(
                    torch.view_as_complex(y.unflatten(-1, (-1, 2)).contiguous()) * turn
                ).flatten(-2)
                for y in (query, key)
            )
        value = rearrange(self.linear(read, f"{name}.v"), "l (n d) -> n l d", n=self.sizes.heads)
        logits = query @ key.mT / math.sqrt(query.shape[-1])
        seen = self.logits(logits, turn is not None).softmax(-1) @ value
        return self.linear(rearrange(seen, "n l d -> l (n d)"), f"{name}.o")

    def logits(self, logits: Tensor, own: bool) -> Tensor:
        """Logits of an attention, of tokens over their own or over the text; here as they are."""
        return logits

    def __call__(self, batch: PairBatch, row: int) -> tuple[Tensor, Tensor]:
        """Velocities of the video's patches (L, 64) and of the semantic tokens (65, features)."""
        level, rows = batch.sigma[row].double(), batch.rows
        mixed = [
            (1 - level) * clean[row].double() + level * noise[row].double()
            for clean, noise in ((rows.target, batch.noise), (rows.semantic, batch.semantic_noise))
        ]
        types = self.modules["segment_embedding.weight"]
        video, source = (self.linear(patches(x), "patch_embedding") for x in (mixed[0], rows.source[row]))
        said = self.linear(self.norm(mixed[1], "siglip_feat_mlp.norm"), "siglip_feat_mlp.fc1")
        said = self.linear(F.gelu(said), "siglip_feat_mlp.fc2") + types[1]
        said = said if self.semantic else said[:0]
        tokens, length = torch.cat([source + types[0], said, video + types[2]]), len(video)
        turn = rotation(*rows.target.shape[2:])
        turn = torch.cat([turn, torch.zeros(len(said), turn.shape[1]), turn])
        words = batch.tokens[row : row + 1]
        context = F.pad(self.text.states(words)[0], (0, 0, 0, 512 - words.shape[1])).double()
        context = self.linear(
            F.gelu(self.linear(context, "text_embedding.0"), approximate="tanh"), "text_embedding.2"
        )
        waves = 1000 * level * 10000 ** (-torch.arange(128).double() / 128)
        clock = self.linear(torch.cat([waves.cos(), waves.sin()]), "time_embedding.0")
        time = self.linear(F.silu(clock), "time_embedding.2")
        six = self.linear(F.silu(time), "time_projection.1").view(6, -1)
        for index in range(self.sizes.layers):
            tokens = self.block(f"blocks.{index}", tokens, six, context, turn)
        shift, scale = self.state["head.modulation"][0] + time
        made = self.linear(self.norm(tokens[-length:]) * (1 + scale) + shift, "head.head")
        behind = tokens[length:-length]
        if not len(behind):
            return made, behind
        return made, self.linear(self.norm(behind, "semantic_head.norm"), "semantic_head.proj")

    def block(self, name: str, x: Tensor, six: Tensor, context: Tensor, turn: Tensor) -> Tensor:
        first, second = (self.state[f"{name}.modulation"][0] + six).chunk(2)
        normed = self.norm(x) * (1 + first[1]) + first[0]
        x = x + self.attention(normed, normed, f"{name}.self_attn", turn) * first[2]
        x = x + self.attention(self.norm(x, f"{name}.norm3"), context, f"{name}.cross_attn", None)
        inner = self.linear(self.norm(x) * (1 + second[1]) + second[0], f"{name}.ffn.0")
        return x + self.linear(F.gelu(inner, approximate="tanh"), f"{name}.ffn.2") * second[2]


def patches(latent: Tensor, order: str = "c q r") -> Tensor:
    """(C, F, h, w) -> (tokens, 4 C); the head's order is "q r c"."""
    return rearrange(latent.double(), f"c f (h q) (w r) -> (f h w) ({order})", q=2, r=2)


def rotation(frames: int, rows: int, columns: int) -> Tensor:
    """Of every token of a video, (L, D/2) complex: parts of 8, 8 and 8 of a head's 24 features for time,
    height and width."""
    rates = 10000.0 ** (-torch.arange(0, 8, 2).double() / 8)
    turns = [
        torch.cat([t * rates, y * rates, x * rates])
        for t in range(frames)
        for y in range(rows // 2)
        for x in range(columns // 2)
    ]
    return torch.polar(torch.ones(len(turns), 12).double(), torch.stack(turns))
