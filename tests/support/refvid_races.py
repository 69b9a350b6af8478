"""Races on a GPU, played on the CPU: plain torch in the place of Triton, and a clock that says who is
fast."""

import json
from itertools import cycle
from pathlib import Path

import torch

from refvid.core import verdicts
from refvid.core.verdicts import VERDICTS_FILE, Contest
from refvid.kernels import whole
from refvid.kernels.eager import eager_attention
from refvid.kernels.paths import ASKED, Need, Verdict
from refvid.kernels.race import AttentionCall, Contender, race

NAME = "NVIDIA Nothing, driver 1"
CPU = torch.device("cpu")
NEED = Need(bias=True)
CALL = AttentionCall(1, 2, 16, 40, 8, torch.float32, CPU, torch.full((1, 8), -0.7), None)


def play_gpu(monkeypatch) -> None:
    """Verdicts take this machine for one with a GPU, and nobody says in the environment what auto means."""
    monkeypatch.delenv(ASKED, raising=False)
    monkeypatch.setattr(verdicts, "_can_race", lambda device: True)
    monkeypatch.setattr(verdicts, "_gpu", lambda device: NAME)


class Played:
    """Findings of a GPU that is played: the `races` held as (call, verdict), `calls` of the stand-in since,
    and the milliseconds that the contenders are said to take, in their order, of the last of them."""

    def __init__(self, *taken: float):
        self.calls, self.races, self.taken = 0, [], taken

    def whole(self, groups):
        attend = eager_attention(groups)

        def counted(*given):
            self.calls += 1
            return attend(*given)

        return counted

    def race(self, call, contenders, **more):
        said = cycle(self.taken[-len(contenders) :])

        def clock(run, device) -> float:
            run()
            return next(said)

        held = race(call, contenders, clock, **more)
        self.races.append((call, held))
        self.calls = 0
        return held


def play(monkeypatch, host, *taken: float) -> Played:
    """On a host's module that asks `why_not` of the kernel."""
    played = Played(*taken)
    play_gpu(monkeypatch)
    monkeypatch.setattr(verdicts, "race", played.race)
    monkeypatch.setattr(host, "why_not", lambda *_: None)
    monkeypatch.setitem(whole.WHOLE_ATTENTION, "triton", played.whole)
    monkeypatch.setattr("refvid.kernels.paths._told", set())
    return played


class Said:
    """Race that ends as it is told to, and remembers who was to race."""

    def __init__(self, end: Verdict | BaseException | None):
        self.end, self.asked = end or Verdict("triton", {"bias": 3.0, "triton": 1.0}), []

    def __call__(self, call, contenders, tried=lambda name: None):
        self.asked.append(list(contenders))
        for name in contenders:
            tried(name)
        if isinstance(self.end, BaseException):
            raise self.end
        return self.end


def holding(monkeypatch):
    """Fixture that makes every race end as it is told to."""

    def hold(end=None) -> Said:
        said = Said(end)
        monkeypatch.setattr(verdicts, "race", said)
        return said

    return hold


def contest(call: AttentionCall = CALL, host: str = "torch's") -> Contest:
    exact = Contender(eager_attention(call.groups))
    return Contest(call, {"bias": exact, "sdpa": exact, "triton": exact, "removal": exact}, host)


def on_disk(folder: Path) -> dict:
    return json.loads((folder / VERDICTS_FILE).read_text())


def only(folder: Path) -> dict:
    """The one entry that a folder's file has."""
    (kinds,) = on_disk(folder).values()
    (entry,) = kinds.values()
    return entry
