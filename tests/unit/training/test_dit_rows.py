"""Clips as latents: what a kind holds, and what is made again."""

from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from refvid_world import clip_encoder, text_encoder
from torch import Generator, Tensor

from refvid.backbones.wan.vae import WanVAE
from refvid.demo import world
from refvid.demo.runs import demo_dit, smoke_dit
from refvid.evidence.trials.clips import UNSEEN_SEED
from refvid.training.base.dit import rows as latent_data
from refvid.training.base.dit.config import ClipKind
from refvid.training.base.dit.rows import cached_clips
from refvid.training.engine import cache
from refvid.training.engine.cache import PART


def test_easy_clips_show_one_steady_toy_and_start_where_a_clip_of_their_stride_does(tmp_path, monkeypatch):
    seen = []
    encoder = clip_encoder(WanVAE(2).eval(), text_encoder(32), tmp_path)
    config = replace(smoke_dit(), references=1, size=32)

    def listen(cast, times, size):
        seen.append((cast, times))
        return render(cast, times, size)

    render = world.render_cast
    monkeypatch.setattr(world, "render_cast", listen)
    for easy in (True, False):
        cached_clips(encoder, ClipKind("toy", 1, 12, 256, 4, easy), config)
    clips = [call for call in seen if isinstance(call[1], Tensor)]
    moments = torch.linspace(-1, 1, 9)
    assert all(torch.isclose(times, moments).any(1).all() for _, times in clips)
    assert len({round(t, 3) for _, times in clips for t in times.flatten().tolist()}) == 9
    alone, mixed = clips[:4], clips[4:]
    assert all(len(cast) == 1 and not cast[0][0].dynamics.any() for cast, _ in alone)
    assert [len(cast) for cast, _ in mixed] == [1, 1, 1, 2] and mixed[0][0][0][0].dynamics.any()


def test_clips_are_encoded_once_and_a_run_that_was_cut_off_loses_one_file_at_most(tmp_path, monkeypatch):
    torch.manual_seed(0)
    kind = ClipKind("scene", 5, 24, 192, 4)
    encoder = clip_encoder(WanVAE(2).eval(), text_encoder(32), tmp_path)
    config = replace(smoke_dit(), references=1, size=32)
    monkeypatch.setattr(cache, "SHARD", 64)
    made = cached_clips(encoder, replace(kind, clips=128), config)
    asked, encode = [], latent_data._encode_part
    monkeypatch.setattr(latent_data, "_encode_part", lambda *call: asked.append(call[3]) or encode(*call))
    more = cached_clips(encoder, kind, config)
    assert asked == [2]
    for name, value in vars(made).items():
        assert torch.equal(getattr(more, name)[:128], value), name
    cached_clips(encoder, replace(kind, clips=64), replace(config, seed=1))
    assert asked == [2, 0]  # another seed: nothing of what is there is used


def test_no_part_of_any_run_or_kind_shows_what_another_does_and_none_what_a_trial_does(monkeypatch):
    """Every kind of the shipped run, in three runs, and the unseen toys of trials."""
    drawn, kinds = [], demo_dit().kinds
    monkeypatch.setattr(
        latent_data, "_footage", lambda *given: drawn.append(given[3].initial_seed()) or 1 / 0
    )
    encoder = clip_encoder(WanVAE(2).eval(), text_encoder(32), Path())
    parts = [0, 1, 2, max(kind.clips for kind in kinds) // PART]
    for seed, kind, part in product(range(3), kinds, parts):
        with pytest.raises(ZeroDivisionError):
            latent_data._encode_part(encoder, kind, replace(demo_dit(), seed=seed), part)
    assert len(set(drawn)) == len(drawn) == 3 * len(kinds) * len(parts)
    assert not {*range(UNSEEN_SEED, UNSEEN_SEED + 100)} & {*drawn}


def test_every_other_reference_of_an_easy_kind_is_left_in_place(tmp_path, monkeypatch):
    made, cut = [], latent_data.masked_frames
    monkeypatch.setattr(latent_data, "masked_frames", lambda *call: made.append(call[3]) or cut(*call))
    encoder = clip_encoder(WanVAE(2).eval(), text_encoder(32), tmp_path)
    config = replace(smoke_dit(), references=4, size=32)
    for easy in (True, False):
        cached_clips(encoder, ClipKind("toy", 1, 12, 64, 4, easy), config)
    assert [how.augmentation is None for how in made] == [True, False] * 2 + [False] * 4
    in_place = replace(config.how, augmentation=None)
    assert all(how == (in_place if how.augmentation is None else config.how) for how in made)


def test_the_toys_of_a_pair_are_shown_by_references_in_turn(tmp_path, monkeypatch):
    """Of four parts of clips the last is of pairs."""
    shown, scenes = [], []
    cut, render = latent_data.masked_frames, world.render_cast
    monkeypatch.setattr(latent_data, "masked_frames", lambda *call: shown.append(call[1]) or cut(*call))

    def film(cast, times, size):
        made = render(cast, times, size)
        if not isinstance(times, Tensor):  # the whole scene, of which references are cut
            scenes.append(made[1])
        return made

    monkeypatch.setattr(world, "render_cast", film)
    encoder = clip_encoder(WanVAE(2).eval(), text_encoder(32), tmp_path)
    config = replace(smoke_dit(), references=3, size=32)
    cached_clips(encoder, ClipKind("scene", 1, 12, 256, 4), config)
    assert [toys.shape[1] for toys in scenes] == [1, 1, 1, 2]
    for part, toys in enumerate(scenes):
        for turn, alpha in enumerate(shown[3 * part : 3 * part + 3]):
            assert torch.equal(alpha[:, 0], toys[:, turn % toys.shape[1]])
    assert not torch.equal(scenes[3][:, 0], scenes[3][:, 1])


def test_a_held_end_is_the_last_picture_before_its_latent_frame(tmp_path, monkeypatch):
    """So that a clip between two key pictures arrives at the second where the held frame begins."""
    encoded, films = [], []
    encode, render = latent_data.encode_clips, world.render_cast
    monkeypatch.setattr(latent_data, "encode_clips", lambda vae, v: encoded.append(v) or encode(vae, v))

    def film(cast, times, size):
        made = render(cast, times, size)
        films.append((made[0], times))
        return made

    monkeypatch.setattr(world, "render_cast", film)
    encoder = clip_encoder(WanVAE(2).eval(), text_encoder(32), tmp_path)
    config = replace(smoke_dit(), references=1, size=32)
    cached_clips(encoder, ClipKind("between", 17, 1, 64, 4), config)
    (clip,) = (video for video, times in films if isinstance(times, Tensor))
    (still,) = (video for video in encoded if video.shape[2] == 5)
    assert torch.equal(still, clip[:, :, 12:13].expand_as(still))
    assert clip[:, :, 12].ne(clip[:, :, 16]).any()


class Said:
    """An encoder that gives back what it is told, and texts that say what they are."""

    @staticmethod
    def captions(*columns):
        return columns


class Texts:
    def __init__(self, instructed: bool):
        self.instructed = instructed

    def captions(self, named: bool = False, stride: int | None = None) -> list[str]:
        return [f"{'named' if named else 'general'} {stride} {row}" for row in range(PART)]

    def instructions(self) -> list[str]:
        return [f"do {row}" for row in range(PART)] if self.instructed else []


def said_of(frames: int, instructed: bool = True) -> list[tuple[int, str, str]]:
    """Row, general and named caption of clips of forty parts."""
    kind = ClipKind("scene", frames, 24, 64, 4)
    parts = [
        latent_data._captions(Said(), Texts(instructed), kind, Generator().manual_seed(seed))  # type: ignore[arg-type]
        for seed in range(40)
    ]
    return [(row, *said) for part in parts for row, said in enumerate(zip(*part, strict=True))]


def test_one_in_sixteen_general_captions_is_an_instruction_and_half_of_the_others_say_their_stride():
    said = said_of(frames=5)
    for row, general, named in said:
        assert named in {f"named {stride} {row}" for stride in (None, 24)}
        assert general in (named.replace("named", "general"), f"do {row}")
    assert abs(sum(general.startswith("do") for _, general, _ in said) / len(said) - 0.06) < 0.02
    assert abs(sum(" 24 " in named for *_, named in said) / len(said) - 0.5) < 0.04
    assert not any(" 24 " in named for *_, named in said_of(frames=1)), "a picture has no stride"
    assert all(general.startswith("general") for _, general, _ in said_of(5, instructed=False))


def test_kinds_of_one_length_show_different_subjects(monkeypatch):
    class Stop(Exception):
        """What has been seen is enough."""

    seen = []

    def footage(_, kind, index, generator):
        seen.append((kind.name, index, torch.rand(1, generator=generator).item()))
        raise Stop

    monkeypatch.setattr(latent_data, "_footage", footage)
    config = SimpleNamespace(seed=3)
    for kind in (
        ClipKind("scene", 17, 6, 64, 4),
        ClipKind("between", 17, 1, 64, 4),
        ClipKind("keys", 9, 12, 64, 4),
    ):
        for index in (0, 1, 0):
            with pytest.raises(Stop):
                latent_data._encode_part(None, kind, config, index)  # type: ignore[arg-type]
    draws = {(name, index): draw for name, index, draw in seen}
    assert len(seen) == 9 and len(draws) == len(set(draws.values())) == 6
    assert all(draws[name, index] == draw for name, index, draw in seen)
