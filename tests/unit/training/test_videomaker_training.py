"""Training a VideoMaker adapter: its two losses against a model of each row alone, who learns, and a run that
was cut off."""

import json
from dataclasses import replace

import pytest
import refvid_riders as plain
import refvid_tiny as tiny
import torch
from einops import rearrange
from refvid_world import clip_encoder, trained
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Generator, Tensor

from refvid import cli
from refvid.backbones.wan.attention import Context
from refvid.backbones.wan.dit import DiTConfig, WanDiT
from refvid.backbones.wan.geometry import WAN_2_1
from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.backbones.wan.lora import merge_lora
from refvid.backbones.wan.text import load_text_encoder
from refvid.core.controls import Controls
from refvid.core.guidance import CONDITIONED, NULL
from refvid.core.layout import Layout, Stream
from refvid.core.positions import grid_positions, rope_angles
from refvid.core.recipes import recipe_named
from refvid.core.references import Arranged
from refvid.training.engine import loop
from refvid.training.engine.lora import LowRank, add_lora, lora_state
from refvid.training.engine.models import Models
from refvid.training.methods.videomaker import method
from refvid.training.methods.videomaker.batch import PhotographedBatch, draw_photographed
from refvid.training.methods.videomaker.config import PhotographedClips, VideoMakerTraining
from refvid.training.methods.videomaker.losses import videomaker_losses
from refvid.training.methods.videomaker.method import VideoMaker
from refvid.training.methods.videomaker.rows import cached_photographed

SIZES = DiTConfig(48, 64, 2, 2, 16, 16, 32)
CONFIG = VideoMakerTraining(3, clips=PhotographedClips(64, frames=5, stride=24, size=64), batch=4, rank=2)
RECIPES = ("videomaker", "videomaker_shared")
READS = ("all", "frames", "itself")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    return Models(*tiny.save_models(tmp_path_factory.mktemp("models"), SIZES))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def data(models, clips):
    text, vae = load_text_encoder(models.text_encoder), load_vae(models.vae)
    return cached_photographed(clip_encoder(vae, text, clips), CONFIG.clips)


class Setting:
    """A tiny DiT with a LoRA that changes it, and a batch of which one row sees no picture."""

    def __init__(self, models, data, config=CONFIG):
        self.dit, self.text = load_dit(models.dit)[0], load_text_encoder(models.text_encoder)
        self.config, self.lora = config, add_lora(self.dit, config.rank, ("self_attn",))
        torch.manual_seed(0)
        for parameter in self.lora.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        batch = draw_photographed(data, config, Generator().manual_seed(1))
        self.batch = replace(batch, dropped=torch.arange(len(batch.sigma)) == 1)

    def losses(self, batch: PhotographedBatch | None = None, **changes) -> tuple[Tensor, Tensor]:
        return videomaker_losses(self.dit, self.text, replace(self.config, **changes))(batch or self.batch)


@pytest.fixture
def setting(models, data) -> Setting:
    return Setting(models, data)


# ---- the losses


def one_by_one(setting: Setting, recipe: str, sees: str) -> tuple[Tensor, Tensor]:
    """Both losses from the DiT's blocks, each row by itself, without the tokens that are not kept, by
    attention that is written out."""
    batch, errors = setting.batch, []
    for row in range(len(batch.sigma)):
        errors.append(alone(setting.dit, setting.text, batch, row, recipe == "videomaker", sees))
    videos, references = zip(*errors, strict=True)
    shown = torch.cat([one for one, left in zip(references, batch.dropped, strict=True) if not left])
    return torch.stack(videos).mean(), shown.mean()


def alone(dit: WanDiT, text, batch: PhotographedBatch, row: int, own: bool, sees: str):
    sigma, latent = batch.sigma[row], batch.rows.latent[row].float()
    frames, rows, columns = latent.shape[1:]
    kept = batch.rows.keep[row].nonzero()[:, 0]
    states = text.states(batch.tokens[row : row + 1])
    context = dit.text_embedding(torch.nn.functional.pad(states, (0, 0, 0, 512 - states.shape[1])))
    clean, noise = batch.rows.reference[row].float(), batch.reference_noise[row]
    reference = torch.zeros_like(clean) if batch.dropped[row] else clean + 0.01 * sigma * (noise - clean)
    noisy = latent + sigma * (batch.noise[row] - latent)
    video, behind = (dit.patch_embedding(x[None]).flatten(2).mT for x in (noisy, reference[:, None]))
    length, places = video.shape[1], grid_positions(1, rows // 2, columns // 2, (frames, 0, 0))[kept]
    positions = torch.cat([grid_positions(frames, rows // 2, columns // 2), places])
    angles = rope_angles(positions, WAN_2_1.split(dit.head_size))[None]
    rotation = torch.stack([angles.cos(), angles.sin()], -1).float().unsqueeze(2)
    time, modulation = dit.embed_time(1000 * sigma[None])
    little = 0 * sigma if batch.dropped[row] else 0.01 * sigma
    _, still = dit.embed_time(1000 * little[None]) if own else (time, modulation)
    modulation = torch.cat(
        [m.expand(-1, n, -1, -1) for m, n in ((modulation, length), (still, len(kept)))], 1
    )
    tokens = torch.cat([video, behind[:, kept]], 1)
    for block in dit.blocks:
        reads = written_out(length, frames, sees)
        tokens = block(tokens, modulation, Context(context), rotation, None, reads)
    told, _ = dit.embed_time(1000 * (little if own else sigma)[None])
    error = (dit.head(tokens[:, :length], time)[0] - patches(batch.noise[row] - latent)).pow(2)
    recognised = dit.head(tokens[:, length:], told)[0] - patches((noise - clean)[:, None])[kept]
    return (error * patches(batch.weight[row].expand_as(latent))).mean(), recognised.pow(2).flatten()


def patches(latent: Tensor) -> Tensor:
    return rearrange(latent, "c f (h q) (w r) -> (f h w) (q r c)", q=2, r=2)


def written_out(video: int, frames: int, sees: str):
    """Attention in which the last tokens read all, themselves, or themselves with one frame at a time, and
    take the mean."""

    def attend(query, key, value, _):
        def over(rows, columns):
            logits = query[:, :, rows] @ key[:, :, columns].mT / query.shape[-1] ** 0.5
            return logits.softmax(-1) @ value[:, :, columns]

        every = torch.arange(query.shape[2])
        shown, own = every[:video], every[video:]
        read = {
            "all": [every],
            "itself": [own],
            "frames": [torch.cat([frame, own]) for frame in shown.chunk(frames)],
        }
        mean = torch.stack([over(own, columns) for columns in read[sees]]).mean(0)
        return torch.cat([over(shown, every), mean], 2)

    return attend


@torch.no_grad()
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("sees", READS)
def test_both_losses_are_those_of_each_row_alone_without_its_hidden_tokens(setting, recipe, sees):
    assert 0 < setting.batch.rows.keep.float().mean() < 1
    ours, theirs = setting.losses(recipe=recipe, sees=sees), one_by_one(setting, recipe, sees)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=0)


@torch.no_grad()
def test_recipes_and_what_is_read_make_a_difference(setting):
    found = [setting.losses(recipe=recipe, sees=sees) for recipe in RECIPES for sees in READS]
    for values in torch.stack([torch.stack(one) for one in found]).T:
        assert values.sort().values.diff().min() > 1e-6


@torch.no_grad()
def test_recognition_is_nothing_where_the_head_says_noise_less_picture_and_counts_kept_tokens_alone(
    setting, monkeypatch
):
    batch, keep = setting.batch, setting.batch.rows.keep
    wanted = (batch.reference_noise - batch.rows.reference.float())[:, :, None]
    cells = keep.view(4, 1, 1, 4, 4).repeat_interleave(2, 3).repeat_interleave(2, 4)
    whole = setting.dit.to_latent
    for off, expected in ((torch.tensor(0.0), 0.0), (2.0 * cells, 4.0), (3.0 * ~cells, 0.0)):
        monkeypatch.setattr(
            setting.dit,
            "to_latent",
            lambda *given, off=off: wanted + off if given[2][0] == 1 else whole(*given),
        )
        assert setting.losses()[1].item() == pytest.approx(expected, abs=1e-9)
    bare = replace(batch, dropped=torch.ones_like(batch.dropped))
    assert setting.losses(bare)[1] == 0


@torch.no_grad()
def test_the_noise_of_the_reference_is_a_share_of_the_videos(setting, monkeypatch):
    seen, through = [], setting.dit.through
    monkeypatch.setattr(setting.dit, "through", lambda *a, **k: seen.append(k["tail"]) or through(*a, **k))
    setting.losses(noise_ratio=0.25)
    share = 0.25 * setting.batch.sigma[:, None, None, None]
    wanted = (1 - share) * setting.batch.rows.reference + share * setting.batch.reference_noise
    wanted[1] = 0
    torch.testing.assert_close(seen[0].tokens, setting.dit.embed_patches(wanted[:, :, None]))


@torch.no_grad()
def test_without_its_weight_nothing_is_recognised_and_the_video_learns_alike(setting):
    video, recognition = setting.losses()
    alone, nothing = setting.losses(recognition_weight=0.0)
    assert torch.equal(alone, video) and recognition > 0.1 and nothing == 0


@torch.no_grad()
@pytest.mark.parametrize("sees", READS)
def test_references_are_read_as_the_plain_host_reads_them_and_dropped_as_its_null_pass_does(
    setting, monkeypatch, sees
):
    dit, batch, made, through = setting.dit, setting.batch, [], setting.dit.through
    monkeypatch.setattr(dit, "through", lambda *a, **k: made.append(through(*a, **k)) or made[-1])
    setting.losses(sees=sees, noise_ratio=0.0)
    (ours, _), rows, columns = made[0], *(side // 2 for side in batch.rows.reference.shape[2:])
    for row, entry in ((0, CONDITIONED), (1, NULL)):
        keep = batch.rows.keep[row].nonzero()[:, 0]
        layout = Layout(
            recipe_named("videomaker"), (Stream(rows, columns, len(keep), Controls(sees=sees)),), WAN_2_1
        )
        inputs = (batch.rows.reference[row].float()[None, :, None],)
        states = setting.text.states(batch.tokens[row : row + 1])
        context = torch.nn.functional.pad(states, (0, 0, 0, 512 - states.shape[1]))
        given = plain.ReferencesRider(Arranged(layout, keep, None), inputs)
        condition = plain.condition({"positive": context, "negative": context}, given)
        latent, sigma = batch.rows.latent[row].float(), batch.sigma[row]
        noisy = (latent + sigma * (batch.noise[row] - latent))[None]
        theirs = plain.velocity(dit, noisy, sigma, condition, entry)
        torch.testing.assert_close(ours[row : row + 1], theirs, rtol=0, atol=1e-4)


# ---- what is drawn


def test_picture_text_and_both_are_left_out_as_often_as_said(data):
    batch = draw_photographed(data, replace(CONFIG, batch=6000), Generator().manual_seed(1))
    mute = batch.tokens[:, 1:].eq(0).all(1)
    shares = {
        "picture": (batch.dropped & ~mute, 0.1),
        "text": (mute & ~batch.dropped, 0.1),
        "both": (mute & batch.dropped, 0.05),
    }
    for name, (rows, wanted) in shares.items():
        assert abs(rows.float().mean() - wanted) < 0.015, name
    assert batch.weight.mean().item() == pytest.approx(1, abs=1e-5)


# ---- what learns


def test_only_the_lora_learns_from_either_loss(setting):
    for turn in range(2):
        setting.losses()[turn].backward()
        learns = {id(p) for p in setting.lora.parameters()}
        modules = (setting.dit, setting.text.model)
        moved = {id(p) for one in modules for p in one.parameters() if p.grad is not None}
        assert moved == learns and all(p.grad.any() for p in setting.lora.parameters())
        setting.lora.zero_grad()


@torch.no_grad()
def test_the_file_merged_into_a_dit_acts_as_what_was_trained(setting, models):
    state = lora_state(setting.lora)
    assert {key.split(".")[3] for key in state} == {"self_attn"} and len(state) == 4 * 3 * SIZES.layers
    assert sum(isinstance(module, LowRank) for module in setting.dit.modules()) == 4 * SIZES.layers
    merged = load_dit(models.dit)[0]
    given = torch.randn(1, 16, 2, 4, 4), torch.tensor([500.0]), torch.randn(1, 5, 32)
    before = merged(*given)
    merge_lora(merged, state)
    torch.testing.assert_close(merged(*given), setting.dit(*given), rtol=0, atol=1e-4)
    assert (merged(*given) - before).abs().max() > 1e-2


def test_a_run_that_was_cut_off_ends_in_the_same_file_which_says_what_it_is(
    models, data, clips, tmp_path, monkeypatch
):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    trained(VideoMaker(), CONFIG, whole, models, clips=clips)
    monkeypatch.setattr(loop, "SAVE_EVERY", -1.0)
    draw, calls = method.draw_photographed, []

    def two_steps(*given):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draw(*given)

    monkeypatch.setattr(method, "draw_photographed", two_steps)
    with pytest.raises(KeyboardInterrupt):
        trained(VideoMaker(), CONFIG, cut, models, clips=clips)
    monkeypatch.setattr(method, "draw_photographed", draw)
    trained(VideoMaker(), CONFIG, cut, models, resume=True, clips=clips)
    ours, theirs = (load_file(folder / "videomaker.safetensors") for folder in (whole, cut))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert any(value.any() for key, value in ours.items() if "lora_B" in key)
    with safe_open(whole / "videomaker.safetensors", framework="pt") as file:
        said = file.metadata()
    assert (said["refvid.kind"], said["refvid.recipe"], said["refvid.sees"]) == (
        "videomaker",
        "videomaker",
        "all",
    )
    assert json.loads(said["refvid.training"])["noise_ratio"] == 0.01
    merge_lora(WanDiT(SIZES), ours)


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
def test_one_command_trains_it_on_the_demo_model(tmp_path):
    cli.main(["train", "videomaker", "--smoke", "--seed", "3", "--out", str(tmp_path)])
    with safe_open(tmp_path / "videomaker.safetensors", framework="pt") as file:
        said = json.loads(file.metadata()["refvid.training"])
        assert len(file.keys()) == 6 * 4 * 3  # blocks, projections, A and B and alpha
    assert (said["seed"], said["steps"]) == (3, 3)
    from refvid.demo import models as demo

    merge_lora(load_dit(demo.DIT)[0], load_file(tmp_path / "videomaker.safetensors"))
