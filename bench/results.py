"""Times of two calls side by side, and the figure that comes of them in results.csv."""

import platform
import time
from datetime import date
from importlib.metadata import PackageNotFoundError, version

import torch
from rows import Ratio, add_rows, ratio_of, row_of

from refvid.core.verdicts import nvidia_driver


def paired_ratio(slow, fast, runs: int = 15, warm: int = 2) -> Ratio:
    """time(slow) / time(fast) over interleaved runs: both see the same machine. CPU time where there is no
    GPU, so that a busy machine changes little."""
    pairs = []
    for index in range(runs + warm):
        pair = (_seconds(slow), _seconds(fast))
        if index >= warm:
            pairs.append(pair)
    return ratio_of(pairs)


def record(bench: str, case: str, ratio: Ratio) -> None:
    """Print the figure and append it to results.csv."""
    add_rows([row_of(bench, case, ratio, machine())])
    spread = "" if ratio.low is None else f" ({ratio.low:.2f} to {ratio.high:.2f})"
    print(f"{case}: {ratio.ratio:.2f}{spread}")


def machine() -> dict:
    """Machine that a figure is measured on."""
    cuda = torch.cuda.is_available()
    return {
        "date": date.today().isoformat(),
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "triton": _version("triton"),
        "python": platform.python_version(),
        "driver": nvidia_driver() if cuda else None,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _seconds(call) -> float:
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    started = clock()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - started
