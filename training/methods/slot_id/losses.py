"""Slot-ID's loss: the backbone's own, with the identities' tokens behind the text (arXiv 2601.01352)."""

import torch
from torch import Tensor

from ....backbones.wan.dit import WanDiT
from ....backbones.wan.text import PADDING, TextEncoder, fold_padding
from ....core.guidance import CONDITIONED
from ....core.slots import SlotEncoder
from ....hosts.plain.evaluation import Text
from ....hosts.plain.identities import PeopleRider, Person
from ....hosts.plain.run import Condition, velocity
from ...engine.encode import no_words
from .batch import MeetingBatch


def identity_loss(dit: WanDiT, encoder: SlotEncoder, text: TextEncoder, batch: MeetingBatch) -> Tensor:
    """Weighted squared error of the velocity, with the identities' tokens behind the text."""
    with torch.no_grad():
        context, bias = fold_padding(text.states(batch.tokens), batch.tokens)
    level, latent = batch.sigma[:, None, None, None, None], batch.rows.latent.float()
    noisy = (1 - level) * latent + level * batch.noise
    people = _people(dit, encoder, text, batch)
    condition = Condition({CONDITIONED.text: Text(context, bias)}, (people,))
    said = velocity(dit, noisy, batch.sigma, condition, CONDITIONED)
    return ((said.float() - (batch.noise - latent)).pow(2) * batch.weight).mean()


def _people(dit: WanDiT, encoder: SlotEncoder, text: TextEncoder, batch: MeetingBatch) -> PeopleRider:
    """Everyone's tokens (B, n, C). A row that reads nobody has the learned ones once, and the places of the others
    are seen by nobody."""
    rows, people = batch.rows, batch.rows.clip.shape[1]
    given = (rows.clip, rows.cover, rows.anchor, rows.anchor_cover)
    encoded = encoder(*(one.flatten(0, 1).float() for one in given))
    tokens = torch.cat([encoded.anchors, encoded.slots], dim=1)
    tokens = tokens + _called(dit, text, batch.phrases.flatten(0, 1))
    tokens = tokens.unflatten(0, (-1, people))
    nobody = encoder.nobody().expand_as(tokens)
    tokens = torch.where(batch.nobody[:, None, None, None], nobody, tokens)
    seen = batch.reads[:, None].repeat(1, people, 1)
    seen[:, 1:] &= ~batch.nobody[:, None, None]
    persons = zip(tokens.unbind(1), seen.unbind(1), strict=True)
    return PeopleRider(tuple(Person(one, seen=read) for one, read in persons), encoder.nobody())


@torch.no_grad()
def _called(dit: WanDiT, text: TextEncoder, phrases: Tensor) -> Tensor:
    """Means (B * K, 1, C) of a phrase's words, embedded as the text is, without the closing token; 0 for only padding."""
    words = phrases.ne(PADDING) & phrases.roll(-1, 1).ne(PADDING)  # the last one closes
    words[:, -1] = False
    spoken = words.sum(1, keepdim=True)
    states = dit.embed_text(text.states(torch.where(spoken > 0, phrases, no_words(phrases))))
    mean = (states * words[..., None]).sum(1) / spoken.clamp_min(1)
    return mean.unsqueeze(1)
