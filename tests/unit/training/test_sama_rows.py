"""Pairs that a SAMA adapter learns from: what is perturbed and what never is, who is asked what, and what
semantic tokens stand for."""

from dataclasses import fields
from pathlib import Path

import pytest
import refvid_tiny as tiny
import torch
from refvid_world import clip_encoder, text_encoder
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor

from refvid.backbones.wan.loading import load_vae
from refvid.core.motion import PRETEXTS
from refvid.data.models.siglip import Siglip, semantic_tokens
from refvid.demo import captions, casting, edits, world
from refvid.training.engine.encode import encode_clips
from refvid.training.methods.sama import rows as edit_data
from refvid.training.methods.sama.config import PairSet
from refvid.training.methods.sama.rows import BLACK, EditPairs, cached_pairs
from refvid.training.methods.sama.targets import HandMade

FRAMES, SIZE = 9, 32
LONGEST = f"{PRETEXTS['shuffle'].instruction} {captions.LONGEST_CAPTION}"  # no prompt has more tokens
SEED = 5


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return load_vae(tiny.save_vae(tmp_path_factory.mktemp("vae"), width=2))


@pytest.fixture(scope="module")
def text():
    return text_encoder(32)


class Made:
    """Pairs in one part of 64, and what was encoded and said for them."""

    def __init__(self, vae, text, name: str, part: int = 0):
        self.videos: list[Tensor] = []
        self.said: list[list[str]] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(edit_data, "encode_clips", self.encode)
            tokenize = text.tokenize
            patch.setattr(text, "tokenize", lambda said: self.said.append(said) or tokenize(said))
            pairs = PairSet(name, 64, FRAMES, SIZE)
            encoder = clip_encoder(vae, text, Path())
            self.pairs = edit_data._encode_part(encoder, HandMade(), pairs, SEED, part)
        self.source, self.target = self.videos
        (prompts,) = self.said
        assert prompts[-1] == LONGEST
        self.prompts = prompts[:-1]

    def encode(self, vae, video: Tensor) -> Tensor:
        self.videos.append(video)
        return encode_clips(vae, video)


@pytest.fixture(scope="module")
def pretexts(vae, text) -> list[Made]:
    """Parts of single toys and of pairs."""
    return [Made(vae, text, "pretexts", part) for part in (0, 3)]


def told(prompt: str) -> str:
    """The pretext whose task token a prompt begins with."""
    (name,) = [
        name for name, one in PRETEXTS.items() if one.instruction and prompt.startswith(one.instruction)
    ] or ["none"]
    return name


# ---- pretexts


@pytest.mark.parametrize("part", [0, 3])
def test_what_a_pretext_is_to_restore_is_the_clip_as_it_was(vae, pretexts, part):
    made = pretexts[part // 3]
    cast = casting.sample_cast(64, Generator().manual_seed(SEED + 400_000 + part), duet=part == 3)
    clip, alpha = world.render_cast(cast, FRAMES, SIZE)
    assert torch.equal(made.pairs.target, encode_clips(vae, clip))
    assert torch.equal(made.pairs.source, encode_clips(vae, made.source))
    wanted = captions.captions(cast)
    assert made.prompts == [
        f"{PRETEXTS[told(prompt)].instruction} {caption}".strip()
        for prompt, caption in zip(made.prompts, wanted, strict=True)
    ]
    covered = by_hand(alpha.sum(1, keepdim=True))
    torch.testing.assert_close(made.pairs.coverage.float(), covered, rtol=0, atol=1e-3)


def test_each_source_differs_as_its_pretext_says(pretexts):
    seen = set()
    for made in pretexts:
        for prompt, source, target in zip(made.prompts, made.source, made.target, strict=True):
            same = [bool(torch.equal(a, b)) for a, b in zip(source.unbind(1), target.unbind(1), strict=True)]
            name = told(prompt)
            seen.add(name)
            if name == "none":
                assert all(same)
            elif name == "inpaint":
                hidden = [index for index, one in enumerate(source.unbind(1)) if one.eq(BLACK).all()]
                assert len(hidden) == 3 and hidden[0] > 0 and hidden[2] - hidden[0] == 2
                assert all(one == (index not in hidden) for index, one in enumerate(same))
            elif name == "speed":
                shown = [0, 2, 4, 6, 8, 8, 8, 8, 8]
                assert torch.equal(source, target[:, shown])
            else:
                assert torch.equal(source[:, -1], target[:, -1]) and not all(same)
                tubes = [
                    sorted(
                        clip[:, t : t + 4, y : y + 16, x : x + 16].numpy().tobytes()
                        for t in (0, 4)
                        for y in (0, 16)
                        for x in (0, 16)
                    )
                    for clip in (source, target)
                ]
                assert tubes[0] == tubes[1]
    assert seen == set(PRETEXTS)


def test_pretexts_are_drawn_one_to_two_to_three_to_four():
    drawn = edit_data._mixture(20_000, FRAMES, 4, Generator().manual_seed(0))
    shares = [drawn.count(name) / len(drawn) for name in ("none", "inpaint", "speed", "shuffle")]
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.01)
    short = edit_data._mixture(7_000, 5, 4, Generator().manual_seed(0))
    assert [short.count(name) / 7_000 for name in PRETEXTS] == pytest.approx(
        [1 / 7, 2 / 7, 0, 4 / 7], abs=0.02
    )


def test_texts_of_all_parts_have_one_length_and_every_task_token_reads_otherwise(pretexts, text):
    lengths = {made.pairs.tokens.shape[1] for made in pretexts}
    assert lengths == {text.tokenize([LONGEST]).shape[1]}
    (caption,) = captions.captions([one_toy()])
    read = text.tokenize([f"{one.instruction} {caption}" for one in PRETEXTS.values()])
    assert len({tuple(row) for row in read.tolist()}) == len(PRETEXTS)


def one_toy():
    generator = Generator().manual_seed(0)
    return casting.sample_identities(1, generator), casting.sample_scenes(1, generator)


# ---- edits


@pytest.mark.parametrize("part", [0, 3, 9])
def test_kinds_of_edits_take_turns_and_are_asked_for_in_the_released_form(vae, text, part):
    made = Made(vae, text, "edits", part)
    kind = ["recolour", "recolour_either", "retexture", "remove", "add", "background"][part % 6]
    wanted = edits.sample_edits(kind, 64, Generator().manual_seed(SEED + 400_000 + part), FRAMES, SIZE)
    assert torch.equal(made.pairs.source, encode_clips(vae, wanted.source))
    assert torch.equal(made.pairs.target, encode_clips(vae, wanted.target))
    assert made.prompts == [f"[Video edit] {one}" for one in wanted.instructions]
    assert torch.equal(made.pairs.tokens, text.tokenize([*made.prompts, LONGEST])[:-1])
    region = (wanted.source - wanted.target).abs().amax(1, keepdim=True) > 2 / 255
    torch.testing.assert_close(made.pairs.coverage.float(), by_hand(region.float()), rtol=0, atol=1e-3)
    features = HandMade()(wanted.target[:, :, 0])
    torch.testing.assert_close(made.pairs.semantic.float(), pooled(features), rtol=1e-3, atol=1e-3)


def by_hand(shown: Tensor) -> Tensor:
    """The largest share of each cell of 8 pixels that any picture of a latent frame covers: pictures 0, 1 to
    4, 5 to 8."""
    cells = shown[:, 0].reshape(len(shown), FRAMES, SIZE // 8, 8, SIZE // 8, 8).mean((3, 5))
    return torch.stack([cells[:, group].amax(1) for group in ([0], [1, 2, 3, 4], [5, 6, 7, 8])], 1)


def test_pairs_are_made_once_and_read_again(vae, text, tmp_path, monkeypatch):
    asked = PairSet("edits", 128, 5, SIZE)
    made = cached_pairs(clip_encoder(vae, text, tmp_path), HandMade(), asked, SEED)
    parts = [
        edit_data._encode_part(clip_encoder(vae, text, tmp_path), HandMade(), asked, SEED, part)
        for part in range(2)
    ]
    monkeypatch.setattr(edit_data, "_encode_part", lambda *_: pytest.fail("made again"))
    again = cached_pairs(clip_encoder(vae, text, tmp_path), HandMade(), asked, SEED)
    for field in fields(EditPairs):
        whole = torch.cat([getattr(part, field.name) for part in parts])
        assert torch.equal(getattr(made, field.name), whole), field.name
        assert torch.equal(getattr(again, field.name), whole), field.name


# ---- semantic tokens


def pooled(features: Tensor) -> Tensor:
    """Means over 8 x 8 places, of which each begins at the row or column its share of the side falls into and
    ends where the next begins, or
    one further where that is cut through; row-major, then the mean of all."""
    side = features.shape[2]
    spans = [slice(place * side // 8, -(-(place + 1) * side // 8)) for place in range(8)]
    means = [features[:, :, rows, columns].mean((2, 3)) for rows in spans for columns in spans]
    return torch.stack([*means, features.mean((2, 3))], 1)


@pytest.mark.parametrize("side", [8, 16, 24, 27, 40])
def test_semantic_tokens_are_means_of_places_and_of_all(side):
    features = torch.randn(2, 3, side, side)
    torch.testing.assert_close(semantic_tokens(features), pooled(features))


def test_hand_made_features_of_one_colour_are_its_own():
    colour = torch.tensor([0.5, -0.2, 0.9])
    found = HandMade()(colour.view(1, 3, 1, 1).expand(2, 3, 16, 16))
    wanted = torch.cat([colour / 0.5, (colour**2 - 0.35) / 0.3, torch.zeros(8)])
    torch.testing.assert_close(found, wanted.view(1, 14, 1, 1).expand(2, 14, 8, 8))


@pytest.mark.parametrize("turn", [0.0, 1.0, 2.5, 6.75])
def test_hand_made_features_tell_the_direction_of_an_edge(turn):
    """A grey ramp that rises by 0.01 a pixel in a direction, in eighths of a turn from the right,
    clockwise."""
    angle = torch.tensor(turn * torch.pi / 4)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    ramp = 0.01 * (angle.cos() * x + angle.sin() * y)
    found = HandMade()(ramp.expand(1, 3, 16, 16))[0, 6:, 1:-1, 1:-1]
    wanted = torch.zeros(8)
    wanted[int(turn)] = 1 - turn % 1
    wanted[(int(turn) + 1) % 8] = turn % 1
    strength = 80 * 0.02
    torch.testing.assert_close(found, (strength * wanted)[:, None, None].expand_as(found), rtol=0, atol=1e-3)


def test_hand_made_features_have_about_unit_variance_on_the_demo_world():
    clips, _ = world.render_cast(casting.sample_cast(64, Generator().manual_seed(1)), 1)
    tokens = semantic_tokens(HandMade()(clips[:, :, 0]))
    spread = tokens.flatten(0, 1).std(0)
    assert (spread.log2().abs() < 0.8).all()


# ---- SigLIP


@pytest.mark.parametrize(("side", "patch"), [(27, 2), (10, 4), (8, 3)])
def test_siglip_features_are_the_towers_own_in_its_size(tmp_path, side, patch):
    from transformers import SiglipVisionModel

    size = side * patch
    tower = SiglipVisionModel.from_pretrained(tiny.save_tower(tmp_path, 0, size, patch)).eval()
    extractor = Siglip(tmp_path)
    pictures = torch.rand(2, 3, size, size, generator=Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        states = tower(pixel_values=pictures).last_hidden_state
    features = extractor(pictures)
    assert features.shape[1] == 24 and not any(p.requires_grad for p in extractor.model.parameters())
    for row, column in ((0, 0), (2, side - 1), (side - 1, 3)):
        torch.testing.assert_close(features[:, :, row, column], states[:, row * side + column])
    tokens = semantic_tokens(features)
    torch.testing.assert_close(tokens, pooled(states.mT.reshape(2, 24, side, side)))
    plain = torch.tensor([0.3, -0.4, 0.9]).view(1, 3, 1, 1)
    torch.testing.assert_close(
        extractor(plain.expand(1, 3, 80, 48)), extractor(plain.expand(1, 3, size, size))
    )


def test_pairs_of_another_extractor_are_made_anew(vae, text, tmp_path):
    """By what its weights are, not by the folder's name."""
    asked = PairSet("edits", 64, 5, SIZE)
    first, second = (tiny.save_tower(tmp_path / name, seed) for seed, name in enumerate(("first", "second")))
    made = [
        cached_pairs(clip_encoder(vae, text, tmp_path), extractor, asked, SEED)
        for extractor in (HandMade(), Siglip(first), Siglip(second), Siglip(first))
    ]
    widths = [pairs.semantic.shape[2] for pairs in made]
    assert widths == [14, 24, 24, 24]
    assert torch.equal(made[1].semantic, made[3].semantic)
    assert not torch.equal(made[1].semantic, made[2].semantic)
    wanted = edits.sample_edits(
        edits.EDIT_KINDS[0], 64, Generator().manual_seed(SEED + 400_000), 5, SIZE
    ).target
    features = semantic_tokens(Siglip(first)(wanted[:, :, 0]))
    torch.testing.assert_close(made[1].semantic.float(), features, rtol=1e-3, atol=2e-3)


def test_a_folder_without_siglip_is_named(tmp_path):
    with pytest.raises(ValueError, match=f"siglip: {tmp_path}/none holds no SigLIP vision model"):
        Siglip(tmp_path / "none")
    (tmp_path / "config.json").write_text('{"model_type": "siglip_vision_model"}')
    with pytest.raises(ValueError, match=f"siglip: {tmp_path} holds no SigLIP vision model"):
        Siglip(tmp_path)


def test_a_siglip_that_lacks_a_part_or_holds_nan_is_refused(tmp_path):
    """transformers makes up what is missing."""
    tiny.save_tower(tmp_path, 0)
    path = tmp_path / "model.safetensors"
    whole = load_file(path)
    key = next(key for key in whole if key.endswith("layers.0.mlp.fc1.weight"))
    save_file({name: value for name, value in whole.items() if name != key}, path, {"format": "pt"})
    with pytest.raises(ValueError, match=rf"siglip: {tmp_path} has no \S*fc1\.weight \(1 such keys\)"):
        Siglip(tmp_path)
    save_file({**whole, key: whole[key] * float("nan")}, path, {"format": "pt"})
    with pytest.raises(ValueError, match=r"siglip: model\.safetensors holds NaN"):
        Siglip(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"siglip: model\.safetensors is truncated"):
        Siglip(tmp_path)
