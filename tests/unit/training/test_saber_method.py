"""Saber's method on prepared clips: every clip once an epoch, held-out clips, averages, resume, failures."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import refvid_saber as small
import torch
from refvid_saber import mean_latents, prepared_clips, saber_settings, small_clips, small_dit, small_models
from torch import Generator, nn

from refvid.core.checkpoint import read_safetensors
from refvid.core.ranks import ALONE
from refvid.training.engine.average import Average
from refvid.training.engine.lora import add_lora
from refvid.training.engine.method import Setting, train
from refvid.training.engine.noise import Draws
from refvid.training.methods.saber import method as saber_method
from refvid.training.methods.saber.held_out import HeldOutClips
from refvid.training.methods.saber.method import OrderedClips, Saber
from refvid.training.stopped import TrainingStopped

PREPARED = small_clips()
RUN = {"references": {"augment": False}}


def run(folder: Path, *tables, prepared=PREPARED, models=None, resume=False) -> nn.Module:
    """Train in a folder; -> the averaged LoRA."""
    method, setting = (
        Saber(prepared, folder.name),
        Setting(prepared, folder, models or small_models(), resume=resume),
    )
    return train(method, saber_settings(RUN, *tables), setting)


def lora(folder: Path) -> dict[str, torch.Tensor]:
    return read_safetensors(folder / f"{folder.name}.safetensors", "lora")[0]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# ---- what a step sees


def seen(settings, steps: int, prepared=PREPARED) -> list[str]:
    data = settings.data
    order = prepared.order(settings.train.batch, settings.seed, frames=data.frames, shares=data.share)
    clips, draws = OrderedClips(prepared, order, ""), Draws(Generator(), Generator())
    rows = (Saber(prepared, "x").draw(settings, clips, draws, turn, ALONE) for turn in range(steps))
    return [row.name.split()[0] for batch in rows for row in batch]


@pytest.mark.parametrize("batch", [1, 5])
def test_an_epoch_sees_every_clip_once_and_one_that_is_repeated_as_often(batch):
    settings = saber_settings(RUN, {"train": {"batch": batch}, "references": {"dropout": 1.0}})
    for epoch in range(3):
        found = Counter(seen(settings, (epoch + 1) * 5 // batch)[5 * epoch :])
        assert found == {"0.mp4": 1, "1.mp4": 1, "2.mp4": 1, "3.mp4": 2}, epoch


def test_lengths_are_seen_in_their_shares_and_others_not_at_all(tmp_path):
    clips = [small.a_clip(0), small.a_clip(1, 9), small.a_clip(2, 9), small.a_clip(3, 1)]
    prepared = prepared_clips(tmp_path, clips)
    still = {"train": {"batch": 1}, "references": {"dropout": 1.0}}
    shares = saber_settings(still, {"data": {"frames": [5, 9], "share": [3.0, 1.0]}})
    found = Counter(seen(shares, 40, prepared))
    assert found == {"0.mp4": 30, "1.mp4": 5, "2.mp4": 5}
    only = Counter(seen(saber_settings(still, {"data": {"frames": [9]}}), 10, prepared))
    assert only == {"1.mp4": 5, "2.mp4": 5}
    with pytest.raises(ValueError, match=r"data.frames: no clip was encoded in 33 pictures"):
        seen(saber_settings({"data": {"frames": [33]}}), 1, prepared)


# ---- clips that were held out


def held_out(**tables) -> HeldOutClips:
    return HeldOutClips(PREPARED, saber_settings(RUN, tables), small_dit(), mean_latents)


def test_held_out_clips_are_shown_their_own_another_scenes_or_no_reference():
    clips = held_out(references={"masks": "random", "augment": False})
    assert [name.split()[0] for name in clips.clips] == ["4.mp4", "6.mp4", "5.mp4"]  # each film once, first
    assert clips.scenes == ["film4", "film6", "film4"]
    for row, number, others in ((0, 4, {6}), (1, 6, {4, 5}), (2, 5, {6})):
        for shown, wanted in (("own", {number}), ("other", others)):
            one = clips.shown(row, shown)
            (who, place) = small.known_by(one.pictures[0][:, one.masks[0] > 0.5].mean(1))
            assert who in wanted and place in small.SHOWN[1]  # the middle window
            assert torch.equal(one.latent, PREPARED.latent(clips.rows[row], 1).float())
        bare = clips.shown(row, "none")
        assert bare.pictures.shape[0] == bare.masks.shape[0] == 0


def test_losses_of_held_out_clips_differ_by_the_reference_alone_and_not_by_seed_or_batch():
    levels = torch.tensor([0.3, 0.6, 0.9])
    found = {shown: held_out().loss(2, levels, shown) for shown in ("own", "other", "none")}
    assert (found["own"] - found["none"]).abs().min() > 1e-6
    assert (found["own"] - found["other"]).abs().min() > 1e-6
    for again in (held_out(train={"batch": 1}), held_out(train={"batch": 3})):
        again.loss(0, levels, "own")
        assert torch.allclose(again.loss(2, levels, "own"), found["own"], atol=1e-5)
    seeded = HeldOutClips(PREPARED, replace(saber_settings(RUN), seed=5), small_dit(), mean_latents)
    assert torch.equal(seeded.loss(2, levels, "own"), found["own"])


def test_the_noise_of_a_held_out_clip_depends_on_the_clip_and_the_level_alone(monkeypatch):
    from refvid.training.methods.saber import held_out as module

    told = []

    def keeps(dit, batch):
        told.append(batch)
        return torch.zeros(len(batch.sigma))

    monkeypatch.setattr(module, "row_losses", keeps)
    clips = held_out(train={"batch": 2})
    for shown in ("own", "other", "none"):
        clips.loss(0, torch.tensor([0.3, 0.9]), shown)
    clips.loss(1, torch.tensor([0.3, 0.9]), "own")
    own, other, none, next_clip = told
    assert torch.equal(own.noise, other.noise) and torch.equal(own.noise, none.noise)
    assert torch.equal(own.latent, other.latent) and torch.equal(own.text.states, none.text.states)
    assert own.sigma.tolist() == pytest.approx([0.3, 0.9])
    assert not torch.equal(own.noise[0], own.noise[1]) and not torch.equal(own.noise, next_clip.noise)


# ---- averages


def test_averages_take_the_place_of_the_weights_and_these_come_back_bit_for_bit():
    module = nn.Linear(3, 3)
    average = Average(module, 0.5)
    average.update()
    kept = module.weight.detach().clone()
    with torch.no_grad():
        module.weight += 1
    average.update()
    last = module.weight.detach().clone()
    with average.in_place():
        assert torch.allclose(module.weight, kept + 0.5)
        assert torch.equal(module.weight, average.module.weight)
    assert torch.equal(module.weight, last)
    with torch.no_grad():
        module.weight += 1
    assert not torch.equal(module.weight, average.module.weight)


def test_what_is_measured_and_kept_on_the_way_is_the_average(tmp_path, monkeypatch):
    measured, real = [], HeldOutClips.loss

    def watched(self, row, levels, references):
        if row == 0 and references == "own":
            named = self._dit.named_parameters()
            measured.append({name: one.clone() for name, one in named if name.endswith("up.weight")})
            assert not self._dit.training
        return real(self, row, levels, references)

    swapped, swap = [], Average.in_place
    monkeypatch.setattr(Average, "in_place", lambda self: swapped.append(self) or swap(self))
    monkeypatch.setattr(HeldOutClips, "loss", watched)
    averaged = run(tmp_path / "a", {"report": {"validate_every": 3}, "train": {"ema": 0.9}})
    ups = {name.replace("-", "."): value for name, value in averaged.named_parameters() if ".up." in name}
    assert len(swapped) == 2, "only where something is measured"
    assert len(measured) == 2 and same(measured[1], ups) and all(value.any() for value in ups.values())
    assert not any(value.any() for value in measured[0].values())
    last = run(tmp_path / "b", {"train": {"ema": 0.0}})
    assert not same(dict(averaged.state_dict()), dict(last.state_dict()))


# ---- going on


class _Killed(Exception):
    pass


def killed_at(monkeypatch, moment: int) -> None:
    """The next run ends when it draws its batch of this number."""
    real = Saber.draw

    def draws(self, config, data, draws, turn, ranks):
        if turn == moment:
            raise _Killed
        return real(self, config, data, draws, turn, ranks)

    monkeypatch.setattr(Saber, "draw", draws)


def test_a_run_that_goes_on_ends_bit_for_bit_as_one_that_was_not_interrupted(tmp_path, monkeypatch):
    often = {"train": {"steps": 4, "accumulate": 2}, "report": {"save_every_minutes": 0.0}}
    run(tmp_path / "whole" / "run", often)
    for moment in (0, 3, 6):
        with monkeypatch.context() as patch:
            killed_at(patch, moment)
            with pytest.raises(_Killed):
                run(tmp_path / f"{moment}" / "run", often)
        run(tmp_path / f"{moment}" / "run", often, resume=True)
        assert same(lora(tmp_path / f"{moment}" / "run"), lora(tmp_path / "whole" / "run")), moment


CHANGED = [
    ({"seed": 1}, "seed"),
    ({"references": {"dropout": 0.2}}, "references.dropout"),
    ({"references": {"moment": "clip"}}, "references.moment"),
    ({"data": {"caption_dropout": 0.3}}, "caption_dropout"),
    ({"train": {"batch": 1}}, "train.batch"),
    ({"train": {"accumulate": 2}}, "train.accumulate"),
    ({"train": {"rank": 3}}, "train.rank"),
    ({"models": {"base_dtype": "bf16"}}, "models.base_dtype"),
]


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("begun") / "run"
    run(folder, {"train": {"steps": 1}})
    return folder


@pytest.mark.parametrize(("table", "name"), CHANGED)
def test_what_changes_the_draws_is_refused_by_name_where_a_run_goes_on(begun, table, name):
    before = lora(begun)
    with pytest.raises(ValueError, match=rf"made by another run: \S*{name} is"):
        run(begun, {"train": {"steps": 1}}, table, resume=True)
    assert same(lora(begun), before)


def test_other_clips_and_other_models_are_refused_where_a_run_goes_on(begun, tmp_path):
    other = prepared_clips(tmp_path, [small.a_clip(0), small.a_clip(1)])
    one = {"train": {"steps": 1}}
    with pytest.raises(ValueError, match='made by another run: data is "prepared'):
        run(begun, one, prepared=other, resume=True)
    models = small_models()
    dit = small.tiny.save_dit(tmp_path, "o.safetensors", small.SIZES, small.tiny.dit_state(small.SIZES, 5))
    vae = small.tiny.save_vae(tmp_path, width=4)
    for name, path in (("dit", dit), ("vae", vae)):
        with pytest.raises(ValueError, match=f'made by another run: base.{name} is "sha256'):
            run(begun, one, models=replace(models, **{name: path}), resume=True)


def test_reports_and_memory_may_change_and_steps_be_added_where_a_run_goes_on(tmp_path):
    run(tmp_path / "long" / "run", {"train": {"steps": 3}})
    run(tmp_path / "run", {"train": {"steps": 2}})
    further = {"report": {"every": 2, "export_every": 1}, "memory": {"checkpointing": "blocks", "card": 80.0}}
    run(tmp_path / "run", {"train": {"steps": 3}}, further, resume=True)
    one, other = lora(tmp_path / "run"), lora(tmp_path / "long" / "run")
    assert one.keys() == other.keys()
    assert all((one[key].float() - other[key].float()).abs().max() < 2e-3 for key in one)


def test_a_finished_run_says_so_and_an_existing_one_is_not_overwritten(tmp_path, caplog):
    run(tmp_path / "run", {"train": {"steps": 1}})
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    with pytest.raises(ValueError, match=r"--resume goes on from it, or choose another --out"):
        run(tmp_path / "run", {"train": {"steps": 1}})
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == before
    with caplog.at_level("INFO"):
        run(tmp_path / "run", {"train": {"steps": 1}}, resume=True)
    assert "saber has taken all its 1 steps" in caplog.text


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_clips_of_the_step(tmp_path, monkeypatch):
    real = saber_method.saber_losses
    told: list[tuple[str, ...]] = []

    def breaks(dit, batch):
        told.append(batch.names)
        noise = batch.noise * float("nan") if len(told) == 3 else batch.noise
        return real(dit, replace(batch, noise=noise))

    monkeypatch.setattr(saber_method, "saber_losses", breaks)
    with pytest.raises(TrainingStopped, match=r"step 3|step 2") as stopped:
        run(tmp_path / "run", {"train": {"steps": 5}})
    assert len(told) == 3 and all(name in str(stopped.value) for name in told[2])
    monkeypatch.setattr(saber_method, "saber_losses", real)
    run(tmp_path / "run", {"train": {"steps": 5}}, resume=True)
    run(tmp_path / "whole" / "run", {"train": {"steps": 5}})
    assert same(lora(tmp_path / "run"), lora(tmp_path / "whole" / "run"))


def test_only_the_lora_learns_and_at_strength_zero_nothing_has_changed(tmp_path):
    averaged = run(tmp_path / "run")
    assert all(one.dtype == torch.float32 for one in averaged.parameters())
    dit = small_dit()
    given = torch.randn(1, 4, 96)
    before = dit.blocks[0].self_attn.q(given)
    layers = add_lora(dit, 2, ("self_attn",))
    assert torch.equal(dit.blocks[0].self_attn.q(given), before)
    assert {name for name, one in dit.named_parameters() if one.requires_grad} == {
        name for name, _ in dit.named_parameters() if ".up." in name or ".down." in name
    } and len(list(layers.parameters())) == 16
