"""Runs that go on: with clips of their own source alone, with more steps where the rate allows it, and when
they have ended."""

import json
import logging
from dataclasses import replace

import pytest
from refvid_kills import held
from refvid_small_lora import NEWEST, RESULT, SmallLora, SmallTraining, train_small

from refvid.core.checkpoint import read_safetensors, write_tensors


def learning(**given) -> SmallTraining:
    return SmallTraining(replace(SmallTraining().learning, **given))


def made_by(path) -> dict:
    return json.loads(read_safetensors(path, "state")[1]["made_by"])


def test_every_run_says_where_its_clips_come_from_and_other_clips_are_refused(tmp_path):
    train_small(tmp_path, source="index:films")
    assert made_by(tmp_path / NEWEST)["data"] == "index:films"
    with pytest.raises(ValueError, match='data is "index:films" there and "index:others" here'):
        train_small(tmp_path, source="index:others", resume=True)


def test_a_state_that_does_not_say_its_clips_goes_on(tmp_path):
    """States of 0.1.0 and of the demo's runs before do not."""
    train_small(tmp_path / "whole", learning())
    train_small(tmp_path / "old", learning(steps=3))
    for path in (tmp_path / "old").glob("*run*"):
        tensors, said = read_safetensors(path, "state")
        said["made_by"] = json.dumps({"train": made_by(path)["train"]})
        write_tensors(tensors, path, said)
    train_small(tmp_path / "old", learning(), resume=True)
    assert held(tmp_path / "whole")[RESULT] == held(tmp_path / "old")[RESULT]


def test_a_field_within_what_both_say_is_compared_still(tmp_path):
    train_small(tmp_path)
    path = tmp_path / NEWEST
    for path in tmp_path.glob("*run*"):
        tensors, said = read_safetensors(path, "state")
        old = made_by(path)
        del old["train"]["clip"]
        write_tensors(tensors, path, {**said, "made_by": json.dumps(old)})
    with pytest.raises(ValueError, match=r"train.clip is nothing there and 1.0 here"):
        train_small(tmp_path, resume=True)


def test_steps_of_a_constant_rate_may_be_raised_and_end_as_a_run_that_had_them_from_the_start(tmp_path):
    train_small(tmp_path / "whole", learning(steps=6))
    train_small(tmp_path / "more", learning(steps=4))
    train_small(tmp_path / "more", learning(steps=6), resume=True)
    assert held(tmp_path / "whole") == held(tmp_path / "more")


@pytest.mark.parametrize("schedule", ["cosine", "hold-decay"])
def test_steps_of_a_rate_that_depends_on_them_may_not(tmp_path, schedule):
    train_small(tmp_path, learning(steps=4, schedule=schedule))
    with pytest.raises(ValueError, match=r"train.steps is 4 there and 6 here"):
        train_small(tmp_path, learning(steps=6, schedule=schedule), resume=True)


def test_a_run_that_has_taken_all_its_steps_says_so_and_takes_none(tmp_path, caplog):
    train_small(tmp_path)
    caplog.set_level(logging.INFO, "refvid")
    before, turns = held(tmp_path), []
    method = SmallLora(lambda batch, losses: turns.append(batch.turn) or losses)
    train_small(tmp_path, method=method, resume=True)
    assert not turns and held(tmp_path) == before
    assert f"small has taken all its 6 steps; {RESULT}: written again from its state" in caplog.text


def test_fewer_steps_than_were_taken_are_refused(tmp_path):
    train_small(tmp_path, learning(steps=6))
    with pytest.raises(ValueError, match="has taken 6 steps, this run has 4"):
        train_small(tmp_path, learning(steps=4), resume=True)
