"""Clips as latents: what a kind holds, and what is made again."""

from dataclasses import replace

import torch
from torch import Tensor

from refvid.backbones.wan.vae import WanVAE
from refvid.training.base.text import fresh_text_encoder
from refvid.training.engine import cache
from refvid.training.methods.saber import rows as latent_data
from refvid.training.methods.saber.config import smoke_dit
from refvid.training.methods.saber.rows import Encoder, Kind, cached_latents


def test_easy_clips_show_one_steady_toy_and_start_where_a_clip_of_their_stride_does(tmp_path, monkeypatch):
    text, seen = fresh_text_encoder(32), []
    encoder = Encoder(WanVAE(2).eval(), text.tokenize, smoke_dit().how, 1, 32, 0)

    def listen(cast, times, size):
        seen.append((cast, times))
        return render(cast, times, size)

    render = latent_data.world.render_cast
    monkeypatch.setattr(latent_data.world, "render_cast", listen)
    for easy in (True, False):
        cached_latents(encoder, Kind("toy", 1, 12, 256, 4, easy), tmp_path)
    clips = [call for call in seen if isinstance(call[1], Tensor)]
    moments = torch.linspace(-1, 1, 9)
    assert all(torch.isclose(times, moments).any(1).all() for _, times in clips)
    assert len({round(t, 3) for _, times in clips for t in times.flatten().tolist()}) == 9
    alone, mixed = clips[:4], clips[4:]
    assert all(len(cast) == 1 and not cast[0][0].dynamics.any() for cast, _ in alone)
    assert [len(cast) for cast, _ in mixed] == [1, 1, 1, 2] and mixed[0][0][0][0].dynamics.any()


def test_clips_are_encoded_once_and_a_run_that_was_cut_off_loses_one_file_at_most(tmp_path, monkeypatch):
    torch.manual_seed(0)
    text, kind = fresh_text_encoder(32), Kind("scene", 5, 24, 192, 4)
    encoder = Encoder(WanVAE(2).eval(), text.tokenize, smoke_dit().how, 1, 32, 0)
    monkeypatch.setattr(cache, "SHARD", 64)
    made = cached_latents(encoder, replace(kind, clips=128), tmp_path)
    asked, encode = [], latent_data._encode_part
    monkeypatch.setattr(latent_data, "_encode_part", lambda *call: asked.append(call[2]) or encode(*call))
    more = cached_latents(encoder, kind, tmp_path)
    assert asked == [2]
    for name, value in vars(made).items():
        assert torch.equal(getattr(more, name)[:128], value), name
    cached_latents(replace(encoder, seed=1), replace(kind, clips=64), tmp_path)
    assert asked == [2, 0]  # another seed: nothing of what is there is used


def test_every_other_reference_of_an_easy_kind_is_left_in_place(tmp_path, monkeypatch):
    made, cut = [], latent_data.masked_frames
    monkeypatch.setattr(latent_data, "masked_frames", lambda *call: made.append(call[3]) or cut(*call))
    encoder = Encoder(WanVAE(2).eval(), fresh_text_encoder(32).tokenize, smoke_dit().how, 4, 32, 0)
    for easy in (True, False):
        cached_latents(encoder, Kind("toy", 1, 12, 64, 4, easy), tmp_path)
    assert [how.augmentation is None for how in made] == [True, False] * 2 + [False] * 4
    assert all(replace(how, augmentation=encoder.how.augmentation) == encoder.how for how in made)


def test_the_toys_of_a_pair_are_shown_by_references_in_turn(tmp_path, monkeypatch):
    """Of four parts of clips the last is of pairs."""
    shown, scenes = [], []
    cut, render = latent_data.masked_frames, latent_data.world.render_cast
    monkeypatch.setattr(latent_data, "masked_frames", lambda *call: shown.append(call[1]) or cut(*call))

    def film(cast, times, size):
        made = render(cast, times, size)
        if not isinstance(times, Tensor):  # the whole scene, of which references are cut
            scenes.append(made[1])
        return made

    monkeypatch.setattr(latent_data.world, "render_cast", film)
    encoder = Encoder(WanVAE(2).eval(), fresh_text_encoder(32).tokenize, smoke_dit().how, 3, 32, 0)
    cached_latents(encoder, Kind("scene", 1, 12, 256, 4), tmp_path)
    assert [toys.shape[1] for toys in scenes] == [1, 1, 1, 2]
    for part, toys in enumerate(scenes):
        for turn, alpha in enumerate(shown[3 * part : 3 * part + 3]):
            assert torch.equal(alpha[:, 0], toys[:, turn % toys.shape[1]])
    assert not torch.equal(scenes[3][:, 0], scenes[3][:, 1])


def test_a_held_end_is_the_last_picture_before_its_latent_frame(tmp_path, monkeypatch):
    """So that a clip between two key pictures arrives at the second where the held frame begins."""
    encoded, films = [], []
    encode, render = latent_data.encode_clips, latent_data.world.render_cast
    monkeypatch.setattr(latent_data, "encode_clips", lambda vae, v: encoded.append(v) or encode(vae, v))

    def film(cast, times, size):
        made = render(cast, times, size)
        films.append((made[0], times))
        return made

    monkeypatch.setattr(latent_data.world, "render_cast", film)
    encoder = Encoder(WanVAE(2).eval(), fresh_text_encoder(32).tokenize, smoke_dit().how, 1, 32, 0)
    cached_latents(encoder, Kind("between", 17, 1, 64, 4), tmp_path)
    (clip,) = (video for video, times in films if isinstance(times, Tensor))
    (still,) = (video for video in encoded if video.shape[2] == 5)
    assert torch.equal(still, clip[:, :, 12:13].expand_as(still))
    assert clip[:, :, 12].ne(clip[:, :, 16]).any()
