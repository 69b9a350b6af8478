"""Contracts of imports between rooms, as pyproject.toml says them: all are kept."""

import subprocess
import sys
from pathlib import Path

import pytest
from refvid_patience import PROCESS

ROOT = Path(__file__).resolve().parents[3]
LINTER = Path(sys.executable).with_name("lint-imports")


@pytest.mark.skipif(not LINTER.exists(), reason="import-linter is not installed")
def test_every_contract_of_imports_is_kept():
    """Started where no room of ours lies on the import path."""
    done = subprocess.run(
        [LINTER, "../pyproject.toml", "--no-cache"],
        cwd=ROOT / ".ci",
        capture_output=True,
        text=True,
        timeout=PROCESS,
        check=False,
    )
    assert done.returncode == 0 and "0 broken" in done.stdout, done.stdout[-2000:] + done.stderr[-1000:]
