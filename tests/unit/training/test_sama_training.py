"""A SAMA adapter's training: its two losses against the published sequence written out, who learns, the file,
and a run that was cut off."""

import json
from dataclasses import replace

import pytest
import refvid_riders as plain
import refvid_tiny as tiny
import torch
from refvid_sama_published import Published, patches
from refvid_world import clip_encoder, trained
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Generator, Tensor
from torch.nn import functional as F

from refvid import cli
from refvid.backbones.wan.dit import DiTConfig
from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.backbones.wan.text import load_text_encoder
from refvid.cli.train import PARTS
from refvid.core.guidance import CONDITIONED
from refvid.core.recipes import in_context
from refvid.core.semantic import SEMANTIC_KEYS, as_frames
from refvid.data.models.siglip import Siglip
from refvid.demo import models as demo
from refvid.hosts.plain.edit_film import with_editing_adapter
from refvid.hosts.plain.pipeline import load_pipeline
from refvid.hosts.plain.source import SourceRider
from refvid.training.engine import loop
from refvid.training.engine.models import Models
from refvid.training.methods.sama import method
from refvid.training.methods.sama.batch import draw_pairs
from refvid.training.methods.sama.config import PairSet, SamaTraining
from refvid.training.methods.sama.export import export
from refvid.training.methods.sama.losses import sama_losses
from refvid.training.methods.sama.method import HAND_MADE, Sama, SamaTrainee
from refvid.training.methods.sama.rows import cached_pairs

SIZES = DiTConfig(48, 64, 2, 2, 16, 16, 32)
CONFIG = SamaTraining(
    2,
    2,
    edits=PairSet("edits", 64, 5, 32),
    pretexts=PairSet("pretexts", 64, 5, 32),
    batch=4,
    rank=2,
    hidden=20,
)
PLAIN = replace(CONFIG, semantic_weight=0.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    return Models(*tiny.save_models(tmp_path_factory.mktemp("models"), SIZES))


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def data(models, clips):
    text, vae = load_text_encoder(models.text_encoder), load_vae(models.vae)
    return cached_pairs(clip_encoder(vae, text, clips), HAND_MADE, CONFIG.edits)


class Setting:
    """A tiny DiT, what learns beside it, changed from its start unless `fresh`, and a batch of which row 1 is
    not told what to do."""

    def __init__(self, models, data, config=CONFIG, fresh=False):
        self.dit, self.text = load_dit(models.dit)[0], load_text_encoder(models.text_encoder)
        self.config, self.trainee = config, SamaTrainee(config, self.dit, 14)
        for parameter in () if fresh else self.trainee.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
            parameter.data = parameter.data.half().float()  # as in a file
        self.mute = self.text.tokenize(["[Video edit]"])[0]
        batch = draw_pairs(data, config, self.mute, Generator().manual_seed(1))
        tokens = batch.rows.tokens.clone()
        tokens[1] = F.pad(self.mute, (0, tokens.shape[1] - len(self.mute)))
        self.batch = replace(batch, tokens=tokens)

    def losses(self) -> tuple[Tensor, Tensor]:
        return sama_losses(self.dit, self.trainee.semantics, self.text, self.config.recipe, self.batch)


@pytest.fixture
def setting(models, data) -> Setting:
    return Setting(models, data)


# ---- the losses


@torch.no_grad()
@pytest.mark.parametrize("config", [CONFIG, PLAIN], ids=["semantic tokens", "none"])
def test_both_losses_are_those_of_the_published_sequence(models, data, config):
    setting = Setting(models, data, config)
    batch, model = (
        setting.batch,
        Published(setting.dit, setting.trainee.semantics, setting.text, bool(config.semantic_weight)),
    )
    videos, semantics = [], []
    for row in range(len(batch.sigma)):
        video, said = model(batch, row)
        wanted = patches(batch.noise[row] - batch.rows.target[row], "q r c")
        weight = patches(batch.weight[row].expand_as(batch.noise[row]), "q r c")
        videos.append(((video - wanted) ** 2 * weight).mean())
        if config.semantic_weight:
            semantics.append((said - (batch.semantic_noise[row] - batch.rows.semantic[row])).abs().mean())
    found = setting.losses()
    assert found[0].item() == pytest.approx(torch.stack(videos).mean().item(), rel=1e-4)
    assert found[1].item() == pytest.approx(float(sum(semantics)) / len(videos), rel=1e-4)


@torch.no_grad()
def test_what_starts_at_nothing_leaves_the_video_as_the_plain_recipe_makes_it(models, data):
    setting, base = Setting(models, data, PLAIN, fresh=True), load_dit(models.dit)[0]
    batch = setting.batch
    errors = []
    for row in range(len(batch.sigma)):
        level, target = batch.sigma[row], batch.rows.target[row].float()
        states = setting.text.states(batch.tokens[row : row + 1])
        context = F.pad(states, (0, 0, 0, 512 - states.shape[1]))
        edit = SourceRider(batch.rows.source[row : row + 1].float(), in_context())
        condition = plain.condition({"positive": context}, source=edit)
        noisy = ((1 - level) * target + level * batch.noise[row])[None]
        made = plain.velocity(base, noisy, level, condition, CONDITIONED)[0]
        errors.append(((made - (batch.noise[row] - target)) ** 2 * batch.weight[row]).mean())
    assert setting.losses()[0].item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-5)


@torch.no_grad()
def test_before_its_first_step_the_head_says_nothing_of_what_semantic_tokens_mean(models, data):
    setting = Setting(models, data, fresh=True)
    meant = setting.batch.semantic_noise - setting.batch.rows.semantic
    assert setting.losses()[1].item() == pytest.approx(meant.abs().mean().item(), rel=1e-6)


# ---- what is drawn


def test_a_prompt_that_is_left_out_is_the_prefix_alone_and_one_in_ten_is(setting, data):
    batch = draw_pairs(data, replace(CONFIG, batch=6000), setting.mute, Generator().manual_seed(2))
    prefix = setting.text.tokenize(["[Video edit]", "[Video edit] add a cyan triangle"])[0]
    left_out = batch.tokens[:, : len(prefix)].eq(prefix).all(1)
    assert abs(left_out.float().mean() - 0.1) < 0.012
    assert batch.tokens[left_out, len(prefix) :].eq(0).all()
    assert torch.equal(batch.tokens[~left_out], batch.rows.tokens[~left_out])


def test_the_region_of_an_edit_counts_four_times(setting, data):
    batch = draw_pairs(data, replace(CONFIG, batch=500), setting.mute, Generator().manual_seed(2))
    inside = batch.weight[:, 0][batch.rows.coverage == 1]
    outside = batch.weight[:, 0][batch.rows.coverage == 0]
    assert batch.weight.mean().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(inside, 4 * outside[:1].expand_as(inside))


def test_all_arms_of_a_seed_draw_the_same(setting, data):
    one, other = (
        draw_pairs(data, c, setting.mute, Generator().manual_seed(3))
        for c in (CONFIG, replace(PLAIN, rank=7))
    )
    assert torch.equal(one.noise, other.noise) and torch.equal(one.sigma, other.sigma)
    assert torch.equal(one.tokens, other.tokens) and torch.equal(one.rows.target, other.rows.target)


# ---- what learns


def gradients(setting: Setting) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in setting.trainee.named_parameters()}


@pytest.mark.parametrize("turn", [0, 1], ids=["video", "semantic"])
def test_all_that_learns_has_a_gradient_and_nothing_else(setting, turn):
    setting.losses()[turn].backward()
    learns = {id(parameter) for parameter in setting.trainee.parameters()}
    moved = {
        id(p) for one in (setting.dit, setting.text.model) for p in one.parameters() if p.grad is not None
    }
    assert moved <= learns
    found = gradients(setting)
    # The video's head does not read semantic tokens, which in the last block ask nothing: their queries and
    # keys are zero.
    last = f"blocks-{SIZES.layers - 1}-self_attn-"
    without = ("semantic_head",) if turn == 0 else (f"{last}q", f"{last}k")
    for name, gradient in found.items():
        assert gradient is not None or turn == 0, name
        assert any(part in name for part in without) == (gradient is None or not gradient.any()), name
    assert sum(name.startswith("lora") for name in found) == 2 * 4 * 2 * SIZES.layers
    types = found["semantics.segment_embedding.weight"]
    assert types is not None and types.ne(0).any(1).all()


def test_without_semantic_weight_there_are_no_semantic_tokens_and_their_modules_stay(
    models, data, monkeypatch
):
    setting, tails = Setting(models, data, PLAIN), []
    through = setting.dit.through
    monkeypatch.setattr(setting.dit, "through", lambda *a, **k: tails.append(k["tail"]) or through(*a, **k))
    video, semantic = setting.losses()
    (video + 5 * semantic).backward()
    frames, rows, columns = setting.batch.rows.source.shape[2:]
    assert semantic == 0 and tails[0].unturned is None
    assert tails[0].tokens.shape[1] == frames * rows * columns // 4
    for name, gradient in gradients(setting).items():
        assert (gradient is None) == ("siglip" in name or "semantic_head" in name), name


@torch.no_grad()
def test_the_file_makes_what_was_trained(setting, models, tmp_path):
    learned = setting.trainee
    export(learned.semantics, learned.lora, CONFIG, "hand-made", tmp_path / "sama.safetensors")
    bare = load_pipeline(models.dit, models.vae, models.text_encoder)
    loaded = with_editing_adapter(bare, tmp_path / "sama.safetensors", 1.0, "--adapter")
    batch, texts = setting.batch, {"positive": setting.text.encode(["[Video edit] add a red star"])}
    state = torch.cat([batch.noise, as_frames(batch.semantic_noise, tuple(batch.noise.shape))], 2)
    made = []
    for dit, modules in ((setting.dit, setting.trainee.semantics), (loaded.dit, loaded.modules)):
        edit = SourceRider(batch.rows.source.float(), CONFIG.recipe, modules)
        condition = plain.condition(texts, source=edit)
        made.append(plain.velocity(dit, state, torch.tensor(0.7), condition, CONDITIONED))
    torch.testing.assert_close(*made, rtol=0, atol=1e-4)
    other = load_dit(models.dit)[0]
    edit = SourceRider(batch.rows.source.float(), CONFIG.recipe, loaded.modules)
    without = plain.velocity(
        other, state, torch.tensor(0.7), plain.condition(texts, source=edit), CONDITIONED
    )
    assert (made[0] - without).abs().max() > 0.01
    held = load_file(tmp_path / "sama.safetensors")
    assert set(SEMANTIC_KEYS) <= set(held) and len(held) == len(SEMANTIC_KEYS) + 2 * 4 * 3 * SIZES.layers


# ---- the run


def test_a_run_that_was_cut_off_ends_in_the_same_file_which_says_what_it_is(
    models, data, clips, tmp_path, monkeypatch
):
    whole, cut, names = tmp_path / "whole", tmp_path / "cut", []
    draw = method.draw_pairs

    def noted(rows, *given):
        names.append("edits" if torch.equal(rows.target, data.target) else "pretexts")
        if cut_at == len(names):
            raise KeyboardInterrupt
        return draw(rows, *given)

    monkeypatch.setattr(method, "draw_pairs", noted)
    monkeypatch.setattr(loop, "SAVE_EVERY", -1.0)
    cut_at = 0
    trained(Sama(), CONFIG, whole, models, clips=clips)
    assert names == ["pretexts", "pretexts", "edits", "edits"]
    names.clear()
    cut_at = 4
    with pytest.raises(KeyboardInterrupt):
        trained(Sama(), CONFIG, cut, models, clips=clips)
    cut_at = 0
    trained(Sama(), CONFIG, cut, models, resume=True, clips=clips)
    ours, theirs = (load_file(folder / "sama.safetensors") for folder in (whole, cut))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    for kind in ("self_attn", "cross_attn"):
        assert any(value.any() for key, value in ours.items() if "lora_B" in key and kind in key)
    assert all(ours[key].any() for key in ("segment_embedding.weight", "semantic_head.proj.weight"))
    with safe_open(whole / "sama.safetensors", framework="pt") as file:
        said = file.metadata()
    assert (said["refvid.kind"], said["refvid.recipe"]) == ("sama", "sama")
    assert json.loads(said["refvid.training"])["motion_steps"] == 2


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
def test_one_command_trains_it_on_the_demo_model(tmp_path):
    cli.main(["train", "sama", "--smoke", "--seed", "3", "--out", str(tmp_path)])
    with safe_open(tmp_path / "sama.safetensors", framework="pt") as file:
        said = json.loads(file.metadata()["refvid.training"])
    assert (said["seed"], said["motion_steps"], said["steps"]) == (3, 2, 3)
    base = load_pipeline(demo.DIT, demo.VAE, demo.TEXT_ENCODER)
    loaded = with_editing_adapter(base, tmp_path / "sama.safetensors", 1.0, "--adapter")
    assert loaded.recipe == "sama" and loaded.modules is not None


def test_semantic_tokens_are_of_the_siglip_that_is_given(models, tmp_path):
    tower = Siglip(tiny.save_tower(tmp_path / "tower", 0))
    trained(Sama(tower), replace(CONFIG, motion_steps=0), tmp_path, models)
    state = load_file(tmp_path / "sama.safetensors")
    assert state["siglip_feat_mlp.fc1.weight"].shape[1] == state["semantic_head.proj.weight"].shape[0] == 24
    with safe_open(tmp_path / "sama.safetensors", framework="pt") as file:
        assert file.metadata()["refvid.features"] == tower.name


@pytest.mark.parametrize("part", [part for part in PARTS if part != "sama"])
def test_siglip_is_refused_where_there_are_no_semantic_tokens(tmp_path, capsys, part):
    with pytest.raises(SystemExit):
        cli.main(["train", part, "--smoke", "--siglip", str(tmp_path), "--out", str(tmp_path)])
    assert f"--siglip: refvid train {part} has no use for it; it is for sama" in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing was begun"
