"""Modules of SAMA's own (arXiv 2603.19228, released code). One tells source, semantic and video tokens apart;
the others take semantic tokens into a Wan DiT and out of it. Names of parameters are those of the released
file."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .checkpoint import KIND, Shapes, require_kind, require_tensors

_ValueT = TypeVar("_ValueT")
_EPSILON = 1e-6
_TYPES = 3  # source, semantic, video
EMBEDDING = "segment_embedding.weight"
_SEMANTIC = (
    "siglip_feat_mlp.norm.weight",
    "siglip_feat_mlp.norm.bias",
    "siglip_feat_mlp.fc1.weight",
    "siglip_feat_mlp.fc1.bias",
    "siglip_feat_mlp.fc2.weight",
    "siglip_feat_mlp.fc2.bias",
    "semantic_head.norm.weight",
    "semantic_head.norm.bias",
    "semantic_head.proj.weight",
    "semantic_head.proj.bias",
)
SEMANTIC_KEYS = (EMBEDDING, *_SEMANTIC)
# What our training says of its files; the released ones say nothing.
EDITING_ADAPTER, EDITING_FORMAT = "sama", "1"
_DIT = "patch_embedding.weight"  # in every file of a whole Wan DiT, and in no adapter


@dataclass(frozen=True)
class SemanticConfig:
    """Features of the DiT, of a semantic token (SigLIP so400m's 1152), and between the two."""

    width: int
    features: int = 1152
    hidden: int = 1024


class FeatureMLP(nn.Module):
    """Semantic tokens (B, 65, features) into the DiT's width."""

    def __init__(self, config: SemanticConfig, operations: Any = nn):
        super().__init__()
        self.norm = operations.LayerNorm(config.features, eps=_EPSILON)
        self.fc1 = operations.Linear(config.features, config.hidden)
        self.fc2 = operations.Linear(config.hidden, config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(self.norm(tokens))))


class SemanticHead(nn.Module):
    """Semantic tokens after the last block (B, 65, width) to their flow velocity (B, 65, features)."""

    def __init__(self, config: SemanticConfig, operations: Any = nn):
        super().__init__()
        self.norm = operations.LayerNorm(config.width, eps=_EPSILON)
        self.proj = operations.Linear(config.width, config.features)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.proj(self.norm(tokens))


class SemanticModules(nn.Module):
    """The three of them. `operations` has Linear, LayerNorm and Embedding: torch's, or those of a host that
    moves weights by itself."""

    def __init__(self, config: SemanticConfig, operations: Any = nn):
        super().__init__()
        self.config = config
        self.segment_embedding = operations.Embedding(_TYPES, config.width)
        self.siglip_feat_mlp = FeatureMLP(config, operations)
        self.semantic_head = SemanticHead(config, operations)

    def start(self) -> None:
        """Set the weights that training begins with: types and a head that say nothing, beside torch's own
        [choice: semantic-start]."""
        for parameter in (
            self.segment_embedding.weight,
            self.semantic_head.proj.weight,
            self.semantic_head.proj.bias,
        ):
            nn.init.zeros_(parameter)

    def types(self, rows: list[int]) -> Tensor:
        """(len(rows), width): rows of the type embedding, through its own forward, since under ComfyUI that
        moves and casts weights."""
        return self.segment_embedding(torch.tensor(rows, device=self.segment_embedding.weight.device))


def bare(key: str) -> str:
    """A key without any of the prefixes that Wan files have."""
    return key.removeprefix("model.").removeprefix("diffusion_model.")


def semantic_state(state: Mapping[str, _ValueT]) -> dict[str, _ValueT]:
    """The modules' tensors among a file's, under any of the prefixes that Wan files have."""
    found = {bare(key): key for key in state}
    return {key: state[found[key]] for key in SEMANTIC_KEYS if key in found}


def beside_modules(keys: Iterable[str]) -> set[str]:
    """Keys of an editing adapter that are not its modules', all of which its LoRA has to take. A whole model
    has none: only the modules are wanted of it."""
    others = {key for key in keys if bare(key) not in SEMANTIC_KEYS}
    return set() if any(bare(key) == _DIT for key in others) else others


def require_editing(metadata: dict[str, str], name: str) -> None:
    """ValueError where a file says that it is of another kind than an editing adapter, or version."""
    if KIND in metadata:
        require_kind(metadata, EDITING_ADAPTER, EDITING_FORMAT, name, "give a file with SAMA's modules")


def is_module_key(key: str) -> bool:
    """True for a tensor of the modules, under any prefix."""
    return key.endswith(SEMANTIC_KEYS)


def semantic_config(state: dict[str, Tensor], what: str) -> SemanticConfig:
    """Sizes from the tensors of `semantic_state`. ValueError names the modules that are missing, or whose
    sizes do not agree."""
    missing = [key for key in SEMANTIC_KEYS if key not in state]
    if missing:
        raise ValueError(
            f"{what} has no {', '.join(missing)}: the recipe sama needs all of segment_embedding, siglip_feat_mlp and semantic_head "
            "(SAMA-14B's file holds them beside the model; an adapter holds them alone)"
        )
    shape = Shapes(state, what)
    hidden, features = shape.sides("siglip_feat_mlp.fc1.weight", 2)
    config = SemanticConfig(shape.sides(EMBEDDING, 2)[1], features, hidden)
    with torch.device("meta"):
        wanted = SemanticModules(config).state_dict()
    require_tensors(state, wanted, what)
    return config


def spare_frames(numbers: int, latent: tuple[int, ...]) -> int:
    """Latent frames that hold so many numbers, of a latent (B, C, F, h, w)."""
    _, channels, _, rows, columns = latent
    return -(-numbers // (channels * rows * columns))


def as_frames(tokens: Tensor, latent: tuple[int, ...]) -> Tensor:
    """Semantic tokens (B, N, features) as frames (B, C, k, h, w) behind a video latent (B, C, F, h, w), zeros
    at their end. A sampler then takes both through the same steps."""
    batch, channels, _, rows, columns = latent
    frames = spare_frames(tokens[0].numel(), latent)
    flat = nn.functional.pad(tokens.flatten(1), (0, frames * channels * rows * columns - tokens[0].numel()))
    return flat.view(batch, channels, frames, rows, columns)


def as_tokens(frames: Tensor, count: int, features: int) -> Tensor:
    """Undo `as_frames`: frames back to semantic tokens."""
    return frames.flatten(1)[:, : count * features].unflatten(1, (count, features))


def first_frames(latent: tuple[int, ...], numbers: int, seed: int) -> Tensor:
    """Frames of noise (B, C, k, h, w) that hold so many numbers, behind a video latent (B, C, F, h, w): what
    semantic tokens begin with. Their seed is their own: the video's noise begins with the seed itself."""
    batch, channels, _, rows, columns = latent
    generator = torch.Generator().manual_seed((seed + 0x5A3A) % 2**63)
    return torch.randn(batch, channels, spare_frames(numbers, latent), rows, columns, generator=generator)
