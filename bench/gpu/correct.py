"""The part `correct`: the tests marked `gpu`, of this pack alone and inside ComfyUI."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from functools import partial
from pathlib import Path

from .device import ROOT, Device
from .processes import run_group
from .sheet import Case

FOLDERS = ("tests/kernels", "tests/gpu")
TAIL = 6000  # characters of the output that are kept
LOUD = "!! NOT RUN"
ENDS = 15  # seconds left to write what was found
# Slim machines lack pytest-timeout, whose setting pyproject.toml has.
# What torch warns of on a GPU is not judged here.
PLAIN = ("-o", "addopts=--import-mode=importlib", "-W", "default", "-p", "no:cacheprovider", "-ra")


def correct(device: Device) -> list[Case]:
    """The pack's own tests first."""
    return [
        Case("the pack alone", partial(_alone, device.until)),
        Case("inside ComfyUI", partial(_inside_comfyui, device.dry, device.until)),
    ]


def _alone(until: float) -> dict:
    folders = [folder for folder in FOLDERS if (ROOT / folder).is_dir()]
    return run_tests([sys.executable, "-m", "pytest", "-m", "gpu", *PLAIN, *folders], until)


def _inside_comfyui(dry: bool, until: float) -> dict:
    reason = "a dry run leaves it to `make test`" if dry else _no_comfyui()
    if reason is not None:
        bar = "!" * 100
        print(f"{bar}\n!! NOT RUN: the GPU tests inside ComfyUI: {reason}\n{bar}", flush=True)
        return {"left_out": reason}
    return run_tests([sys.executable, "tests/run_comfy.py", "--gpu"], until)


def _no_comfyui() -> str | None:
    spec = importlib.util.spec_from_file_location("refvid_comfy", ROOT / "tests/support/refvid_comfy.py")
    assert spec is not None and spec.loader is not None
    support = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(support)
    try:
        return None if support.find_comfyui() else "no ComfyUI found; name it with COMFYUI_PATH"
    except ValueError as error:
        return str(error)


def run_tests(command: list[str], until: float) -> dict:
    """Run the tests. -> counts, names of those that passed and failed, the end of the output. failed: why
    that is no success."""
    with tempfile.TemporaryDirectory() as folder:
        report, log = Path(folder, "report.xml"), Path(folder, "log")
        # Safe path: `python -m pytest` would put our folder on the import path, where rooms shadow others'.
        environment = {**os.environ, "PYTHONSAFEPATH": "1"}
        with log.open("wb") as output:
            code = run_group(
                [*command, f"--junitxml={report}"], max(1.0, until - ENDS - time.monotonic()),
                cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
        tail = log.read_text("utf-8", "replace")[-TAIL:]
        found = read_report(report.read_text("utf-8")) if report.exists() else {}
    print(tail if code else "\n".join(tail.splitlines()[-8:]), flush=True)
    found["tail"] = tail
    if code is None:
        return {**found, "failed": "the tests ran out of time"}
    if code:
        return {**found, "failed": f"pytest ended with {code}"}
    if "passed" not in found and LOUD in tail:  # tests/run_comfy.py says why and ends well
        return {"left_out": " ".join(line[3:] for line in tail.splitlines() if line.startswith("!! "))}
    return found if found.get("passed") else {**found, "failed": "no test ran"}


def read_report(text: str) -> dict:
    """pytest's JUnit report: names of what passed, failed and was skipped."""
    found: dict[str, list[str]] = {"passed": [], "failures": [], "skipped": []}
    for case in ElementTree.fromstring(text).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        kinds = {child.tag for child in case}
        bad = bool(kinds & {"failure", "error"})
        found["failures" if bad else "skipped" if "skipped" in kinds else "passed"].append(name)
    return found
