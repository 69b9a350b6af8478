"""Slot-ID's encoder: who is in a reference video, read frame by frame into a few tokens (arXiv 2601.01352).

The abstract names the parts: learned slots, a reader routed by Sinkhorn, anchor tokens from a picture, and a
gate between them. It also says that the order of frames matters. No number and no part's form is public
[choice: slot-encoder].
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .geometry import Geometry
from .positions import sinusoid
from .records import bounded, require_bounds
from .transport import transport_plan


@dataclass(frozen=True)
class SlotsConfig:
    """Sizes of an encoder.

    channels    of the VAE's latents
    context     width of Wan's cross-attention, after its text embedding
    width       of the slots place_width features that say where and when a token is, for each of row, column
                and frame
    rounds      of routing and refining on every frame
    epsilon     of the transport; costs are cosines, so they lie in [-1, 1]
    frames      pictures that a clip is read in, which fill their latent frames
    size        pixels on a side, a whole number of tokens
    gate        the gate's bias at the start: sigmoid(-2) = 0.12, so that training begins as a model of
                pictures
    """

    channels: int = bounded(1, 1024)
    context: int = bounded(1, 16384)
    width: int = bounded(1, 16384, 768)
    place_width: int = bounded(2, 1024, 64)
    slots: int = bounded(1, 1024, 16)
    anchors: int = bounded(1, 256, 4)
    rounds: int = bounded(1, 16, 1)
    epsilon: float = bounded(0.001, 100, 0.1)
    gate: float = bounded(-100, 100, -2.0)
    frames: int = bounded(1, 961, 33)
    size: int = bounded(1, 4096, 256)

    def __post_init__(self) -> None:
        require_bounds(self)
        if self.place_width % 2:
            raise ValueError(f"place_width is {self.place_width}; needed an even number")

    def require(self, geometry: Geometry) -> None:
        """ValueError where an encoder of these sizes cannot read the latents of this geometry."""
        least = geometry.pictures(2)
        if self.frames < least or self.frames != geometry.whole(self.frames) or self.size % geometry.token:
            raise ValueError(
                f"frames is {self.frames}, size {self.size}; needed {geometry.group} k + 1 from {least} on, and a "
                f"multiple of {geometry.token}"
            )

    @property
    def tokens(self) -> int:
        return self.anchors + self.slots


@dataclass(frozen=True)
class Encoded:
    """Encoded clips: what an encoder read from B clips of F latent frames of N tokens.

    anchors (B, A, C) and slots (B, S, C), already gated, both in the width of Wan's context; gates (B, S) in
    0…1. plans (B, F, S, N), what each slot read of each frame: a slot's row sums to 1, or to 0 where a frame
    shows no subject.
    """

    anchors: Tensor
    slots: Tensor
    gates: Tensor
    plans: Tensor


class SlotEncoder(nn.Module):
    """Reads clips into identity tokens, by latent patches of a geometry's size. `operations` has Linear,
    LayerNorm and Embedding: torch's, or those of a host that moves weights by itself."""

    def __init__(self, config: SlotsConfig, patch: int, operations: Any = nn):
        super().__init__()
        self.config, self.patch, width = config, patch, config.width
        linear, norm, embedding = operations.Linear, operations.LayerNorm, operations.Embedding
        self.embed = linear(config.channels * patch**2 + 3 * config.place_width, width)
        self.norm_tokens = norm(width)
        self.first_slots = embedding(config.slots, width)
        self.reader = SlotReader(config, operations)
        self.anchor_queries = embedding(config.anchors, width)
        self.anchor_key, self.anchor_value = (linear(width, width, bias=False) for _ in range(2))
        self.gate = linear(2 * width, 1)
        self.anchor_out, self.slot_out = (
            nn.Sequential(linear(width, config.context), norm(config.context)) for _ in range(2)
        )
        self.null = embedding(config.tokens, config.context)

    def start(self) -> None:
        """The weights that training begins with, beside torch's own."""
        nn.init.constant_(self.gate.bias, self.config.gate)
        nn.init.normal_(self.first_slots.weight)  # as large as what the reader norms: it stays in every query
        for table in (self.anchor_queries, self.null):
            nn.init.normal_(table.weight, std=table.weight.shape[1] ** -0.5)

    def forward(self, clip: Tensor, cover: Tensor, anchor: Tensor, anchor_cover: Tensor) -> Encoded:
        """clip (B, channels, F, H, W); cover (B, F, rows, columns) in [0, 1], how much of each token is the
        subject. anchor (B, channels, 1, H, W), a single picture of it, and its cover (B, 1, rows,
        columns)."""
        slots, plans = self._read(self._tokens(clip), cover.flatten(2))  # (B, S, width), (B, F, S, N)
        picture = self._look(anchor, anchor_cover)  # (B, A, width)
        gates = self._gates(slots, picture)  # (B, S, 1)
        return Encoded(self.anchor_out(picture), gates * self.slot_out(slots), gates[..., 0], plans)

    def nobody(self) -> Tensor:
        """(A + S, C): the learned tokens that stand for no identity."""
        return _rows(self.null, 1)[0]

    def _tokens(self, latent: Tensor) -> Tensor:
        """(B, F, N, width)"""
        return self.norm_tokens(self.embed(place_tokens(latent, self.patch, self.config.place_width)))

    def _read(self, tokens: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B, F, N, width) and their weights (B, F, N), frame by frame in order -> slots, plans."""
        own, plans = _rows(self.first_slots, len(tokens)), []
        slots = own
        for frame in range(tokens.shape[1]):
            slots, plan = self.reader(slots, own, tokens[:, frame], weights[:, frame])
            plans.append(plan)
        return slots, torch.stack(plans, 1)

    def _look(self, anchor: Tensor, cover: Tensor) -> Tensor:
        """Anchor tokens (B, A, width): queries over the subject's tokens of one picture."""
        tokens = self._tokens(anchor)[:, 0]
        mask = cover.flatten(1).log()[:, None]  # a token counts by the share that is subject
        query = _rows(self.anchor_queries, len(anchor))
        return F.scaled_dot_product_attention(
            query, self.anchor_key(tokens), self.anchor_value(tokens), attn_mask=mask.to(query.dtype)
        )

    def _gates(self, slots: Tensor, picture: Tensor) -> Tensor:
        """(B, S, 1): how much of each slot enters, from the slot and the anchor."""
        beside = picture.mean(1, keepdim=True).expand_as(slots)
        return self.gate(torch.cat([slots, beside], dim=2)).sigmoid()


class SlotReader(nn.Module):
    """Reader of one frame's tokens into the slots, routed by optimal transport: all slots read, and all of
    the subject is read. A gated recurrent unit and an MLP follow."""

    def __init__(self, config: SlotsConfig, operations: Any = nn):
        super().__init__()
        width, linear, norm = config.width, operations.Linear, operations.LayerNorm
        self.rounds, self.epsilon = config.rounds, config.epsilon
        self.norm_slots, self.norm_mlp = norm(width), norm(width)
        self.query, self.key, self.value = (linear(width, width, bias=False) for _ in range(3))
        self.read, self.kept = linear(width, 3 * width), linear(width, 3 * width)
        self.mlp = nn.Sequential(linear(width, 2 * width), nn.GELU(), linear(2 * width, width))

    def forward(self, slots: Tensor, own: Tensor, tokens: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """slots (B, S, width) and what each of them began as, own (B, S, width); tokens (B, N, width),
        weights (B, N) in [0, 1]. -> slots, and what each read of the tokens (B, S, N). A frame whose weights
        are all zero changes nothing."""
        mass = weights.sum(1, keepdim=True)  # (B, 1)
        shows = mass > 0
        # (B, N), each row summing to 1; an even one where the frame shows nobody, which keeps the plan finite
        share = torch.where(shows, weights / mass.clamp_min(1e-6), 1 / weights.shape[1])
        key, value = F.normalize(self.key(tokens), dim=-1), self.value(tokens)
        even = torch.full((1, slots.shape[1]), 1 / slots.shape[1])  # (1, S): every slot reads alike
        before, plan = slots, torch.zeros(0)
        for _ in range(self.rounds):
            # The unit forgets what a slot began as, and slots that forget it read the same (docs/log.md).
            query = F.normalize(self.query(self.norm_slots(slots) + own), dim=-1)
            # (B, S, N) at cosine costs; times S, so that what a slot reads sums to 1
            plan = transport_plan(-(query @ key.mT), even, share, self.epsilon) * slots.shape[1]
            slots = gated(self.read(plan.to(value.dtype) @ value), self.kept(slots), slots)
            slots = slots + self.mlp(self.norm_mlp(slots))
        return torch.where(shows[..., None], slots, before), plan * shows[..., None]


def gated(read: Tensor, kept: Tensor, state: Tensor) -> Tensor:
    """A gated recurrent unit (Cho et al., arXiv 1406.1078) from its projections (..., 3C): reset, update, new
    (torch's order)."""
    reset, update, new = read.chunk(3, dim=-1)
    kept_reset, kept_update, kept_new = kept.chunk(3, dim=-1)
    share = torch.sigmoid(update + kept_update)
    fresh = torch.tanh(new + torch.sigmoid(reset + kept_reset) * kept_new)
    return (1 - share) * fresh + share * state


def place_tokens(latent: Tensor, patch: int, width: int) -> Tensor:
    """Patches of a latent with where and when they are: (B, C, F, H, W) -> (B, F, tokens, patch² C + 3
    width)."""
    patches = latent.unflatten(4, (-1, patch)).unflatten(3, (-1, patch))  # (B, C, F, h, patch, w, patch)
    patches = patches.permute(0, 2, 3, 5, 1, 4, 6).flatten(4)  # (B, F, h, w, C patch²)
    frames, rows, columns = patches.shape[1:4]
    axes = torch.meshgrid(
        *(torch.arange(n, device=latent.device) for n in (frames, rows, columns)), indexing="ij"
    )
    # (F, h, w, 3 width): frame, row and column, one sinusoid each
    place = sinusoid(torch.stack(axes, dim=-1), width).flatten(3).to(latent.dtype)
    return torch.cat([patches, place.expand(len(latent), -1, -1, -1, -1)], dim=-1).flatten(2, 3)


def _rows(table: Any, batch: int) -> Tensor:
    """A whole table as (B, rows, width), through its own forward: under ComfyUI that is what moves and casts
    weights."""
    every = torch.arange(table.weight.shape[0], device=table.weight.device)
    return table(every).expand(batch, -1, -1)
