"""Photographs of a clip's toy: of whom, where, on what ground, and which of their tokens are kept."""

import torch
from refvid_world import clip_encoder, text_encoder
from torch import Generator
from torch.nn import functional as F

from refvid.backbones.wan.vae import WanVAE
from refvid.demo import captions, casting, world
from refvid.demo.source import WorldFootage
from refvid.evidence.toy_figures import toy_similarity
from refvid.training.masks.references import GROUND
from refvid.training.methods.videomaker import rows as photograph_data
from refvid.training.methods.videomaker.config import PhotographedClips
from refvid.training.methods.videomaker.rows import photographs


def test_a_photograph_shows_the_clips_toy_elsewhere_on_grey():
    generator = Generator().manual_seed(0)
    toys, scenes = casting.sample_identities(16, generator), casting.sample_scenes(16, generator)
    pictures, masks = photographs(WorldFootage([(toys, scenes)], captions.telling(16)), 64, generator)
    assert pictures[masks.expand_as(pictures) == 0].eq(GROUND).all() and masks.amax((1, 2, 3)).all()
    alike = toy_similarity(world.render(toys, scenes, 5, 64)[0], pictures, masks)
    assert alike.diagonal().mean() > 0.5 > 5 * (alike.sum() - alike.diagonal().sum()) / (16 * 15)
    film = world.render(toys, scenes, 1, 64)[0][:, :, 0]
    inside = ((film - pictures).abs() * masks).sum((1, 2, 3)) / (3 * masks.sum((1, 2, 3)))
    assert inside.gt(0.02).all(), "another scene, not the clip's own picture"


def test_a_token_is_kept_where_it_holds_some_of_the_toy_and_is_grey_elsewhere(monkeypatch, tmp_path):
    """Latents that are the means of their pixels: grey is known exactly."""
    pooled = F.avg_pool3d
    monkeypatch.setattr(photograph_data, "encode_clips", lambda _, video: pooled(video, (1, 8, 8)))
    clips = PhotographedClips(64, frames=5, stride=24, size=64)
    made = photograph_data._encode_part(clip_encoder(WanVAE(2), text_encoder(32), tmp_path), clips, 0, 0)
    toy = (made.reference - GROUND).abs().amax(1, keepdim=True) > 1e-6
    kept = F.max_pool2d(toy.float(), 2).flatten(1) > 0
    assert torch.equal(kept, made.keep) and 0.2 < kept.float().mean() < 0.9
