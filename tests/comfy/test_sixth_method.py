"""A method that the pack does not know, added by its `register` functions alone: it runs in a real server,
and says what the plain host says."""

from pathlib import Path

import numpy as np
import pytest
import refvid_base_folder
import refvid_in_process as run
import refvid_sixth as sixth
import refvid_tiny as tiny
import torch
from PIL import Image
from refvid_client import Client, edited, node
from refvid_riders import condition, velocity, with_riders

from refvid.backbones.wan.loading import load_dit
from refvid.core import recipes
from refvid.core.guidance import CONDITIONED, Guidance, Scale, joint
from refvid.hosts.comfy import evaluation as comfy
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.plain import evaluation as plain

pytestmark = pytest.mark.comfy

SIGMA, GRID = 0.6, (3, 8, 8)
SIZES = tiny.config()


@pytest.fixture(autouse=True, scope="module")
def alone():
    """Registries are for other tests as they were."""
    with sixth.left_as_it_was(recipes.RECIPES, plain._kinds, comfy._kinds):
        yield


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tiny.save_dit(tmp_path_factory.mktemp("models"), "t2v.safetensors", SIZES, tiny.dit_state(SIZES))


def test_both_hosts_say_the_same_of_it(path):
    dit, model = load_dit(path)[0], run.load_model(path)
    latent = torch.randn(1, 16, *GRID, generator=torch.Generator().manual_seed(7))
    rider, texts = sixth.plain_rider()(sixth.learned(SIZES.width)), {"positive": run.text(1)}
    asked = with_riders(condition(texts), rider)
    ours = velocity(dit, latent, torch.tensor(SIGMA), asked, CONDITIONED)
    applied = sixth.ApplyLearnedTokens().apply(model, [[texts["positive"], {}]], 6)
    negative = [[run.text(2), {}]]
    theirs = run.velocity_at(*applied, negative, latent, SIGMA)
    assert run.worst(ours, theirs) < 1e-5
    bare = velocity(dit, latent, torch.tensor(SIGMA), condition(texts), CONDITIONED)
    assert run.worst(ours, bare) > 1e-3
    assert theirs[0, :8, 1, 2, 3].tolist() == pytest.approx(sixth.SAID, abs=2e-5)


def test_guiders_leave_it_out_of_the_null_pass_and_scale_it(path):
    model, positive = sixth.ApplyLearnedTokens().apply(run.load_model(path), [[run.text(1), {}]], 6)
    negative = [[run.text(2), {}]]
    found = [
        run.sample(model, None, None, run.empty_latent(), guider=table_guider(model, positive, side, guide))
        for side in (negative, [[run.text(2), dict(positive[0][1])]])
        for guide in (joint(Scale(3.0)), Guidance(Scale(2.0), Scale(3.0)))
    ]
    assert torch.equal(found[0], found[2]) and run.worst(found[0], found[1]) > 1e-4


def test_a_half_of_it_alone_is_refused_by_name(path):
    raw = run.load_model(path)
    model, positive = sixth.ApplyLearnedTokens().apply(raw, [[run.text(1), {}]], 6)
    negative = [[run.text(2), {}]]
    with pytest.raises(
        ValueError, match="did not go through Apply Learned Tokens, whose learned tokens came"
    ):
        table_guider(raw, positive, negative, joint(Scale(3.0)))
    with pytest.raises(ValueError, match="no learned tokens in positive"):
        table_guider(model, [[run.text(1), {}]], negative, joint(Scale(3.0)))


def test_its_node_runs_in_a_real_server(demo_server):
    prompt = {"clip": ["backbone", 1], "text": "a toy"}
    graph = {
        "backbone": node(
            "RefVidLoadBackbone", diffusion_model=refvid_base_folder.DIT, text_encoder=refvid_base_folder.TEXT,
            vae=refvid_base_folder.VAE, weight_dtype="default", shift=3.0,
        ),
        "positive": node("CLIPTextEncode", **prompt),
        "negative": node("CLIPTextEncode", **{**prompt, "text": ""}),
        "video": node("EmptyHunyuanLatentVideo", width=64, height=64, length=9, batch_size=1),
        "sixth": node("ApplyLearnedTokens", model=["backbone", 0], positive=["positive", 0], seed=6),
        "sampler": node(
            "KSampler", model=["sixth", 0], positive=["sixth", 1], negative=["negative", 0],
            latent_image=["video", 0], seed=0, steps=3, cfg=2.0, sampler_name="euler", scheduler="simple",
            denoise=1.0,
        ),
        "decode": node("VAEDecode", samples=["sampler", 0], vae=["backbone", 2]),
        "png": node("SaveImage", images=["decode", 0], filename_prefix="sixth"),
    }  # fmt: skip
    with_it, other = (pictures(demo_server, edited(graph, {"sixth.seed": seed})) for seed in (6, 7))
    without = edited(graph, {"sampler.model": ["backbone", 0], "sampler.positive": ["positive", 0]})
    without = pictures(demo_server, without)
    assert with_it.shape == without.shape and len(with_it) == 9
    assert not np.array_equal(with_it, without) and not np.array_equal(with_it, other)


def pictures(server: Client, graph: dict) -> np.ndarray:
    files: list[Path] = sorted(server.outputs(graph, "png"))
    return np.stack([np.asarray(Image.open(file)) for file in files])
