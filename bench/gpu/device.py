"""The device that is measured: a CUDA GPU, or in a dry run the CPU with stand-ins for its events and its
memory."""

import gc
import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from results import machine
from rows import Ratio, ratio_of
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
DRY = "REFVID_DRY"
Call = Callable[[], object]


class StandIn:
    """Stand-in for `torch.cuda`, of what is used of it, where there is none."""

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            self.at = 0.0

        def record(self) -> None:
            self.at = time.perf_counter()

        def elapsed_time(self, end: "StandIn.Event") -> float:
            return 1e3 * (end.at - self.at)

    synchronize = empty_cache = reset_peak_memory_stats = staticmethod(lambda: None)
    memory_allocated = staticmethod(lambda: 0)
    max_memory_allocated = staticmethod(lambda: 1 << 20)


@dataclass(frozen=True)
class Patience:
    """Patience of a measurement of two calls side by side: seconds of warming up, rounds, and seconds after
    which `least` are enough."""

    warm: float = 0.2
    least: int = 5
    most: int = 15
    seconds: float = 2.0


class Device:
    """Device on which everything of a part runs."""

    def __init__(self, dry: bool, until: float, folder: Path) -> None:
        """until: the time of `time.monotonic` at which the part ends; folder: what goes beside its file."""
        if not dry and not torch.cuda.is_available():
            raise ValueError(
                "no CUDA device here; with --dry everything runs on the CPU, to see that it runs"
            )
        self.dry, self.until, self.folder = dry, until, folder
        gc.freeze()  # what is imported stays: collecting looks at the rest alone
        self.cuda: Any = StandIn if dry else torch.cuda
        self.at = torch.device("cpu" if dry else "cuda")
        self.patience = Patience(0.0, 1, 1, 0.0) if dry else Patience()
        # Written between two runs: nothing is left of the last one in the cache.
        # The H200's is 50 MB, a B200's 126 MB.
        self._cache = torch.empty(1 << (4 if dry else 26), dtype=torch.int32, device=self.at)

    def normal(self, *shape: int, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        generator = torch.Generator(self.at).manual_seed(seed)
        return torch.randn(shape, generator=generator, device=self.at, dtype=dtype)

    def seconds(self, call: Call) -> float:
        """Seconds that a call takes on the device."""
        begin, end = (self.cuda.Event(enable_timing=True) for _ in range(2))
        self._cache.zero_()
        begin.record()
        call()
        end.record()
        self.cuda.synchronize()
        return begin.elapsed_time(end) / 1e3

    def pair(self, first: Call, second: Call, least: int | None = None) -> Ratio:
        """Seconds of `first` / seconds of `second`, in turns, which of them begins in turns too, over `least`
        rounds or more. Both have run before, so that all is compiled."""
        patience, pairs = self.patience, []
        enough = patience.least if self.dry or least is None else least
        self._warm(first, second)
        started = time.monotonic()
        while len(pairs) < enough or (
            len(pairs) < patience.most and time.monotonic() - started < patience.seconds
        ):
            if len(pairs) % 2:
                later = self.seconds(second)
                pairs.append((self.seconds(first), later))
            else:
                pairs.append((self.seconds(first), self.seconds(second)))
        return ratio_of(pairs)

    def rounds(self, calls: list[Callable[[], float]]) -> list[list[float]]:
        """Results of every call, round by round. All have run before."""
        self._warm(*calls)
        return [[call() for call in calls] for _ in range(self.patience.most)]

    def _warm(self, *calls: Call) -> None:
        """Until the clocks are up."""
        started = time.monotonic()
        while time.monotonic() - started < self.patience.warm:
            for call in calls:
                call()
            self.cuda.synchronize()

    def peak(self, call: Call) -> float:
        """MiB that a call holds at its height, beyond what was there before."""
        self.cuda.reset_peak_memory_stats()
        before = self.cuda.memory_allocated()
        call()
        self.cuda.synchronize()
        return (self.cuda.max_memory_allocated() - before) / 2**20

    def settle(self) -> None:
        """Give back what nobody holds, and forget what was compiled: it was compiled for another case."""
        torch._dynamo.reset()
        gc.collect()
        self.cuda.empty_cache()

    def broken(self) -> bool:
        """True where an error has left the device unusable to this process."""
        try:
            self.cuda.synchronize()
            self._cache.zero_()
            self.settle()
        except RuntimeError:
            return True
        return False

    def machine(self) -> dict:
        """Facts that results depend on, and would be told of them."""
        cuda = not self.dry
        return {
            **machine(),
            "cuda": torch.version.cuda if cuda else None,
            "capability": list(torch.cuda.get_device_capability()) if cuda else None,
            "memory": torch.cuda.get_device_properties(0).total_memory >> 20 if cuda else None,
            "kernels": _digest(ROOT / "kernels"),
        }


def wants_dry() -> bool:
    return os.environ.get(DRY) == "1"


def _digest(folder: Path) -> str:
    """Digest of the code that is measured."""
    files = sorted(file for end in ("py", "json") for file in folder.rglob(f"*.{end}"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
