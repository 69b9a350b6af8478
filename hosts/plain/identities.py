"""Identities (Slot-ID) on the plain host: read from a clip, and as tokens behind the text."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...backbones.base import Backbone, VideoVAE
from ...core.adapter import SlotAdapter
from ...core.identity import Bound, Identity, key_bias
from ...core.reference_video import ReferenceVideo, cover, make_reference_video
from ...core.slots import Encoded, SlotEncoder, SlotsConfig
from .evaluation import Evaluation, Rider, TokensBehindText


@dataclass(frozen=True)
class Person:
    """An identity in a run.

    tokens    (n, C), or (B, n, C) where rows of a batch have different ones
    strength  weight of their keys
    phrase    states (p, text width) of the words that name it
    seen      (B, n) bool, which of the tokens a row reads; None: all of them
    """

    tokens: Tensor
    strength: float = 1.0
    phrase: Tensor | None = None
    seen: Tensor | None = None

    def __post_init__(self) -> None:
        _ = self.bound  # refuses a strength that is out of bounds

    @property
    def bound(self) -> Bound:
        return Bound(self.tokens.shape[-2], self.strength, self.phrase is not None)


@dataclass(frozen=True)
class PeopleRider(Rider):
    """The identities of a run.

    persons  at least one
    nobody   (n, C), learned to stand for them in passes without any
    cells    (F, h, w) int64, bit k where identity k is read; None: everywhere
    """

    persons: tuple[Person, ...]
    nobody: Tensor
    cells: Tensor | None = None

    def over(self, start: int, stop: int) -> "PeopleRider":
        return self if self.cells is None else replace(self, cells=self.cells[start:stop])

    def now(self, evaluation: Evaluation) -> Evaluation:
        dit = evaluation.dit
        if evaluation.entry.conditions:
            bound = [person.bound for person in self.persons]
            tokens = _side_by_side([_named(dit, person) for person in self.persons])
            sizes = tuple(one.tokens for one in bound)
            mine = TokensBehindText(tokens, sizes, self._bias(bound, dit.device), self.cells)
        else:
            mine = TokensBehindText(self.nobody[None].to(dit.device, dit.dtype), (len(self.nobody),))
        return replace(evaluation, behind_text=(*evaluation.behind_text, mine))

    def _bias(self, bound: list[Bound], device: torch.device) -> Tensor | None:
        """(1 or B, n): the weights of the keys, minus infinity for those that a row does not read."""
        weights = key_bias(bound, device)
        if all(person.seen is None for person in self.persons):
            return weights
        rows = max(len(person.seen) for person in self.persons if person.seen is not None)
        seen = [
            torch.ones(rows, one.tokens, dtype=torch.bool, device=device)
            if person.seen is None
            else person.seen
            for person, one in zip(self.persons, bound, strict=True)
        ]
        hidden = torch.zeros(rows, sum(one.tokens for one in bound), device=device)
        hidden = hidden.masked_fill(~torch.cat(seen, dim=1), -torch.inf)
        return hidden if weights is None else weights + hidden


def slot_encoder(
    adapter: SlotAdapter, kind: Callable[[SlotsConfig, int], SlotEncoder] = SlotEncoder
) -> SlotEncoder:
    """The adapter's encoder, in float32 on the CPU; of another kind where it was trained as one."""
    encoder = kind(adapter.config, adapter.geometry.patch)
    encoder.load_state_dict({key: value.float() for key, value in adapter.encoder.items()})
    return encoder.eval().requires_grad_(False)


@torch.no_grad()
def encode_identity(
    adapter: SlotAdapter, vae: VideoVAE, clip: Tensor, masks: Tensor | None = None, anchor: int | None = None
) -> tuple[Identity, ReferenceVideo, Encoded]:
    """Read the identity in a clip. ValueError for a VAE whose latents the adapter does not read.

    clip    (F, H, W, 3) in [0, 1]
    masks   (F or 1, H, W), 1 = subject; None: all of the pictures
    anchor  the frame that shows the subject best; None: it is looked for

    -> the identity, the clip as it was read, and what each slot read.
    """
    config, geometry = adapter.config, adapter.geometry
    if vae.geometry != geometry:
        raise ValueError(
            f"vae makes latents of {vae.geometry.channels} channels, the adapter reads {geometry.channels}; "
            "give the VAE of the model it was "
            "trained with"
        )
    video = make_reference_video(clip, masks, config.frames, config.size, geometry, anchor)
    picture = slice(video.anchor, video.anchor + 1)
    inputs = []
    for part in (slice(None), picture):
        pictures = (video.pictures[part].movedim(-1, 0)[None] * 2 - 1).to(vae.device, vae.dtype)
        inputs += [vae.encode(pictures).float().cpu(), cover(video.masks[part], geometry)[None]]
    encoded = slot_encoder(adapter)(*inputs)
    preview = video.pictures[video.anchor]
    return Identity(encoded.anchors[0], encoded.slots[0], adapter.fingerprint, preview), video, encoded


def _side_by_side(parts: list[Tensor]) -> Tensor:
    """Tokens (1 or B, n, C) of all of them."""
    rows = max(1 if part.ndim == 2 else len(part) for part in parts)
    return torch.cat([part.expand(rows, -1, -1) for part in parts], dim=1)


def _named(dit: Backbone, person: Person) -> Tensor:
    """Tokens of a person, with the mean of its phrase's words added, embedded as the text is [choice:
    phrase-mean-on-identity]."""
    tokens = person.tokens.to(dit.device, dit.dtype)
    if person.phrase is None:
        return tokens
    return tokens + dit.embed_text(person.phrase.to(dit.device, dit.dtype)).mean(0)
