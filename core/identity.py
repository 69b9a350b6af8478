"""Identity of a person, as a few tokens beside the text: read once, kept in a small file, shared, blended."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .checkpoint import KIND, VERSION, Shapes, read_safetensors, read_shapes, require_kind, save_model
from .controls import IDENTITY_PARTS, MOST_STRENGTH
from .header import shown

IDENTITY, _FORMAT = "identity", "1"
_MOST_PIXELS = 8192  # on a side of a preview
READ_BY = "refvid.adapter"  # in the metadata of identities alone: the adapter's fingerprint


@dataclass(frozen=True)
class Identity:
    """Identity of a person: anchors (A, C) and slots (S, C), float32, in the width of Wan's cross-attention.
    `adapter` is the fingerprint of the adapter whose encoder read them, which alone understands them. preview
    (H, W, 3) in [0, 1] is the picture that the anchor was read from."""

    anchors: Tensor
    slots: Tensor
    adapter: str
    preview: Tensor

    def tokens(self, parts: str) -> Tensor:
        """(n, C): the anchor's tokens, the slots, or both."""
        chosen = {"both": (self.anchors, self.slots), "slots": (self.slots,), "anchor": (self.anchors,)}
        if parts not in chosen:
            raise ValueError(f"parts is {parts!r}; choose one of {', '.join(IDENTITY_PARTS)}")
        return torch.cat(chosen[parts])


@dataclass(frozen=True)
class Bound:
    """Identity bound to one run: how many tokens it has, the weight of their keys, and whether a phrase names
    it. The weight is 1 untouched, and its limit at 0 is removal. Hashable."""

    tokens: int
    strength: float = 1.0
    named: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.strength <= MOST_STRENGTH:
            raise ValueError(f"strength is {self.strength}; needed above 0, up to {MOST_STRENGTH:g}")


def key_bias(bound: Sequence[Bound], device: torch.device) -> Tensor | None:
    """Bias on the logits of all identities' tokens, (1, n) float32; None where every strength is 1."""
    if all(one.strength == 1 for one in bound):
        return None
    return torch.tensor([[math.log(one.strength) for one in bound for _ in range(one.tokens)]], device=device)


def blend(identities: Sequence[Identity], weights: Sequence[float]) -> Identity:
    """Weighted mean of what one adapter read. Slot k of one is slot k of another, since all begin as the same
    learned slots [choice: blend-by-slot]. The preview is that of the largest share. ValueError for no
    identity, for weights that do not fit or are negative or all zero, and for identities of two adapters."""
    if not identities or len(identities) != len(weights):
        raise ValueError(
            f"blend: {len(identities)} identities and {len(weights)} weights came; needed one weight for each"
        )
    if not all(0 <= weight < float("inf") for weight in weights) or sum(weights) <= 0:
        raise ValueError(f"blend: weights are {list(weights)}; needed 0 or more, not all 0")
    first, total = identities[0], sum(weights)
    for other in identities[1:]:
        require_adapter(other, first.adapter, "blend")
    shares = torch.tensor([weight / total for weight in weights])

    def mean(of: list[Tensor]) -> Tensor:
        return torch.einsum("i,inc->nc", shares, torch.stack(of))

    preview = identities[int(shares.argmax())].preview
    return Identity(
        mean([i.anchors for i in identities]), mean([i.slots for i in identities]), first.adapter, preview
    )


def require_adapter(identity: Identity, adapter: str, what: str) -> None:
    """ValueError where an identity was read by another adapter than this fingerprint's."""
    if identity.adapter != adapter:
        raise ValueError(
            f"{what}: the identity was read by adapter {identity.adapter}, this is {adapter}; their tokens mean different things. Read the "
            "identity again with this adapter"
        )


def save_identity(identity: Identity, path: str | Path) -> None:
    """Write an identity: tokens in float32, so that what is loaded makes the same video, and its preview in 8
    bits."""
    tensors = {
        "anchors": identity.anchors,
        "slots": identity.slots,
        "preview": (identity.preview * 255).round().byte(),
    }
    save_model(
        tensors, path, {KIND: IDENTITY, VERSION: _FORMAT, READ_BY: identity.adapter}, dtype=torch.float32
    )


def load_identity(path: str | Path, what: str = "identity") -> Identity:
    """Read an identity that `save_identity` wrote. ValueError for a file that is missing, truncated, of
    another kind or version, or whose tokens do not fit each other."""
    shapes, metadata = read_shapes(path, what)
    name = f"{what}: {Path(path).name}"
    require_kind(metadata, IDENTITY, _FORMAT, name, "make one with Save Identity or `refvid identity make`")
    sides = Shapes(shapes, name, "an identity file").sides
    anchors, slots = (sides(key, 2) for key in ("anchors", "slots"))
    preview = sides("preview", 3, _MOST_PIXELS)
    if anchors[1] != slots[1] or preview[2] != 3:
        raise ValueError(
            f"{name}: anchors are {anchors}, slots {slots}, preview {preview}; needed (A, C), (S, C), (H, W, 3)"
        )
    for key, needed in (("anchors", torch.float32), ("slots", torch.float32), ("preview", torch.uint8)):
        if shapes[key].dtype != needed:
            raise ValueError(f"{name}: {key} is {shapes[key].dtype}; needed {needed}")
    more = shapes.keys() - {"anchors", "slots", "preview"}
    if more or READ_BY not in metadata:
        lacks = f"holds {shown(min(more))}" if more else f"names no adapter (metadata {READ_BY})"
        raise ValueError(f"{name} {lacks}; needed anchors, slots and preview, and what read them")
    state, _ = read_safetensors(path, what)
    return Identity(state["anchors"], state["slots"], metadata[READ_BY], state["preview"].float() / 255)
