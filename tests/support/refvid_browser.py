"""Scripts of tests/frontend in a real browser, where there is one."""

import os
import shutil
import subprocess
from pathlib import Path

import refvid_patience as patience

ROOT = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FIND = "require('module').createRequire(process.cwd() + '/').resolve('playwright-core')"


def missing() -> str | None:
    """Lack of something that the browser tests need, and what to do about it."""
    if not shutil.which("node"):
        return "no node: install Node.js 20 or newer"
    if not os.environ.get("CHROMIUM") and not any(map(shutil.which, BROWSERS)):
        return "no Chromium: install one, or name it with CHROMIUM=/path/to/chromium"
    if subprocess.run(["node", "-e", FIND], cwd=ROOT, capture_output=True).returncode:
        return "no playwright-core: run npm install playwright-core in any folder and set NODE_PATH to its node_modules"
    return None


def in_browser(script: str, *arguments: object) -> str:
    """Output of a script of tests/frontend."""
    command = ["node", str(ROOT / "tests/frontend" / script), *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=patience.FRONTEND)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
