"""Where figures go: one line a figure, with the machine and the versions they were measured on."""

import csv
import platform
import time
from datetime import date
from pathlib import Path

import torch

FILE = Path(__file__).parent / "results.csv"
COLUMNS = ("date", "bench", "case", "ratio", "runs", "device", "threads", "torch", "python")


def paired_ratio(slow, fast, runs: int = 15, warm: int = 2) -> float:
    """Median over interleaved runs of time(slow) / time(fast): both see the same machine. CPU time where there is no
    GPU, so that a busy machine changes little."""
    ratios = []
    for index in range(runs + warm):
        pair = [_seconds(call) for call in (slow, fast)]
        if index >= warm:
            ratios.append(pair[0] / pair[1])
    return sorted(ratios)[len(ratios) // 2]


def record(bench: str, case: str, ratio: float, runs: int = 15) -> None:
    """Print the figure and append it to results.csv."""
    cuda = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if cuda else platform.processor() or platform.machine()
    row = (date.today().isoformat(), bench, case, f"{ratio:.2f}", runs, device, torch.get_num_threads(),
           torch.__version__, platform.python_version())  # fmt: skip
    fresh = not FILE.exists()
    with FILE.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS, row] if fresh else [row])
    print(f"{case}: {ratio:.2f}")


def _seconds(call) -> float:
    clock = time.perf_counter if torch.cuda.is_available() else time.process_time
    started = clock()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock() - started
