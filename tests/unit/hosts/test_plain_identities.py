"""Identities beside the text without ComfyUI: who reads whom, against one table of every query and key."""

import math

import pytest
import refvid_tiny as tiny
import torch
from refvid_plain import (
    Condition,
    PeopleRider,
    Person,
    ReferencesRider,
    encode_identity,
    rider,
    tail,
    texts,
    velocity,
)
from refvid_plain import condition as conditioned
from refvid_plain_cases import Case, Host, drawn
from refvid_plain_cases import condition as made
from torch import Tensor

from refvid.backbones.base import IdentityTokens
from refvid.backbones.wan.geometry import WAN, WAN_2_1
from refvid.backbones.wan.vae import WanVAE
from refvid.core.adapter import load_adapter
from refvid.core.controls import Controls, StepWindow
from refvid.core.guidance import CONDITIONED, MIDDLE, NULL
from refvid.core.reference_video import cover
from refvid.core.slots import SlotEncoder
from refvid.kernels.eager import masked_attention

GRID = (2, 4, 6)
VIDEO = 2 * 2 * 3
SIGMA = torch.tensor(0.6)
LEFT, EVERYWHERE, LATER = range(3)  # who is read where
REFERENCES = {
    "no reference": (),
    "one": (Controls(0.5),),
    "two": (Controls(), Controls(2.0)),
    "one that does not act now": (Controls(), Controls(steps=StepWindow(0.9))),
}


@pytest.fixture(scope="module")
def host() -> Host:
    return Host(16, GRID, torch.float32, torch.float64, torch.device("cpu"))


def read_at(person: int, token: int) -> bool:
    """Readers among the tokens: whether a token of the video, in three columns and two frames, reads an
    identity."""
    frame, column = token // 6, token % 3
    return {LEFT: column == 0, EVERYWHERE: True, LATER: frame == 1}[person]


def cells() -> Tensor:
    found = torch.zeros(GRID, dtype=torch.int64)
    for token in range(VIDEO):
        frame, row, column = token // 6, token % 6 // 3, token % 3
        word = sum(read_at(person, token) << person for person in range(3))
        found[frame, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = word
    return found


def people(host: Host, bound: bool = True) -> PeopleRider:
    width = host.dit.config.width
    tokens = [host.put(drawn(count, width, seed=30 + count)) for count in (5, 3, 4, 2)]
    phrase = host.put(drawn(2, tiny.TEXT_WIDTH, seed=40))
    persons = (Person(tokens[0], 0.4, phrase), Person(tokens[1]), Person(tokens[2], 3.0))
    return PeopleRider(persons, tokens[3], cells() if bound else None)


def condition(host: Host, controls: tuple[Controls, ...], who: PeopleRider | None) -> Condition:
    given = made(host, Case(controls), "auto")
    return conditioned(texts(host), rider(given, ReferencesRider), people=who)


def by_hand(host: Host, latent: Tensor, asked: Condition, text: str, bound: bool) -> Tensor:
    """The DiT with every identity's tokens behind the text, and a table of which query reads which key."""
    who = rider(asked, PeopleRider)
    assert who is not None
    context, tokens, owner, weight = asked.texts[text].states, [], [], []
    for index, person in enumerate(who.persons):
        named = 0 if person.phrase is None else host.dit.text_embedding(person.phrase).mean(0)
        tokens.append(person.tokens + named)
        owner += [index] * len(person.tokens)
        weight += [math.log(person.strength)] * len(person.tokens)
    behind = tail(host.dit, rider(asked, ReferencesRider), latent)
    queries = VIDEO + (0 if behind is None else behind.tokens.shape[1])
    reads = torch.ones(queries, context.shape[1] + len(owner), dtype=torch.bool)
    for query in range(queries):
        for place, index in enumerate(owner):
            may = read_at(index, query) if query < VIDEO else index == EVERYWHERE
            reads[query, context.shape[1] + place] = may or not bound

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        return masked_attention(query, key, value, reads[None], bias)

    clock, batch = 1000 * SIGMA[None].expand(len(latent)), (len(latent), -1, -1)
    identities = IdentityTokens(torch.cat(tokens)[None], torch.tensor([weight]), attend)
    return host.dit(latent, clock, context.expand(batch), tail=behind, identities=identities)


@pytest.mark.parametrize("bound", [True, False], ids=["in regions", "everywhere"])
@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("entry", [CONDITIONED, MIDDLE], ids=["prompt", "negative"])
def test_video_tokens_read_who_acts_there_and_references_who_acts_everywhere(host, name, bound, entry):
    asked, latent = condition(host, REFERENCES[name], people(host, bound)), host.latent(6, batch=2)
    got = velocity(host.dit, latent, SIGMA, asked, entry)
    wanted = by_hand(host, latent, asked, entry.text, bound)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6)
    without = velocity(host.dit, latent, SIGMA, condition(host, REFERENCES[name], None), entry)
    assert (got - without).abs().max() > 1e-3


@pytest.mark.parametrize("bound", [True, False], ids=["in regions", "everywhere"])
def test_a_pass_without_conditions_reads_the_learned_nobody_in_their_stead(host, bound):
    asked, latent = condition(host, (), people(host, bound)), host.latent(6)
    who = rider(asked, PeopleRider)
    assert who is not None
    nobody = IdentityTokens(who.nobody[None])
    wanted = host.dit(latent, 1000 * SIGMA[None], asked.texts["negative"].states, identities=nobody)
    assert torch.equal(velocity(host.dit, latent, SIGMA, asked, NULL), wanted)


@torch.no_grad()
@pytest.mark.parametrize("anchor", [0, 5])
def test_an_identity_is_what_the_encoder_reads_of_a_clip_and_of_its_anchor_picture(tmp_path, anchor):
    adapter = load_adapter(tiny.save_adapter(tmp_path, tiny.config(layers=1)), WAN)
    vae, clip = WanVAE(2).eval(), torch.rand(9, 64, 64, 3)
    masks = torch.zeros(9, 64, 64)
    for index in range(9):  # somebody who grows
        masks[index, 8 : 20 + 4 * index, 8:50] = 1
    identity, video, _ = encode_identity(adapter, vae, clip, masks, anchor)
    encoder = SlotEncoder(adapter.config, 2)
    encoder.load_state_dict({key: value.float() for key, value in adapter.encoder.items()})
    shown, marked = video.pictures[[anchor]], video.masks[[anchor]]
    whole, one = (vae.encode(part.movedim(-1, 0)[None] * 2 - 1) for part in (video.pictures, shown))
    read = encoder(whole, cover(video.masks, WAN_2_1)[None], one, cover(marked, WAN_2_1)[None])
    torch.testing.assert_close(identity.anchors, read.anchors[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(identity.slots, read.slots[0], rtol=0, atol=1e-5)
    assert identity.adapter == adapter.fingerprint and torch.equal(identity.preview, shown[0])
