"""LoRA on reference tokens alone: Stand-In (arXiv 2508.07901, released code). In the self-attention of every
block it adds to the queries, keys and values of these tokens; the video's are those of the base model. Names
of parameters are those of the released file."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from .checkpoint import Shapes, read_safetensors, read_shapes, require_tensors
from .lora import MOST_LAYERS, MOST_RANK
from .recipe import Recipe
from .recipes import EDITING, RECIPES, TRAINED_FOR
from .semantic import bare

logger = logging.getLogger(__name__)
TOKEN_LORA_MARK = "q_loras"  # in the names of its tensors alone
_PARTS = (TOKEN_LORA_MARK, "k_loras", "v_loras")
_FIRST = "blocks.0.self_attn.q_loras.down.weight"
_KIND = "a LoRA on reference tokens (Stand-In's file, as safetensors)"


@dataclass(frozen=True)
class TokenLoraSizes:
    """Features of a token, blocks of the model, and rank of every change."""

    width: int
    layers: int
    rank: int


class TokenChange(nn.Module):
    """Change of one projection: up(down(x)), without a scale of its own."""

    def __init__(self, sizes: TokenLoraSizes, operations: Any = nn):
        super().__init__()
        self.down = operations.Linear(sizes.width, sizes.rank, bias=False)
        self.up = operations.Linear(sizes.rank, sizes.width, bias=False)

    def forward(self, features: Tensor, tokens: Tensor, count: int) -> Tensor:
        """Features (B, L, C) that a projection made of tokens (B, L, C), changed for the last `count` tokens.
        Those before stay as they are, to the last bit."""
        changed = features[:, -count:] + self.up(self.down(tokens[:, -count:])).to(features.dtype)
        return torch.cat([features[:, :-count], changed], dim=1)


class BlockLora(nn.Module):
    """Changes of one block's queries, keys and values."""

    def __init__(self, sizes: TokenLoraSizes, operations: Any = nn):
        super().__init__()
        self.self_attn = nn.ModuleDict({part: TokenChange(sizes, operations) for part in _PARTS})

    def forward(
        self, features: tuple[Tensor, Tensor, Tensor], tokens: Tensor, count: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, L, C) that were made of tokens (B, L, C), changed for the last `count`
        tokens."""
        changes = self.by_projection().values()
        query, key, value = (
            change(one, tokens, count) for change, one in zip(changes, features, strict=True)
        )
        return query, key, value

    def by_projection(self) -> dict[str, TokenChange]:
        """Changes of "q", "k" and "v"."""
        return {part[0]: cast(TokenChange, self.self_attn[part]) for part in _PARTS}


class TokenLora(nn.Module):
    """Changes of all blocks. `operations` has Linear: torch's, or that of a host that moves weights by
    itself."""

    def __init__(self, sizes: TokenLoraSizes, operations: Any = nn):
        super().__init__()
        self.sizes = sizes
        self.blocks = nn.ModuleList(BlockLora(sizes, operations) for _ in range(sizes.layers))


def read_token_lora(
    path: str | Path, width: int, layers: int, what: str
) -> tuple[TokenLoraSizes, dict[str, Tensor], str]:
    """Read a file for a model of this width and number of blocks. -> its sizes, its tensors by the names of
    `TokenLora`'s parameters, and the recipe it is for. ValueError for a file of another kind or model, and
    where it holds more or less than its sizes need."""
    name = f"{what}: {Path(path).name}"
    sizes, recipe = look_at_token_lora(path, what)
    if (sizes.width, sizes.layers) != (width, layers):
        raise ValueError(
            f"{name} was trained for a Wan of width {sizes.width} with {sizes.layers} blocks, the model has "
            f"{width} and {layers}; give the file of its size"
        )
    state, _ = read_safetensors(path, what)
    return sizes, {bare(key): value for key, value in state.items()}, recipe


def look_at_token_lora(path: str | Path, what: str) -> tuple[TokenLoraSizes, str]:
    """Sizes of a file, whose tensors are not read, and the recipe it is for. ValueError for a file of another
    kind."""
    name = f"{what}: {Path(path).name}"
    shapes, metadata = read_shapes(path, what)
    return token_lora_sizes(shapes, name), _recipe_of(metadata, name)


def token_lora_sizes(shapes: Mapping[str, Tensor], name: str) -> TokenLoraSizes:
    """Sizes from a file's tensors, under any of the prefixes that Wan files have. ValueError where they are
    not those of a LoRA on reference tokens, whole and alone."""
    held = {bare(key): value for key, value in shapes.items()}
    if len(held) < len(shapes):
        raise ValueError(f"{name} holds tensors twice, with and without a prefix; needed each once")
    rank, width = Shapes(held, name, _KIND).sides(_FIRST, 2)
    numbers = {int(found[1]) for key in held if (found := re.match(r"blocks\.(\d{1,9})\.", key))}
    if rank > MOST_RANK or max(numbers) >= MOST_LAYERS:
        raise ValueError(
            f"{name} has rank {rank} and a block {max(numbers)}; needed a rank up to {MOST_RANK} and blocks "
            f"below {MOST_LAYERS}"
        )
    sizes = TokenLoraSizes(width, max(numbers) + 1, rank)
    with torch.device("meta"):
        wanted = TokenLora(sizes).state_dict()
    require_tensors(held, wanted, name, "; a plain LoRA goes into a LoRA loader")
    for key, value in held.items():
        if value.element_size() < 2:
            raise ValueError(f"{name}: {key} is {value.dtype}; needed fp32, fp16 or bf16")
    return sizes


def require_token_lora(recipe: Recipe, present: bool, what: str) -> None:
    """ValueError where a recipe needs a LoRA on reference tokens and there is none. `what` says how one is
    given. One that the recipe does not need does nothing, which is logged."""
    if recipe.token_lora and not present:
        raise ValueError(
            f"recipe is {recipe.name}, whose weights are a LoRA on reference tokens, and the model has none: {what}"
        )
    if present and not recipe.token_lora:
        logger.warning(
            "refvid: the recipe is %s, in which the model's LoRA on reference tokens does nothing: choose %s, or leave the "
            "adapter out",
            recipe.name,
            " or ".join(_recipes()),
        )


def _recipe_of(metadata: Mapping[str, str], name: str) -> str:
    """The recipe that a file is for: the one it says, else the only one of this kind."""
    known = _recipes()
    said = metadata.get(TRAINED_FOR, known[0])
    if said not in known:
        raise ValueError(
            f"{name} says that it was trained for the recipe {said}; needed {' or '.join(known)}"
        )
    return said


def _recipes() -> list[str]:
    """Recipes whose weights are such a LoRA."""
    return [name for name, build in (RECIPES | EDITING).items() if build().token_lora]
