"""Runs all that is worth doing where a GPU is at hand. Its parts take under ten minutes: the tests marked
`gpu`, speed, the kernels' tiles, a training step, the demo's models.

    python bench/gpu_run.py --out FOLDER                what FOLDER does not hold yet, in this order
    python bench/gpu_run.py --out FOLDER --part speed   one part; again where more is wanted
    python bench/gpu_run.py --keep FOLDER               its results into this tree, and docs/gpu.md
    python bench/gpu_run.py --dry --out FOLDER          everything on the CPU, tiny, to see that it runs

A part is one JSON file in FOLDER, whole at every moment. It may be killed at any time, and a second call goes
on with the cases that are not there. To measure a part anew, delete its file.
"""

import argparse
import importlib
import importlib.util
import os
import sys
import time
from pathlib import Path

from gpu.keep import keep, rehearse, renew
from gpu.processes import run_group
from gpu.sheet import Sheet, begin_sheet, file_of, found_sheet, settle, work

ROOT = Path(__file__).resolve().parents[1]
# In order of value: the module of gpu/ that has a function of the part's name, which gives its cases.
PARTS = {"correct": "correct", "speed": "speed", "tiles": "tune", "training": "training", "demo": "demo"}
MINUTES = 9.5
KEPT = Path()
STARTS = 0.85  # share of a part's time after which it begins nothing more
WANTED, AGAIN = 2, 75  # exit codes: refused; the device is broken, a new process goes on


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, metavar="FOLDER", help="where results go")
    where.add_argument(
        "--keep", type=Path, metavar="FOLDER", nargs="?", const=KEPT,
        help="take results into this tree; without FOLDER, plots and docs/gpu.md anew from those that it has",
    )  # fmt: skip
    parser.add_argument(
        "--part", choices=PARTS, action="append", help="one part; may be repeated (default: all)"
    )
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of each part (default: %(default)s)")
    parser.add_argument("--dry", action="store_true", help="on the CPU, to see that it runs")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        if options.keep is not None:
            renew(ROOT) if options.keep == KEPT else keep(options.keep, ROOT)
            return 0
        if options.child:
            return child(options.part[0], options.out, options.dry, options.minutes)
        parts = options.part or list(PARTS)
        if options.dry:
            clear(parts, options.out)
        codes: list[int] = []
        for part in parts:
            codes.append(run_part(part, options))
            if codes[-1] == WANTED:  # what refused this one refuses the others too
                break
        if options.dry and not options.part and not any(codes):
            rehearse(options.out, ROOT)
        return max(codes)
    except ValueError as error:
        print(f"gpu_run: {error}", file=sys.stderr)
        return WANTED


def clear(parts: list[str], folder: Path) -> None:
    """A dry run begins anew, and nowhere where results of a GPU lie."""
    sheets = {part: found_sheet(folder, part) for part in parts}
    real = [part for part, sheet in sheets.items() if sheet is not None and not sheet.dry]
    if real:
        raise ValueError(
            f"--out: {folder} holds results of a GPU ({', '.join(real)}); choose another folder for a dry run"
        )
    for part in parts:
        file_of(folder, part).unlink(missing_ok=True)


def run_part(part: str, options: argparse.Namespace) -> int:
    """One part in processes of its own: a kernel that breaks the device ends one of them, not the run. -> an
    exit code"""
    sheet = found_sheet(options.out, part)
    if sheet is not None and sheet.done:
        print(f"== {part}: whole in {options.out}; delete its file to run it anew", flush=True)
    else:
        sheet = work_on(part, options)
    if sheet is None:
        return WANTED
    for name in sheet.left or ():
        print(f"{part}: not run, out of time: {name}", flush=True)
    for name, reason in sheet.failed.items():
        print(f"{part}: FAILED: {name}: {reason}", flush=True)
    return 1 if sheet.failed or (options.dry and not sheet.done) else 0


def work_on(part: str, options: argparse.Namespace) -> Sheet | None:
    """-> what is there when its time is over or no case is left; None where it is refused."""
    until, code = time.monotonic() + 60 * options.minutes, AGAIN
    while code == AGAIN and (left := until - time.monotonic()) > 0:
        print(f"== {part}, {left / 60:.1f} minutes", flush=True)
        command = [sys.executable, __file__, "--child", "--part", part, "--out", str(options.out)]
        command += ["--minutes", str(left / 60), *(["--dry"] if options.dry else [])]
        code = run_group(command, left, env=environment(options.dry))
        if code not in (0, AGAIN, WANTED, None):
            code = mourn(part, options.out, code)
    return None if code == WANTED else found_sheet(options.out, part)


def mourn(part: str, folder: Path, code: int) -> int:
    """A process that died leaves the case it was at, which is not tried again: the others are. ValueError
    where it was at none."""
    sheet = found_sheet(folder, part)
    if sheet is None or sheet.now is None:
        raise ValueError(
            f"{part}: its process ended with {code} before its first case; what it printed says why"
        )
    settle(sheet, {"failed": f"the process died of it (exit code {code})"}, folder)
    return AGAIN


def environment(dry: bool) -> dict[str, str]:
    """Environment of a part. Triton reads the variable where a kernel is defined, so it is set before Python
    starts."""
    if not dry:
        return dict(os.environ)
    own = {"REFVID_DRY": "1", "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    return {"OMP_NUM_THREADS": "1", **os.environ, **own}


def child(part: str, folder: Path, dry: bool, minutes: float) -> int:
    """Run the cases of a part that its file does not hold."""
    until = time.monotonic() + 60 * minutes
    name_the_pack()
    from gpu.device import Device

    device = Device(dry, until, folder)
    sheet = begin_sheet(folder, part, device.machine(), dry)
    parent = os.getppid()

    def clock() -> float:
        # Whoever started this is gone: nothing more is begun.
        return time.monotonic() if os.getppid() == parent else float("inf")

    cases = getattr(importlib.import_module(f"gpu.{PARTS[part]}"), part)(device)
    starts = time.monotonic() + STARTS * (until - time.monotonic())
    return AGAIN if work(sheet, cases, folder, starts, clock, device.broken) else 0


def name_the_pack() -> None:
    """`refvid` is this folder, whatever it is called and whatever is installed."""
    spec = importlib.util.spec_from_file_location("refvid_folder", ROOT / "refvid.py")
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))


if __name__ == "__main__":
    sys.exit(main())
