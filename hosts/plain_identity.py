"""Slot-ID without ComfyUI: who is in a clip, and identities beside the text of the plain Wan."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.adapter import Adapter
from ..core.identity import Bound, Identity, key_bias
from ..core.reference_video import ReferenceVideo, cover, make_reference_video
from ..core.slots import PATCH, Encoded, SlotEncoder, SlotsConfig
from ..core.visibility import text_groups
from ..kernels.grouped import in_groups
from ..wan.attention import attend_all
from ..wan.dit import Identities, WanDiT
from ..wan.vae import STRIDE, WanVAE


@dataclass(frozen=True)
class Person:
    """An identity in a run: its tokens (n, C), the weight of their keys, and states (p, text width) of the words that name it."""

    tokens: Tensor
    strength: float = 1.0
    phrase: Tensor | None = None

    def __post_init__(self) -> None:
        _ = self.bound  # refuses a strength that is out of bounds

    @property
    def bound(self) -> Bound:
        return Bound(len(self.tokens), self.strength, self.phrase is not None)


@dataclass(frozen=True)
class People:
    """The identities of a run, and the learned nobody (n, C) that stands for them in passes without any; cells (F, h, w) int64,
    bit k where identity k is read, or None for everywhere."""

    persons: tuple[Person, ...]
    nobody: Tensor
    cells: Tensor | None = None


def slot_encoder(adapter: Adapter, kind: Callable[[SlotsConfig], SlotEncoder] = SlotEncoder) -> SlotEncoder:
    """The adapter's encoder, in float32 on the CPU; of another kind where it was trained as one."""
    encoder = kind(adapter.config)
    encoder.load_state_dict({key: value.float() for key, value in adapter.encoder.items()})
    return encoder.eval().requires_grad_(False)


@torch.no_grad()
def encode_identity(
    adapter: Adapter, vae: WanVAE, clip: Tensor, masks: Tensor | None = None, anchor: int | None = None
) -> tuple[Identity, ReferenceVideo, Encoded]:
    """Who is in a clip (F, H, W, 3) in [0, 1] with masks (F or 1, H, W) or none -> the identity, the clip as it was read, and
    what each slot read."""
    config = adapter.config
    video = make_reference_video(clip, masks, config.frames, config.size, anchor)
    picture = slice(video.anchor, video.anchor + 1)
    weight, given = vae.conv1.weight, []
    for part in (slice(None), picture):
        pictures = (video.pictures[part].movedim(-1, 0)[None] * 2 - 1).to(weight.device, weight.dtype)
        given += [vae.encode(pictures).float().cpu(), cover(video.masks[part], PATCH * STRIDE)[None]]
    encoded = slot_encoder(adapter)(*given)
    preview = video.pictures[video.anchor]
    return Identity(encoded.anchors[0], encoded.slots[0], adapter.fingerprint, preview), video, encoded


def read(dit: WanDiT, people: People, acting: bool, text: int, video: int, beside: int) -> Identities:
    """What cross-attention reads behind `text` tokens in one pass: the identities, or nobody; for `video` tokens and those of
    references `beside` them."""
    weight = dit.head.head.weight
    if not acting:
        return Identities(people.nobody[None].to(weight))
    tokens = torch.cat([_named(dit, person) for person in people.persons])
    bound = [person.bound for person in people.persons]
    sizes = tuple(one.tokens for one in bound)
    groups = text_groups(sizes, people.cells, text, video, beside, weight.device)
    attend = None if groups is None else in_groups(attend_all, groups)
    return Identities(tokens[None], key_bias(bound, weight.device), attend)


def _named(dit: WanDiT, person: Person) -> Tensor:
    """Its tokens with the mean of its phrase's words added, embedded as the text is (our choice)."""
    weight = dit.head.head.weight
    tokens = person.tokens.to(weight)
    if person.phrase is None:
        return tokens
    return tokens + dit.text_embedding(person.phrase.to(weight)).mean(0)
