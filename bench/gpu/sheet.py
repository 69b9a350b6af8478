"""The results of a part: one JSON file, whole at every moment, which a second call goes on with."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rows import write_whole

FRESH = ("date",)  # what a second call may say differently of its machine


class Unfinished(Exception):
    """A case whose time is over, and which a second call goes on with."""


@dataclass(frozen=True)
class Case:
    """One thing to find out: `run` gives what is kept of it."""

    name: str
    run: Callable[[], dict]


@dataclass
class Sheet:
    """Sheet of a part's results: by case, in the order of the run.

    machine  what it was run on and with
    dry      run on a CPU with stand-ins: figures that mean nothing
    now      the case that runs; None between two
    left     names of cases that have not run
    """

    part: str
    machine: dict
    dry: bool
    cases: dict[str, dict] = field(default_factory=dict)
    now: str | None = None
    left: list[str] | None = None

    @property
    def done(self) -> bool:
        """True where no case is left."""
        return self.left == []

    @property
    def failed(self) -> dict[str, str]:
        """Reasons why cases came to nothing, by name."""
        return {name: found["failed"] for name, found in self.cases.items() if "failed" in found}

    def write(self, folder: Path) -> None:
        write_whole(file_of(folder, self.part), json.dumps(asdict(self), indent=1) + "\n")


def file_of(folder: Path, part: str) -> Path:
    return folder / f"{part}.json"


def read_sheet(file: Path) -> Sheet:
    """ValueError where the file is none of ours or broken."""
    try:
        held = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: no JSON ({error}); delete it to run the part anew") from None
    types = {"part": str, "machine": dict, "dry": bool, "cases": dict, "now": str | None, "left": list | None}
    whole = isinstance(held, dict) and held.keys() == types.keys()
    whole = whole and all(isinstance(held[name], kind) for name, kind in types.items())
    if (
        not whole
        or held["part"] != file.stem
        or not all(isinstance(one, dict) for one in held["cases"].values())
    ):
        raise ValueError(f"{file}: not the results of the part {file.stem}; delete it to run the part anew")
    return Sheet(**held)


def found_sheet(folder: Path, part: str) -> Sheet | None:
    """Results of the part so far, or None where there are none; a broken file is told of, as good as none."""
    file = file_of(folder, part)
    try:
        return read_sheet(file) if file.exists() else None
    except ValueError as error:
        print(f"!! {part}: begun anew: {error}", flush=True)
        return None


def begin_sheet(folder: Path, part: str, machine: dict, dry: bool) -> Sheet:
    """`found_sheet`, or a fresh one. ValueError where the results are of another machine, other versions or
    other kernels: figures of two are not mixed."""
    sheet = found_sheet(folder, part)
    if sheet is None:
        return Sheet(part, machine, dry)
    there, here = ({**of, "dry": way} for of, way in ((sheet.machine, sheet.dry), (machine, dry)))
    other = [name for name in here if name not in FRESH and there.get(name) != here[name]]
    if other:
        told = "; ".join(f"{name}: {there.get(name)} there, {here[name]} here" for name in other)
        raise ValueError(f"--out: {file_of(folder, part)} was made elsewhere ({told}); choose another folder")
    return sheet


def work(
    sheet: Sheet,
    cases: Sequence[Case],
    folder: Path,
    until: float,
    clock: Callable[[], float] = time.monotonic,
    broken: Callable[[], bool] = lambda: False,
) -> bool:
    """Run the cases that the sheet does not hold, in their order; none is started after `until`. -> True
    where the device is broken, so that the cases left need a new process."""
    sheet.left = [case.name for case in cases if case.name not in sheet.cases]
    for case in cases:
        if case.name in sheet.cases:
            continue
        if clock() >= until:
            break
        sheet.now = case.name
        sheet.write(folder)
        started = clock()
        try:
            found = case.run()
        except Unfinished as reason:
            sheet.now = None
            print(f"{sheet.part}: {reason}", flush=True)
            break
        except Exception as error:  # noqa: BLE001  a case that fails is a finding, and the others go on
            found = {"failed": told(error)}
        settle(sheet, {**found, "seconds": round(clock() - started, 2)}, folder)
        if not sheet.dry:
            print(f"{sheet.part}: {case.name}: {brief(found)}", flush=True)
        if "failed" in found and broken():
            return True
    sheet.write(folder)
    return False


def settle(sheet: Sheet, found: dict, folder: Path) -> None:
    """Record what came of the case that ran."""
    assert sheet.now is not None and sheet.left is not None
    sheet.cases[sheet.now] = found
    sheet.left.remove(sheet.now)
    sheet.now = None
    sheet.write(folder)


def brief(found: dict) -> str:
    """Result of a case, in a few words."""
    if reason := found.get("failed") or found.get("left_out"):
        return reason
    if "ratio" in found:
        ratio = found["ratio"]
        return f"{ratio['ratio']:.2f}, {ratio['milliseconds']:.2f} / {ratio['other_milliseconds']:.2f} ms"
    return str(found.get("gains", "done"))


def told(error: BaseException) -> str:
    """An error in a line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:300]}"
