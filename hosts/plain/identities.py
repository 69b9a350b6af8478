"""Slot-ID without ComfyUI: who is in a clip, and identities beside the text of the plain Wan."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..backbones.base import Backbone, Identities, VideoVAE, attend_all
from ..core.adapter import Adapter
from ..core.identity import Bound, Identity, key_bias
from ..core.reference_video import ReferenceVideo, cover, make_reference_video
from ..core.slots import Encoded, SlotEncoder, SlotsConfig
from ..core.visibility import text_groups
from ..kernels.grouped import in_groups


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


def slot_encoder(
    adapter: Adapter, kind: Callable[[SlotsConfig, int], SlotEncoder] = SlotEncoder
) -> SlotEncoder:
    """The adapter's encoder, in float32 on the CPU; of another kind where it was trained as one."""
    encoder = kind(adapter.config, adapter.geometry.patch)
    encoder.load_state_dict({key: value.float() for key, value in adapter.encoder.items()})
    return encoder.eval().requires_grad_(False)


@torch.no_grad()
def encode_identity(
    adapter: Adapter, vae: VideoVAE, clip: Tensor, masks: Tensor | None = None, anchor: int | None = None
) -> tuple[Identity, ReferenceVideo, Encoded]:
    """Who is in a clip (F, H, W, 3) in [0, 1] with masks (F or 1, H, W) or none -> the identity, the clip as it was read, and
    what each slot read."""
    config, geometry = adapter.config, adapter.geometry
    video = make_reference_video(clip, masks, config.frames, config.size, geometry, anchor)
    picture = slice(video.anchor, video.anchor + 1)
    given = []
    for part in (slice(None), picture):
        pictures = (video.pictures[part].movedim(-1, 0)[None] * 2 - 1).to(vae.device, vae.dtype)
        given += [vae.encode(pictures).float().cpu(), cover(video.masks[part], geometry)[None]]
    encoded = slot_encoder(adapter)(*given)
    preview = video.pictures[video.anchor]
    return Identity(encoded.anchors[0], encoded.slots[0], adapter.fingerprint, preview), video, encoded


def read(dit: Backbone, people: People, acting: bool, text: int, video: int, beside: int) -> Identities:
    """What cross-attention reads behind `text` tokens in one pass: the identities, or nobody; for `video` tokens and those of
    references `beside` them."""
    if not acting:
        return Identities(people.nobody[None].to(dit.device, dit.dtype))
    tokens = torch.cat([_named(dit, person) for person in people.persons])
    bound = [person.bound for person in people.persons]
    sizes = tuple(one.tokens for one in bound)
    groups = text_groups(sizes, people.cells, text, video, beside, dit.geometry.patch, dit.device)
    attend = None if groups is None else in_groups(attend_all, groups)
    return Identities(tokens[None], key_bias(bound, dit.device), attend)


def _named(dit: Backbone, person: Person) -> Tensor:
    """Its tokens with the mean of its phrase's words added, embedded as the text is (our choice)."""
    tokens = person.tokens.to(dit.device, dit.dtype)
    if person.phrase is None:
        return tokens
    return tokens + dit.embed_text(person.phrase.to(dit.device, dit.dtype)).mean(0)
