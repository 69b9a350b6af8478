"""Plant faults in a copy of the tree, one at a time, and see whether the tests named for them fail.

    python tests/faults/plant.py          all of plant_wiring.py and plant_held.py
    python tests/faults/plant.py ID ...   these

Ends with 1 where one is missed, or where its old text is not found exactly once: then the code has moved,
and the table follows it.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))

import refvid_patience as patience
from plant_fault import Fault
from plant_table import FAULTS, OBVIOUS

ROOT = Path(__file__).resolve().parents[2]
PASSED, FAILED = 0, 1  # of pytest's exit codes; the others say that it could not run the tests


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("id", nargs="*", help="faults to plant (default: all)")
    asked = parser.parse_args().id
    unknown = sorted(set(asked) - {fault.id for fault in FAULTS})
    if unknown:
        parser.error(f"no fault is called {', '.join(unknown)}; choose of {', '.join(f.id for f in FAULTS)}")
    chosen = [fault for fault in FAULTS if not asked or fault.id in asked]
    with tempfile.TemporaryDirectory(prefix="refvid-plant-") as folder:
        copy = Path(folder, "refvid")
        copy_tree(copy)
        prove(copy, chosen)
        verdicts = [planted(copy, fault) for fault in chosen]
    caught = verdicts.count("caught")
    print(f"{caught} of {len(chosen)} faults are caught")
    return 0 if caught == len(chosen) else 1


def copy_tree(folder: Path) -> None:
    """Copy what git knows of, and new files that it does not ignore, as they lie in the tree."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, found.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)


def prove(copy: Path, chosen: list[Fault]) -> None:
    """SystemExit unless the tests pass in the copy as it is, and fail where nobody could overlook the fault:
    else a fault would be caught, or missed, for another reason than itself."""
    tests = sorted({test for fault in (*chosen, OBVIOUS) for test in fault.tests})
    code, told, seconds = run(copy, tests)
    if code != PASSED:
        sys.exit(f"without a fault the tests do not pass (pytest ended with {code}):\n{told}")
    print(f"without a fault the tests pass ({seconds:.0f} s)", flush=True)
    if planted(copy, OBVIOUS) != "caught":
        sys.exit(f"a fault that breaks everything is not seen: it is not {copy} that is imported")


def planted(copy: Path, fault: Fault) -> str:
    """ "caught", "missed" or what else came of it; the copy is afterwards as it was."""
    file = copy / fault.file
    whole = file.read_text("utf-8") if file.is_file() else ""
    count, found, seconds = whole.count(fault.old), "", 0.0
    if count == 1:
        file.write_text(whole.replace(fault.old, fault.new), "utf-8")
        try:
            code, told, seconds = run(copy, list(fault.tests))
        finally:
            file.write_text(whole, "utf-8")
        verdict = {PASSED: "missed", FAILED: "caught"}.get(code, f"broken ({code})")
        found = (
            ", ".join(re.findall(r"^FAILED (.+?)(?: - .*)?$", told, re.MULTILINE)) if code == FAILED else ""
        )
    else:
        verdict = "lost"
        found = f"its old text is found {count} times in {fault.file}: bring the table along"
    print(f"{verdict:8}{fault.id}: {fault.breaks} [{seconds:.0f} s] {found}".rstrip(), flush=True)
    return verdict


def run(copy: Path, tests: list[str]) -> tuple[int, str, float]:
    """pytest's exit code, what it said, and how long it took, up to the first failure. Nothing compiled is
    kept: two versions of a file may be of one size and one second."""
    pytest = shutil.which("pytest", path=str(Path(sys.executable).parent))
    if pytest is None:
        sys.exit(f"{sys.executable} has no pytest beside it; run this with the Python of .venv (make plant)")
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = [pytest, "-x", "-q", "-p", "no:cacheprovider", "--durations=0", "--durations-min=2", *tests]
    begun = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=copy, env=env, capture_output=True, text=True, timeout=patience.PROCESS
        )
    except subprocess.TimeoutExpired:
        return -1, f"no end within {patience.PROCESS:.0f} s", patience.PROCESS
    return done.returncode, done.stdout[-4000:] + done.stderr[-2000:], time.monotonic() - begun


if __name__ == "__main__":
    sys.exit(main())
