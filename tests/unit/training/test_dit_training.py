"""Training: what a run resumes, what its loss sees."""

from dataclasses import replace

import pytest
import torch
from refvid_latents import latents
from refvid_world import setting as setting_of
from refvid_world import text_encoder, trained
from safetensors.torch import load_file
from torch import Generator, Tensor

from refvid.backbones.wan.vae import WanVAE
from refvid.core.checkpoint import read_safetensors, save_model, write_tensors
from refvid.demo.runs import demo_dit, smoke_dit, smoke_vae
from refvid.training.base import vae as vae_training
from refvid.training.base.dit import method
from refvid.training.base.dit.batch import PATTERNS, draw_batch
from refvid.training.base.dit.config import DiTTraining, Drawing
from refvid.training.base.dit.losses import masked_reference_loss
from refvid.training.base.dit.method import DiTTrainee, DiTTrainer, export_run
from refvid.training.base.dit.start import Start, fresh_dit
from refvid.training.base.vae import VAETrainer
from refvid.training.base.vae_clips import VAEStage, View
from refvid.training.engine import loop
from refvid.training.engine.optimise import Optimiser
from refvid.training.engine.state import RunState

# torch says once per process that its RMSNorm has no fused kernel for autocast's mixed dtypes.
NOTHING_BEHIND = torch.zeros(4, 0, 48)  # tokens of references after the last block
autocast = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Two threads may add in another order, and a run is compared bit for bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# ---- the loss


class Setting:
    """A tiny trainee with a head that says something, and batches for it."""

    def __init__(self):
        torch.manual_seed(0)
        self.config = smoke_dit()
        self.text = text_encoder(32)
        self.trainee = DiTTrainee(fresh_dit(self.config.model), self.text)
        torch.nn.init.normal_(self.trainee.dit.head.head.weight, std=0.1)
        self.loss = masked_reference_loss(self.trainee.dit, self.text, self.config.recipe)

    def batch(self, seed: int = 0, pattern: str = "none", **drawing):
        only = tuple(float(name == pattern) for name in PATTERNS)
        how = Drawing(patterns=only, frame_dropout=0.0, **{"reference_counts": (1.0,), **drawing})
        return draw_batch(latents(), 4, how, Generator().manual_seed(seed))

    def by_hand(self, batch) -> Tensor:
        """The loss of a model that knows no references, with all 512 places of the text."""
        states = self.text.states(batch.tokens)
        context = torch.nn.functional.pad(states, (0, 0, 0, 512 - states.shape[1]))
        level = batch.sigma[:, None] * ~batch.replaced
        sigma = level[:, None, :, None, None]
        clean = torch.where(batch.replaced[:, None, :, None, None], batch.given, batch.latent)
        noisy = clean + sigma * (batch.noise - clean)
        velocity = self.trainee.dit(noisy, level * 1000, context)
        return ((velocity - batch.noise + batch.latent) ** 2 * batch.weight).mean()


@pytest.fixture(scope="module")
def setting() -> Setting:
    return Setting()


@pytest.mark.parametrize("pattern", ["none", "first and last"])
def test_dropping_every_reference_token_gives_the_loss_and_gradients_of_a_model_without_references(
    setting, pattern
):
    batch = setting.batch(pattern=pattern)
    dropped = replace(batch, keep=torch.zeros_like(batch.keep))
    parameters = list(setting.trainee.parameters())
    got, expected = setting.loss(dropped), setting.by_hand(batch)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=0)  # fp32 sums over a thousand values
    pairs = zip(torch.autograd.grad(got, parameters), torch.autograd.grad(expected, parameters), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    kept = replace(batch, keep=torch.ones_like(batch.keep))
    assert abs(setting.loss(kept).item() - expected.item()) > 1e-5


def test_a_masked_token_does_not_reach_the_loss_unless_the_attention_mask_is_off(setting):
    batch = setting.batch(reference_counts=(0.0, 1.0))
    cells = batch.keep.view(4, 1, 2, 4, 4).repeat_interleave(2, 3).repeat_interleave(2, 4)
    loud = replace(batch, reference=torch.where(cells, batch.reference, torch.tensor(50.0)))
    torch.testing.assert_close(setting.loss(loud), setting.loss(batch), rtol=1e-6, atol=0)
    open_loss = masked_reference_loss(setting.trainee.dit, setting.text, "saber", attention_mask=False)
    assert abs(open_loss(loud) - open_loss(batch)) > 1e-5
    bare = replace(batch, keep=torch.zeros_like(batch.keep))
    torch.testing.assert_close(open_loss(bare), setting.loss(bare), rtol=1e-6, atol=0)


def test_replaced_frames_are_given_clean_at_timestep_0_and_not_learned(setting, monkeypatch):
    batch, seen = setting.batch(pattern="first and last"), {}
    assert torch.equal(batch.replaced, torch.tensor([True, False, True]).expand(4, -1))

    def listen(noisy, clock, *_, **__):
        seen.update(noisy=noisy, clock=clock)
        return torch.zeros_like(noisy), NOTHING_BEHIND

    monkeypatch.setattr(setting.trainee.dit, "through", listen)
    value = setting.loss(batch)
    assert torch.equal(seen["noisy"][:, :, [0, 2]], batch.given[:, :, [0, 2]])
    assert torch.equal(seen["clock"], torch.stack([0 * batch.sigma, 1000 * batch.sigma, 0 * batch.sigma], 1))
    assert (batch.weight[:, :, [0, 2]] == 0).all() and batch.weight.mean().item() == pytest.approx(
        1, abs=1e-5
    )
    moved = replace(batch, noise=batch.noise.index_fill(2, torch.tensor([0, 2]), 9.0))
    torch.testing.assert_close(setting.loss(moved), value)


def test_the_loss_of_a_perfect_prediction_is_zero_and_of_a_silent_one_the_weighted_power(
    setting, monkeypatch
):
    batch = setting.batch()
    target = batch.noise - batch.latent
    monkeypatch.setattr(setting.trainee.dit, "through", lambda *_, **__: (target, NOTHING_BEHIND))
    assert setting.loss(batch) == 0
    silent = torch.zeros_like(target), NOTHING_BEHIND
    monkeypatch.setattr(setting.trainee.dit, "through", lambda *_, **__: silent)
    torch.testing.assert_close(setting.loss(batch), (target**2 * batch.weight).mean())


@autocast
def test_a_few_steps_on_one_batch_lower_the_loss():
    setting = Setting()
    optimiser = Optimiser(setting.trainee, method._hidden, 5e-3)
    batch, losses = setting.batch(), []
    for _ in range(12):
        losses.append(setting.loss(batch))
        losses[-1].backward()
        optimiser.step(setting.trainee, 1.0)
    assert losses[-1] < 0.85 * losses[0]


# ---- resuming


class Interrupted(Exception):
    """Someone stopped the run."""


def hasty(monkeypatch, stop_at: int | None) -> None:
    """Save at every step, and stop after the given one."""
    monkeypatch.setattr(loop, "SAVE_EVERY", -1.0)
    save = RunState.save

    def save_and_stop(self, learner, generator, step):
        save(self, learner, generator, step)
        if step == stop_at:
            raise Interrupted

    monkeypatch.setattr(RunState, "save", save_and_stop)


def same_files(one, other) -> None:
    a, b = load_file(one), load_file(other)
    assert a.keys() == b.keys()
    for key, value in a.items():
        assert torch.equal(value, b[key]), key


@pytest.fixture
def quick_latents(monkeypatch):
    """Clips that need no VAE."""
    made = lambda encoder, kind, config: latents(frames=(kind.frames + 3) // 4)  # noqa: E731
    monkeypatch.setattr(method, "cached_clips", made)


def of_steps(*steps: int) -> DiTTraining:
    """The tiny run with stages of these lengths."""
    config = smoke_dit()
    stages = (replace(s, steps=n) for s, n in zip(config.stages, steps, strict=True))
    return replace(config, stages=tuple(stages))


def untrained_vae(folder) -> None:
    torch.manual_seed(0)
    save_model(dict(WanVAE(2).state_dict()), folder / "vae.safetensors")


@autocast
@pytest.mark.usefixtures("quick_latents")
def test_an_interrupted_dit_training_resumes_to_the_same_files(tmp_path, monkeypatch):
    config = of_steps(1, 3)
    for name in ("whole", "parts"):
        untrained_vae(tmp_path / name)
    trained(DiTTrainer(), config, tmp_path / "whole")
    hasty(monkeypatch, stop_at=2)
    with pytest.raises(Interrupted):
        trained(DiTTrainer(), config, tmp_path / "parts")
    hasty(monkeypatch, stop_at=None)
    trained(DiTTrainer(), config, tmp_path / "parts", resume=True)
    for name in ("dit-run", "dit", "text_encoder"):
        same_files(tmp_path / "whole" / f"{name}.safetensors", tmp_path / "parts" / f"{name}.safetensors")


@autocast
@pytest.mark.usefixtures("quick_latents")
def test_a_run_starts_from_another_models_weights(tmp_path):
    config = of_steps(1, 1)
    for name in ("first", "second"):
        untrained_vae(tmp_path / name)
    trained(DiTTrainer(), config, tmp_path / "first")
    start = Start(tmp_path / "first" / "dit.safetensors", tmp_path / "first" / "text_encoder.safetensors")
    trained(DiTTrainer(start), replace(config, rate=0.0), tmp_path / "second")
    for name in ("dit", "text_encoder"):
        same_files(tmp_path / "first" / f"{name}.safetensors", tmp_path / "second" / f"{name}.safetensors")


@autocast
@pytest.mark.usefixtures("quick_latents")
def test_the_files_of_a_run_that_has_ended_can_be_written_again(tmp_path):
    config = of_steps(1, 1)
    untrained_vae(tmp_path)
    trained(DiTTrainer(), config, tmp_path)
    for name in ("dit", "text_encoder"):
        (tmp_path / f"{name}.safetensors").rename(tmp_path / f"{name}-ended.safetensors")
    state, said = read_safetensors(tmp_path / "dit-run.safetensors", "state")
    without = {key: value for key, value in state.items() if key != "generator"}
    for held in ({**state, "generator": state["generator"][:16]}, without):  # a GPU's is smaller
        write_tensors(held, tmp_path / "dit-run.safetensors", said)
        export_run(config, setting_of(tmp_path))
        for name in ("dit", "text_encoder"):
            same_files(tmp_path / f"{name}.safetensors", tmp_path / f"{name}-ended.safetensors")
    with pytest.raises(ValueError, match=r"config.model.width is 48 there and 256 here"):
        export_run(demo_dit(), setting_of(tmp_path))


@autocast
def test_a_step_sees_the_kinds_and_the_drawing_of_its_stage(tmp_path, monkeypatch):
    config, drawn = of_steps(2, 3), []
    monkeypatch.setattr(method, "cached_clips", lambda encoder, kind, config: latents(frames=kind.frames))

    def listen(data, size, drawing, *generators):
        drawn.append((data.latent.shape[2], drawing))
        return draw_batch(data, size, drawing, *generators)

    monkeypatch.setattr(method, "draw_batch", listen)
    for name in ("shared", "own"):
        untrained_vae(tmp_path / name)
    trained(DiTTrainer(), config, tmp_path / "shared")
    first, last = config.stages
    assert drawn[:2] == [(1, first.drawing)] * 2
    assert {frames for frames, _ in drawn[2:]} == {1, 9} and {how for _, how in drawn[2:]} == {last.drawing}
    drawn.clear()
    still, moving = config.kinds
    always = (0.0, 1.0, 0.0, 0.0, 0.0)
    trained(DiTTrainer(), replace(config, kinds=(still, replace(moving, patterns=always))), tmp_path / "own")
    own = replace(last.drawing, patterns=always)
    assert {(frames, how) for frames, how in drawn[2:]} == {(1, last.drawing), (9, own)}
    with pytest.raises(ValueError, match="past the end of the run's 5"):
        config.stage_of(5)


def test_an_interrupted_vae_training_resumes_to_the_same_files_and_stays_causal(tmp_path, monkeypatch):
    small = (VAEStage(1, 1e-3, (View(1, 32, 2),)), VAEStage(3, 1e-3, (View(5, 32, 2), View(1, 32, 2))))
    config = replace(smoke_vae(), width=4, clips=4, stages=small)
    monkeypatch.setattr(vae_training, "quality", lambda *_: "not measured")
    whole = trained(VAETrainer(), config, tmp_path / "whole")
    hasty(monkeypatch, stop_at=2)
    with pytest.raises(Interrupted):
        trained(VAETrainer(), config, tmp_path / "parts")
    hasty(monkeypatch, stop_at=None)
    trained(VAETrainer(), config, tmp_path / "parts", resume=True)
    for name in ("vae-run", "vae"):
        same_files(tmp_path / "whole" / f"{name}.safetensors", tmp_path / "parts" / f"{name}.safetensors")
    stays_causal(whole)


def stays_causal(vae: WanVAE) -> None:
    video = torch.rand(1, 3, 9, 32, 32, generator=Generator().manual_seed(3)) * 2 - 1
    later = video.clone()
    later[:, :, 6] = 0
    before, after = vae.encode(video, chunk=8), vae.encode(later, chunk=8)
    assert torch.equal(before[:, :, :2], after[:, :, :2])
    assert not torch.equal(before[:, :, 2], after[:, :, 2])
    mixed = torch.cat([before[:, :, :2], -before[:, :, 2:]], 2)
    pictures, others = vae.decode(before, chunk=2), vae.decode(mixed, chunk=2)
    assert torch.equal(pictures[:, :, :5], others[:, :, :5])
    assert not torch.equal(pictures[:, :, 5:], others[:, :, 5:])


# ---- the schedule
