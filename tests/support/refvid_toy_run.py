"""A run of a few numbers that trains in milliseconds, as adapters are trained, and ways to end it from
outside."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from refvid_forks import settle
from safetensors.torch import load_file
from torch import nn

from refvid.core.checkpoint import read_safetensors, write_tensors
from refvid.training.engine import loop
from refvid.training.engine.average import Average
from refvid.training.engine.learner import Learner
from refvid.training.engine.noise import Draws
from refvid.training.engine.optimise import Optimiser, warm_hold_decay
from refvid.training.engine.state import RunFiles, RunState

FILES = RunFiles("toy", ("toy.safetensors",), ("toy-[0-9]*.png",))
STEPS = 5
NEWEST, BEFORE, RESULT = "toy-run.safetensors", "toy-run-before.safetensors", "toy.safetensors"


class Toy(nn.Module):
    """Muon's, Adam's, and what has no gradient."""

    def __init__(self, width: int = 7):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, width), nn.GELU(), nn.Linear(width, 3))
        self.silent = nn.Parameter(torch.ones(2))


def train_toy(
    folder: Path,
    resume: bool = False,
    steps: int = STEPS,
    width: int = 7,
    at_step: Callable[[int], None] = lambda step: None,
    **made_by: object,
) -> None:
    """Leaves toy.safetensors in the folder, and a state after every step. What a step draws is its own, as in
    every run."""
    state = RunState(FILES, folder, {"config": {"steps": steps, "width": width}, **made_by}, resume)
    torch.manual_seed(0)
    toy = Toy(width)
    optimiser = Optimiser(toy, lambda _, parameter: parameter.ndim == 2, 0.01)
    learner = Learner(toy, optimiser, Average(toy, 0.9))

    def seed(draws: Draws, step: int) -> None:
        draws.own.manual_seed(3 * steps + step)

    def draw(draws: Draws, step: int) -> torch.Tensor:
        at_step(step)
        return torch.randn(4, 5, generator=draws.own)

    def losses(given: torch.Tensor) -> loop.Losses:
        return loop.Losses({"loss": (1.0, toy.layers(given).float().square().mean())})

    with pytest.MonkeyPatch.context() as often:
        often.setattr(loop, "SAVE_EVERY", -1.0)
        rate = partial(warm_hold_decay, steps=steps)
        loop.take_steps(loop.Run(state, learner, steps, rate, seed, draw, losses))
    write_tensors(dict(learner.average.module.state_dict()), folder / "toy.safetensors", {})


def in_a_child(work: Callable[[], None]) -> int:
    """The wait status of a process that does this: 0 done, 1 an OSError, 2 anything else, or the signal that
    ended it."""
    child = os.fork()
    if not child:
        code = 2
        try:
            settle()
            work()
            code = 0
        except OSError:
            code = 1
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def same(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


def as_uninterrupted(folder: Path, whole: Path) -> bool:
    return all(same(folder / name, whole / name) for name in (RESULT, NEWEST))


def step_of(path: Path) -> int:
    return int(read_safetensors(path, "state")[1]["step"])


def held(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def cut_off(folder: Path, at: int = 3, **given) -> None:
    """A run that stops before it takes a step: states of `at` and of the one before."""

    def stop(step: int) -> None:
        if step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_toy(folder, at_step=stop, **given)
