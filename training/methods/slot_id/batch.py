"""Batch of a step of Slot-ID: clips, and what is read of the identities in them. Everything random is drawn
here."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ....backbones.wan.text import PADDING
from ...engine.encode import no_words
from ...engine.noise import sample_sigma
from .config import SlotTraining
from .rows import Meetings


@dataclass(frozen=True)
class MeetingBatch:
    """Batch of one step.

    rows     B clips, and who is in them
    noise    (B, 16, F, h, w)
    sigma    (B,)
    nobody   (B,) bool: rows that read no identity
    reads    (B, A + S) bool: the tokens of an identity that a row reads
    tokens   (B, S) of the text
    phrases  (B, K, P), only padding where a person is not told by name
    weight   (B, 1, F, h, w) of mean 1
    """

    rows: Meetings
    noise: Tensor
    sigma: Tensor
    nobody: Tensor
    reads: Tensor
    tokens: Tensor
    phrases: Tensor
    weight: Tensor


def draw_meeting(data: Meetings, size: int, config: SlotTraining, generator: Generator) -> MeetingBatch:
    """Draw `size` clips with those who are in them."""
    device = generator.device
    index = torch.randint(0, len(data.latent), (size,), generator=generator, device=device)
    rows = data[index]
    latent = rows.latent.float()
    left_out, named, phrased, part = torch.rand(4, size, generator=generator, device=device)
    # Of 0 to 1 the beginning leaves out the text, then both, then the identity.
    mute = left_out < config.text_dropout + config.both_dropout
    nobody = (left_out >= config.text_dropout) & (
        left_out < config.text_dropout + config.both_dropout + config.identity_dropout
    )
    spoken = named < config.named_share
    tokens = torch.where(spoken[:, None], rows.tokens[:, 1], rows.tokens[:, 0])
    by_name = spoken & (phrased < config.phrase_share) & ~mute & (rows.clip.shape[1] > 1)
    weight = 1 + config.subject_weight * rows.coverage.float()
    return MeetingBatch(
        rows=rows,
        noise=torch.randn(latent.shape, generator=generator, device=device),
        sigma=sample_sigma(size, config.shift, generator),
        nobody=nobody,
        reads=_reads(part, config) | nobody[:, None],
        tokens=torch.where(mute[:, None], no_words(tokens), tokens),
        phrases=rows.phrases.where(by_name[:, None, None], PADDING),
        weight=(weight / weight.mean()).unsqueeze(1),
    )


def _reads(part: Tensor, config: SlotTraining) -> Tensor:
    """Tokens (B, A + S) that rows read, anchors first: without the anchors, without the slots, or all of
    them, by `part` (B,) in 0…1."""
    anchor = torch.arange(config.slots.tokens, device=part.device) < config.slots.anchors
    slots_alone = (part < config.slots_alone)[:, None]
    anchor_alone = (part > 1 - config.anchor_alone)[:, None]
    return ~(slots_alone & anchor) & ~(anchor_alone & ~anchor)
