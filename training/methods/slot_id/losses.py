"""Loss of Slot-ID: the backbone's own, with the identities' tokens behind the text (arXiv 2601.01352)."""

import torch
from torch import Tensor

from ....backbones.wan.dit import WanDiT
from ....backbones.wan.text import PADDING, TextEncoder, fold_padding
from ....core.guidance import CONDITIONED
from ....core.slots import SlotEncoder
from ....hosts.plain.evaluation import Text
from ....hosts.plain.identities import PeopleRider, Person
from ....hosts.plain.sampling import Condition, velocity
from ...engine.encode import no_words
from .batch import MeetingBatch


def identity_loss(dit: WanDiT, encoder: SlotEncoder, text: TextEncoder, batch: MeetingBatch) -> Tensor:
    """Weighted squared error of the velocity, with the identities' tokens behind the text."""
    with torch.no_grad():
        context, bias = fold_padding(text.states(batch.tokens), batch.tokens)
    # At level σ a sample is (1 - σ) x + σ ε, and its velocity ε - x.
    level, latent = batch.sigma[:, None, None, None, None], batch.rows.latent.float()
    noisy = (1 - level) * latent + level * batch.noise
    people = _people(dit, encoder, text, batch)
    condition = Condition({CONDITIONED.text: Text(context, bias)}, (people,))
    predicted = velocity(dit, noisy, batch.sigma, condition, CONDITIONED)
    return ((predicted.float() - (batch.noise - latent)).pow(2) * batch.weight).mean()


def _people(dit: WanDiT, encoder: SlotEncoder, text: TextEncoder, batch: MeetingBatch) -> PeopleRider:
    """Tokens (B, n, C) of each of K people. A row that reads nobody has the learned ones once, and the places
    of the others are seen by nobody."""
    rows, people = batch.rows, batch.rows.clip.shape[1]
    videos = (rows.clip, rows.cover, rows.anchor, rows.anchor_cover)
    encoded = encoder(*(column.flatten(0, 1).float() for column in videos))  # all people at once: B * K
    tokens = torch.cat([encoded.anchors, encoded.slots], dim=1)  # (B * K, A + S, C)
    tokens = tokens + _called(dit, text, batch.phrases.flatten(0, 1))
    tokens = tokens.unflatten(0, (-1, people))  # (B, K, A + S, C)
    nobody = encoder.nobody().expand_as(tokens)
    tokens = torch.where(batch.nobody[:, None, None, None], nobody, tokens)
    # (B, K, A + S)
    seen = batch.reads[:, None].repeat(1, people, 1)
    # Nobody is seen once, at the first one's places.
    seen[:, 1:] &= ~batch.nobody[:, None, None]
    persons = zip(tokens.unbind(1), seen.unbind(1), strict=True)
    return PeopleRider(tuple(Person(identity, seen=read) for identity, read in persons), encoder.nobody())


@torch.no_grad()
def _called(dit: WanDiT, text: TextEncoder, phrases: Tensor) -> Tensor:
    """Means (B * K, 1, C) of a phrase's words (B * K, P), embedded as the text is, without the closing token.
    Only padding gives 0."""
    words = phrases.ne(PADDING) & phrases.roll(-1, 1).ne(PADDING)  # the last one closes
    words[:, -1] = False
    spoken = words.sum(1, keepdim=True)
    # A phrase of padding alone is encoded as an empty prompt, of which no word is counted.
    states = dit.embed_text(text.states(torch.where(spoken > 0, phrases, no_words(phrases))))
    mean = (states * words[..., None]).sum(1) / spoken.clamp_min(1)
    return mean.unsqueeze(1)
