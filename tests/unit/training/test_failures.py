"""Failures of a run: where it stops, what it says and keeps, and that it goes on from there to the same
bits."""

import json
import logging
import math
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from refvid_kills import held
from refvid_small_lora import BATCH, NEWEST, RESULT, SmallLora, SmallTraining, train_small

from refvid import cli
from refvid.core.checkpoint import read_safetensors
from refvid.core.ranks import Ranks
from refvid.training.engine import failures, loop
from refvid.training.engine import method as engine
from refvid.training.stopped import TrainingStopped

AT = 3  # steps that are good; each has two batches
WORTH = {"nan": math.nan, "inf": math.inf}


def spoilt(at: int = AT, part: int = 1, row: int | None = None, value: float = math.nan) -> SmallLora:
    """A method of which a batch of a step has a loss that is not finite: one row's, or that of all."""

    def change(batch, losses):
        if batch.turn != 2 * at + part:
            return losses
        bad = torch.full((BATCH,), value)
        if row is None:
            return replace(losses, parts={"video": (1.0, losses.each.mean() * value)})
        mask = torch.zeros(BATCH).index_fill(0, torch.tensor([row]), 1).bool()
        each = torch.where(mask, bad, losses.each)
        return replace(losses, parts={"video": (1.0, each.mean())}, each=each)

    return SmallLora(change)


def often(seconds: float = 0.0, **given) -> SmallTraining:
    return SmallTraining(replace(SmallTraining().learning, **given), save_seconds=seconds)


def state_after(folder, steps: int) -> dict:
    """State of a run that was told to stop there."""
    train_small(folder, often(steps=steps))
    return read_safetensors(folder / NEWEST, "state")[0]


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize("value", WORTH)
@pytest.mark.parametrize("seconds", [0.0, 1e6])  # the state is there already, or is saved now
def test_a_loss_that_is_not_finite_stops_before_its_step_with_the_state_as_it_was(tmp_path, value, seconds):
    with pytest.raises(TrainingStopped) as stopped:
        train_small(tmp_path / "bad", often(seconds), spoilt(value=WORTH[value]))
    told = str(stopped.value)
    assert told.startswith(
        f"step {AT + 1}: the loss is not finite; clips clip-7-0.mp4, clip-7-1.mp4, clip-7-2"
    )
    assert told.endswith(f"4.json says more; the state after {AT} steps is kept") and "\n" not in told
    tensors, said = read_safetensors(tmp_path / "bad" / NEWEST, "state")
    assert said["step"] == f"{AT}" and same(tensors, state_after(tmp_path / "told", AT))
    train_small(tmp_path / "whole", often())
    train_small(tmp_path / "bad", often(), resume=True)
    ends = [held(tmp_path / name)[RESULT] for name in ("bad", "whole")]
    assert ends[0] == ends[1]


def test_the_row_whose_loss_is_not_finite_is_named_alone_with_its_noise(tmp_path):
    with pytest.raises(TrainingStopped) as stopped:
        train_small(tmp_path, often(), spoilt(row=2))
    written = json.loads((tmp_path / "bad" / "4.json").read_text())
    levels = written["batches"][1]["levels"]
    assert f"; clips clip-7-2.mp4; noise {levels[2]:.3g}; " in str(stopped.value)
    assert written["step"] == AT + 1 and written["gradient_norm"] == "nan"
    one, other = written["batches"]
    assert one["clips"] == [f"clip-6-{row}.mp4" for row in range(BATCH)]
    assert other["losses"] == {"video": "nan"} and other["each"][2] == "nan" and other["each"][0] > 0
    assert one["losses"]["video"] == pytest.approx(sum(one["each"]) / BATCH)


class Jump(torch.autograd.Function):
    """A number whose slope is not finite."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, slope):
        return slope * torch.inf


def test_a_gradient_that_is_not_finite_stops_too_and_all_batches_of_the_step_are_named(tmp_path):
    def change(batch, losses):
        part = Jump.apply(losses.parts["video"][1]) if batch.turn == 2 * AT else losses.parts["video"][1]
        return replace(losses, parts={"video": (1.0, part)})

    with pytest.raises(
        TrainingStopped, match=r"step 4: the gradient is not finite; clips clip-6-0.*clip-7-2"
    ):
        train_small(tmp_path / "bad", often(), SmallLora(change))
    tensors, _ = read_safetensors(tmp_path / "bad" / NEWEST, "state")
    assert same(tensors, state_after(tmp_path / "told", AT))


def test_a_method_that_tells_nothing_of_its_batch_stops_by_the_step_alone(tmp_path):
    def change(batch, losses):
        return loop.Losses({"video": (1.0, losses.parts["video"][1] * math.nan)})

    with pytest.raises(
        TrainingStopped, match=r"^step 1: the loss is not finite; \S+1.json says more; the st"
    ):
        train_small(tmp_path, often(), SmallLora(change))
    assert read_safetensors(tmp_path / NEWEST, "state")[1]["step"] == "0"


def test_a_generator_that_draws_on_is_kept_as_it_was_before_the_step(tmp_path):
    class DrawsOn(SmallLora):
        def seed(self, config, draws, turn, ranks):
            if not turn:
                draws.own.manual_seed(1)

    train_small(tmp_path / "whole", often(), DrawsOn())
    with pytest.raises(TrainingStopped):
        train_small(tmp_path / "bad", often(1e6), DrawsOn(spoilt().change))
    train_small(tmp_path / "bad", often(), DrawsOn(), resume=True)
    assert held(tmp_path / "whole")[RESULT] == held(tmp_path / "bad")[RESULT]


class Heard(loop.Callback):
    def __init__(self):
        self.said: list = []

    def after(self, done, losses, update):
        self.said.append((done, len(losses), update.skipped, math.isfinite(update.norm)))


def test_a_step_may_be_left_out_which_is_said_and_counted(tmp_path, caplog):
    heard, method = Heard(), spoilt()
    method.reports = [heard]
    train_small(tmp_path, often(nonfinite="skip"), method)
    assert [one[1:] for one in heard.said] == [(2, 0, True)] * AT + [(0, 1, False)] + [(2, 1, True)] * 2
    (said,) = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert said.startswith("step 4: the loss is not finite") and said.endswith("is left out, 1 so far")
    assert read_safetensors(tmp_path / NEWEST, "state")[1]["step"] == "6"


def test_a_step_that_is_left_out_moves_neither_weights_nor_average_nor_optimiser(tmp_path):
    train_small(tmp_path / "skipped", often(nonfinite="skip", steps=AT + 1), spoilt())
    tensors, said = read_safetensors(tmp_path / "skipped" / NEWEST, "state")
    wanted = state_after(tmp_path / "told", AT)
    assert said["step"] == f"{AT + 1}"
    moved = {key for key, value in tensors.items() if not torch.equal(value, wanted[key])}
    assert moved == {"generator"}


def test_every_batch_left_out_leaves_a_run_that_ends(tmp_path, caplog):
    def change(batch, losses):
        return replace(losses, parts={"video": (1.0, losses.parts["video"][1] * math.nan)})

    caplog.set_level(logging.INFO, "refvid")
    train_small(tmp_path, often(nonfinite="skip", steps=2), SmallLora(change))
    assert (tmp_path / RESULT).exists() and "2 so far" in caplog.text


def test_a_process_that_writes_nothing_stops_at_a_loss_of_anothers(tmp_path, monkeypatch):
    """Its own losses are finite; the mean of the gradients is not."""
    second = Ranks(1, 2)
    monkeypatch.setattr(engine, "join", lambda device: second)
    monkeypatch.setattr(loop, "average_gradients", lambda parameters, ranks: failures.poison(parameters))
    with pytest.raises(TrainingStopped, match=r"step 1: the gradient is not finite.*the first process keeps"):
        train_small(tmp_path, often())
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_reaches_every_process_by_its_gradient(tmp_path, monkeypatch):
    """Infinite losses have slopes that are finite here."""
    sent: list = []
    monkeypatch.setattr(loop, "average_gradients", lambda ours, ranks: sent.append(ours[0].grad.clone()))

    def change(batch, losses):
        return replace(losses, parts={"video": (1.0, losses.parts["video"][1] + math.inf)})

    with pytest.raises(TrainingStopped):
        train_small(tmp_path, often(), SmallLora(change))
    assert sent[0].isnan().all()


# ---- memory


def without_memory(at: int = AT, where: str = "losses") -> SmallLora:
    """A method for whose batch there is no memory: in its losses, or in what is drawn."""

    def no_memory(*given):
        batch = given[-1] if where == "losses" else None
        turn = batch.turn if batch is not None else given[3]
        if turn == 2 * at + 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return getattr(SmallLora, where)(method, *given)

    method = SmallLora()
    setattr(method, where, no_memory)
    return method


@pytest.mark.parametrize(("where", "told"), [("losses", "batch 7 of 3 rows"), ("draw", "the drawing of a b")])
def test_where_memory_ends_the_batch_and_the_settings_to_change_are_named_and_the_state_kept(
    tmp_path, monkeypatch, where, told
):
    monkeypatch.setattr(failures, "_peak", lambda device: 23.125)
    with pytest.raises(TrainingStopped) as stopped:
        train_small(tmp_path / "full", often(1e6), without_memory(where=where))
    said = str(stopped.value)
    assert said.startswith(f"step 4: memory ended at {told}") and "23.1 GiB were used at most" in said
    for setting in (
        'memory.checkpointing = "blocks"',
        "a smaller train.batch",
        "fewer data.frames",
        "pixels",
    ):
        assert setting in said
    assert said.endswith(f"the state after {AT} steps is kept") and "\n" not in said
    tensors, _ = read_safetensors(tmp_path / "full" / NEWEST, "state")
    assert same(tensors, state_after(tmp_path / "told", AT))
    train_small(tmp_path / "whole", often())
    train_small(tmp_path / "full", often(), resume=True)
    assert held(tmp_path / "full")[RESULT] == held(tmp_path / "whole")[RESULT]


def test_where_memory_ends_after_the_weights_may_have_moved_the_state_before_is_the_one(tmp_path):
    class Full(loop.Callback):
        def after(self, done, losses, update):
            if done == AT + 1:
                raise torch.OutOfMemoryError

    with pytest.raises(
        TrainingStopped, match=r"step 4: memory ended at what follows.*state after 3 steps is k"
    ):
        train_small(tmp_path / "full", often(), SmallLora(reports=[Full()]))
    with pytest.raises(TrainingStopped, match="there is no state to go on from"):
        train_small(tmp_path / "none", often(1e6), SmallLora(reports=[Full()]))
    assert not (tmp_path / "none" / NEWEST).exists()


def test_other_errors_are_not_taken_for_it(tmp_path):
    def change(batch, losses):
        raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError, match="a fault of ours"):
        train_small(tmp_path, often(), SmallLora(change))


# ---- the command line


def test_the_command_line_says_it_in_one_line_and_ends_with_1(monkeypatch, capsys):
    def stop(options):
        raise TrainingStopped("step 4: the loss is not finite")

    monkeypatch.setattr("refvid.cli.train._train", stop)
    monkeypatch.setattr(logging.getLogger("refvid"), "handlers", [logging.NullHandler()])
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", "vae"])
    assert ended.value.code == 1 and capsys.readouterr().err == "refvid: step 4: the loss is not finite\n"


def test_to_know_of_it_the_command_line_reads_no_torch():
    asks = "import sys, refvid.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asks], check=False).returncode == 0
