"""Encoded clips are read again only by what made them: the VAE, the tokenizer, the source, the numbers."""

from dataclasses import dataclass, replace

import pytest
import refvid_tiny as tiny
import torch
from refvid_world import WORLD, clip_encoder, text_encoder
from torch import Tensor

from refvid.backbones.wan.loading import load_vae
from refvid.core.slots import SlotsConfig
from refvid.demo.runs import smoke_dit
from refvid.demo.source import WorldSource
from refvid.training.base.dit.config import ClipKind
from refvid.training.base.dit.rows import cached_clips
from refvid.training.base.text import fresh_text_encoder
from refvid.training.engine.cache import PART, Rows
from refvid.training.engine.encode import ClipEncoder, encode_clips, no_words
from refvid.training.masks.references import MaskedFrames
from refvid.training.methods.sama.config import PairSet
from refvid.training.methods.sama.rows import cached_pairs
from refvid.training.methods.sama.targets import HandMade
from refvid.training.methods.slot_id import rows as slot_rows
from refvid.training.methods.slot_id.config import Meeting
from refvid.training.methods.slot_id.rows import cached_meetings
from refvid.training.methods.videomaker.config import PhotographedClips
from refvid.training.methods.videomaker.rows import cached_photographed


@dataclass(frozen=True)
class Numbered(Rows):
    number: Tensor


class OtherWorld(WorldSource):
    @property
    def name(self) -> str:
        return "another world"


def made(encoder: ClipEncoder, numbers: object = (1,)) -> list[int]:
    """Parts that were encoded, not read."""
    parts: list[int] = []

    def encode_part(index: int) -> Numbered:
        parts.append(index)
        return Numbered(torch.full((PART,), index))

    encoder.rows(Numbered, "numbered", PART, numbers, encode_part)
    return parts


@pytest.fixture
def vae(tmp_path):
    return load_vae(tiny.save_vae(tmp_path, width=2))


def test_rows_are_made_again_for_another_vae_tokenizer_source_or_number(tmp_path, vae):
    text = text_encoder(32)
    encoder = clip_encoder(vae, text, tmp_path / "clips")
    assert made(encoder) == [0] and made(encoder) == []
    assert made(clip_encoder(vae, text_encoder(48), tmp_path / "clips")) == [], "its words are the same"
    other = load_vae(tiny.save_vae(tmp_path / "other", width=2))
    with torch.no_grad():
        other.conv1.bias += 1
    reworded = fresh_text_encoder(32, [*WORLD.vocabulary, "zebra"])
    for changed in (
        replace(encoder, vae=other),
        replace(encoder, text=reworded),
        replace(encoder, source=OtherWorld()),
    ):
        assert made(changed) == [0] and made(changed) == []
        assert made(encoder) == [0]
    assert made(encoder, (2,)) == [0]


SLOTS = SlotsConfig(16, 48, width=16, place_width=4, slots=3, anchors=2, frames=5, size=32)
ROWS = {
    "saber": lambda e: cached_clips(e, ClipKind("toy", 1, 48, 64, 4), replace(smoke_dit(), size=32)).tokens,
    "slot_id": lambda e: cached_meetings(e, SLOTS, Meeting("alone", 1, 64, 4, frames=1), 32).phrases,
    "videomaker": lambda e: cached_photographed(e, PhotographedClips(64, 32, frames=1)).tokens,
    "sama": lambda e: cached_pairs(e, HandMade(), PairSet("edits", 64, 1, 32)).tokens,
}


@pytest.mark.parametrize("method", ROWS)
def test_a_second_text_encoder_never_gets_the_first_ones_token_ids(tmp_path, vae, method):
    """Its words in another order have other ids."""
    first, second = text_encoder(32), fresh_text_encoder(32, [*WORLD.vocabulary, "zebra", "quilt", "moss"])
    tokens = [ROWS[method](clip_encoder(vae, text, tmp_path / "clips")) for text in (first, second, first)]
    assert torch.equal(tokens[0], tokens[2]) and not torch.equal(tokens[0], tokens[1])
    assert torch.equal(tokens[1], ROWS[method](clip_encoder(vae, second, tmp_path / "its own")))


def test_texts_are_as_long_as_the_longest_caption_behind_a_prefix(tmp_path, vae):
    text = text_encoder(32)
    encoder = clip_encoder(vae, text, tmp_path)
    longest = text.tokenize([*WORLD.longest])
    assert encoder.tokens(["a toy", "a"]).shape == (2, longest.shape[1])
    assert encoder.tokens(["a toy"], "a moving toy").shape[1] == longest.shape[1] + 3
    two = encoder.captions(["a toy", "a star"], ["two toys", "a ring"])
    assert torch.equal(two[1, 0], encoder.tokens(["a star"])[0]) and two.shape[:2] == (2, 2)
    assert torch.equal(two[0, 1], encoder.tokens(["two toys"])[0])
    assert torch.equal(no_words(two[0]), encoder.tokens(["", ""]))


class Keys:
    """An encoder that makes nothing: rows are what they would be kept by."""

    def rows(self, rows, name, count, numbers, make):
        return name, repr(numbers)


KIND, RUN = ClipKind("toy", 5, 24, 64, 4), replace(smoke_dit(), size=32)
MEETING, PHOTOGRAPHED, PAIRS = (
    Meeting("alone", 1, 64, 4),
    PhotographedClips(64, 32),
    PairSet("edits", 64, 5, 32),
)
OTHER_ROWS = {
    "saber": (
        lambda kind=KIND, **run: cached_clips(Keys(), kind, replace(RUN, **run)),  # type: ignore[arg-type]
        [{"kind": replace(KIND, **{key: value})} for key, value in
         (("name", "b"), ("frames", 9), ("stride", 12), ("easy", True))]
        + [{"references": 1}, {"size": 64}, {"seed": 1}, {"how": MaskedFrames(subject_share=0.1)}],
    ),
    "slot_id": (
        lambda meeting=MEETING, slots=SLOTS, size=32, seed=0: cached_meetings(
            Keys(), slots, meeting, size, seed  # type: ignore[arg-type]
        ),
        [{"meeting": replace(MEETING, **{key: value})} for key, value in
         (("name", "b"), ("people", 2), ("frames", 5), ("stride", 24))]
        + [{"slots": replace(SLOTS, frames=9)}, {"slots": replace(SLOTS, size=64)}]
        + [{"size": 64}, {"seed": 1}],
    ),
    "videomaker": (
        lambda seed=0, **clips: cached_photographed(
            Keys(), replace(PHOTOGRAPHED, **clips), seed  # type: ignore[arg-type]
        ),
        [{"frames": 5}, {"stride": 7}, {"size": 64}, {"seed": 1}],
    ),
    "sama": (
        lambda seed=0, **pairs: cached_pairs(
            Keys(), HandMade(), replace(PAIRS, **pairs), seed  # type: ignore[arg-type]
        ),
        [{"name": "pretexts"}, {"frames": 9}, {"size": 64}, {"seed": 1}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("method", OTHER_ROWS)
def test_whatever_makes_a_methods_clips_others_is_part_of_what_they_are_kept_by(method, monkeypatch):
    key, changes = OTHER_ROWS[method]
    keys = [key(), *(key(**changed) for changed in changes)]
    assert len(set(keys)) == len(keys)
    if method == "slot_id":
        monkeypatch.setattr(slot_rows, "MOVING", 0.5)
        assert key() != keys[0]


@pytest.mark.parametrize(("pictures", "together"), [(1, 8), (5, 2), (17, 2)])
def test_a_cpu_encodes_eight_pictures_at_once_at_most(vae, monkeypatch, pictures, together):
    clips, seen, encode = torch.rand(9, 3, pictures, 16, 16), [], vae.encode
    whole = encode(clips).half()
    monkeypatch.setattr(
        vae, "encode", lambda part, chunk: seen.append((len(part), chunk)) or encode(part, chunk=chunk)
    )
    torch.testing.assert_close(encode_clips(vae, clips), whole, rtol=0, atol=0.02)
    assert [count for count, _ in seen] == [together] * (9 // together) + [1]
    assert {chunk for _, chunk in seen} == {4}
