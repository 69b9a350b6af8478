"""The figures in results.csv: one line a figure, with its spread, the machine and the versions it was
measured on."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

FILE = Path(__file__).parent / "results.csv"
COLUMNS = (
    "date", "bench", "case", "ratio", "runs", "device", "threads", "torch", "python",
    "low", "high", "milliseconds", "other_milliseconds", "triton", "driver",
)  # fmt: skip


@dataclass(frozen=True)
class Ratio:
    """Ratio A / B of a case "A / B": the median over `runs` pairs, their quartiles, and the median
    milliseconds of A and of B. None where the figure is no time, or was measured once."""

    ratio: float
    runs: int = 1
    low: float | None = None
    high: float | None = None
    milliseconds: float | None = None
    other_milliseconds: float | None = None


def ratio_of(pairs: Sequence[tuple[float, float]]) -> Ratio:
    """Ratio of the seconds of A and B, measured side by side."""
    ratios = [first / second for first, second in pairs]
    spread = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else None
    own, others = (1e3 * median(side) for side in zip(*pairs, strict=True))
    low, high = (None, None) if spread is None else (spread[0], spread[2])
    return Ratio(median(ratios), len(ratios), low, high, own, others)


def row_of(bench: str, case: str, ratio: Ratio, machine: dict) -> dict[str, str]:
    """A line of the file; machine: date, device, threads, torch, python and, where there is one, triton and
    driver."""
    known = {**machine, "bench": bench, "case": case, **asdict(ratio)}
    return {name: _cell(name, known.get(name)) for name in COLUMNS}


def read_rows(file: Path = FILE) -> list[dict[str, str]]:
    """Every line. ValueError where the columns are others."""
    if not file.exists():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{file.name} has the columns {reader.fieldnames}; needed {', '.join(COLUMNS)}")
        return list(reader)


def add_rows(rows: Iterable[dict[str, str]], file: Path = FILE) -> int:
    """Put lines behind those that are there, each once. -> how many are new."""
    held = read_rows(file)
    fresh = [row for row in rows if row not in held]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*held, *fresh])
    write_whole(file, text.getvalue())
    return len(fresh)


def write_whole(file: Path, text: str) -> None:
    """Beside, then in place: whoever is killed leaves the old file or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    part.write_text(text, "utf-8")
    os.replace(part, file)


def _cell(name: str, value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.2f}" if name in ("ratio", "low", "high") else f"{value:.4g}"
    return str(value)
