"""Stand-In's adapter in its published layout, tiny, and its forward, written out from weights alone as an
oracle."""

import math
from dataclasses import replace
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from refvid.backbones.wan.files import DiTConfig
from refvid.core.checkpoint import save_model
from refvid.core.recipe import Recipe
from refvid.core.recipes import RECIPES
from refvid.core.token_lora import TokenLora, TokenLoraSizes

RANK = 4
SIZE = (48, 64)  # width and height of the small reference, in pixels


def small() -> Recipe:
    """The recipe with a reference of 4 rows and 3 columns of tokens in place of 32 and 32."""
    return replace(_published(), size=SIZE)


_published = RECIPES["stand_in"]


def adapter_state(sizes: DiTConfig, rank: int = RANK, prefix: str = "", seed: int = 11) -> dict[str, Tensor]:
    """An adapter of this DiT, every weight random, strong enough to be seen."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"down": (rank, sizes.width), "up": (sizes.width, rank)}
    return {
        f"{prefix}blocks.{block}.self_attn.{one}_loras.{part}.weight": torch.randn(shape, generator=generator)
        / shape[1] ** 0.5
        for block in range(sizes.layers)
        for one in "qkv"
        for part, shape in shapes.items()
    }


def without_effect(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """An adapter as its training begins: `up` is zero."""
    return {key: value * (".up." not in key) for key, value in state.items()}


def save_adapter(folder: Path, state: dict[str, Tensor], name: str = "stand_in.safetensors", **said) -> Path:
    save_model(state, folder / name, said, dtype=torch.float32)
    return folder / name


def lora_of(sizes: DiTConfig, state: dict[str, Tensor] | None = None) -> TokenLora:
    """The module that holds an adapter, by default `adapter_state`'s."""
    lora = TokenLora(TokenLoraSizes(sizes.width, sizes.layers, RANK)).requires_grad_(False)
    lora.load_state_dict(adapter_state(sizes) if state is None else state)
    return lora


def needed(recipe: Recipe, sizes: DiTConfig) -> TokenLora | None:
    """The adapter on the plain host, for a recipe that needs one."""
    return lora_of(sizes) if recipe.token_lora else None


def fitted(model, recipe: Recipe, sizes: DiTConfig, folder: Path):
    """A ComfyUI model with `needed`'s adapter."""
    if not recipe.token_lora:
        return model
    from refvid.hosts.comfy.token_lora import load_reference_adapter

    return load_reference_adapter(model, str(save_adapter(folder, adapter_state(sizes))))


class Published:
    """The published forward in float64, of one clip and one reference.

    The video attends to itself and the reference, the reference to itself alone. It has timestep 0 and reads
    no text; it stands at frame -1, rows from H and columns from W. Its LoRA adds to its q, k and v.
    """

    def __init__(self, state: dict[str, Tensor], adapter: dict[str, Tensor], heads: int, layers: int):
        self.state = {key: value.double() for key, value in (state | adapter).items()}
        self.heads, self.layers = heads, layers

    def __call__(self, video: Tensor, reference: Tensor, text: Tensor, timestep: float) -> Tensor:
        """video (16, F, h, w), reference (16, 1, h', w'), text (S, text width) -> velocity (16, F, h, w)"""
        frames, rows, columns = video.shape[1], video.shape[2] // 2, video.shape[3] // 2
        x, other = (self.linear(_patches(one), "patch_embedding") for one in (video, reference))
        turn = self.turns((frames, rows, columns), (0, 0, 0))
        beyond = self.turns((1, reference.shape[2] // 2, reference.shape[3] // 2), (-1, rows, columns))
        context = self.mlp(text.double(), "text_embedding", lambda y: F.gelu(y, approximate="tanh"))
        time, clean = self.time(timestep), self.time(0.0)
        for index in range(self.layers):
            x, other = self.block(f"blocks.{index}", (x, other), (time, clean), context, (turn, beyond))
        shift, scale = self.state["head.modulation"][0] + time
        out = self.linear(self.norm(x) * (1 + scale) + shift, "head.head")
        return rearrange(out, "(f h w) (q r c) -> c f (h q) (w r)", f=frames, h=rows, q=2, r=2)

    def block(self, name: str, both, clocks, context: Tensor, turns) -> tuple[Tensor, Tensor]:
        six = [self.state[f"{name}.modulation"][0] + self.six(clock) for clock in clocks]
        queries, keys, values, left = [], [], [], []
        for index, (x, gates, turn) in enumerate(zip(both, six, turns, strict=True)):
            seen = self.norm(x) * (1 + gates[1]) + gates[0]
            made = [self.projected(seen, f"{name}.self_attn", one, changed=index == 1) for one in "qkv"]
            queries.append(self.turned(self.rms(made[0], f"{name}.self_attn.norm_q"), turn))
            keys.append(self.turned(self.rms(made[1], f"{name}.self_attn.norm_k"), turn))
            values.append(self.split(made[2]))
        read = [
            self.read(queries[0], torch.cat(keys, dim=1), torch.cat(values, dim=1)),
            self.read(queries[1], keys[1], values[1]),
        ]
        for index, (x, gates) in enumerate(zip(both, six, strict=True)):
            x = x + self.linear(read[index], f"{name}.self_attn.o") * gates[2]
            if index == 0:
                x = x + self.cross(self.norm(x, f"{name}.norm3"), context, f"{name}.cross_attn")
            inner = self.norm(x) * (1 + gates[4]) + gates[3]
            left.append(
                x + self.mlp(inner, f"{name}.ffn", lambda y: F.gelu(y, approximate="tanh")) * gates[5]
            )
        return left[0], left[1]

    def projected(self, x: Tensor, name: str, one: str, changed: bool) -> Tensor:
        made = self.linear(x, f"{name}.{one}")
        if not changed:
            return made
        down, up = (self.state[f"{name}.{one}_loras.{part}.weight"] for part in ("down", "up"))
        return made + x @ (up @ down).mT

    def cross(self, x: Tensor, context: Tensor, name: str) -> Tensor:
        query, key = (
            self.split(self.rms(self.linear(y, f"{name}.{one}"), f"{name}.norm_{one}"))
            for one, y in (("q", x), ("k", context))
        )
        value = self.split(self.linear(context, f"{name}.v"))
        return self.linear(self.read(query, key, value), f"{name}.o")

    def time(self, timestep: float) -> Tensor:
        waves = timestep * 10000.0 ** (-torch.arange(128).float() / 128)  # both hosts have them in float32
        return self.mlp(torch.cat([waves.cos(), waves.sin()]).double(), "time_embedding", F.silu)

    def six(self, time: Tensor) -> Tensor:
        return self.linear(F.silu(time), "time_projection.1").view(6, -1)

    def turns(self, grid: tuple[int, int, int], first: tuple[int, int, int]) -> Tensor:
        """Unit complex numbers (tokens, D/2): 8, 8 and 8 of a head's 24 features or likewise."""
        size = self.state["blocks.0.self_attn.q.weight"].shape[0] // self.heads
        sizes = (size - 4 * (size // 6), 2 * (size // 6), 2 * (size // 6))
        axes = [torch.arange(n).double() + start for n, start in zip(grid, first, strict=True)]
        places = torch.cartesian_prod(*axes)
        parts = [
            torch.outer(places[:, axis], 10000.0 ** (-torch.arange(0, part, 2).double() / part))
            for axis, part in enumerate(sizes)
        ]
        angles = torch.cat(parts, dim=1)
        return torch.polar(torch.ones_like(angles), angles)

    def turned(self, x: Tensor, turn: Tensor) -> Tensor:
        pairs = torch.view_as_complex(self.split(x).unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * turn).flatten(-2)

    def split(self, x: Tensor) -> Tensor:
        return rearrange(x, "l (n d) -> n l d", n=self.heads)

    def read(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        weights = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)
        return rearrange(weights @ value, "n l d -> l (n d)")

    def rms(self, x: Tensor, name: str) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * self.state[f"{name}.weight"]

    def norm(self, x: Tensor, name: str | None = None) -> Tensor:
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
        return x if name is None else x * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def mlp(self, x: Tensor, name: str, between) -> Tensor:
        return self.linear(between(self.linear(x, f"{name}.0")), f"{name}.2")

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.state[f"{name}.weight"].flatten(1).mT + self.state[f"{name}.bias"]


def _patches(latent: Tensor) -> Tensor:
    return rearrange(latent.double(), "c f (h q) (w r) -> (f h w) (c q r)", q=2, r=2)
