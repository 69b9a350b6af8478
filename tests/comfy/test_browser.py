"""The workflow in ComfyUI's own frontend: dropped on the canvas, looked at, run with the Run button."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from refvid_client import failure

pytestmark = [pytest.mark.comfy, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "out" / "browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FIND = "require('module').createRequire(process.cwd() + '/').resolve('playwright-core')"


def missing() -> str | None:
    """What the browser tests lack here, and what to do about it."""
    if not shutil.which("node"):
        return "no node: install Node.js 20 or newer"
    if not os.environ.get("CHROMIUM") and not any(map(shutil.which, BROWSERS)):
        return "no Chromium: install one, or name it with CHROMIUM=/path/to/chromium"
    if subprocess.run(["node", "-e", FIND], cwd=ROOT, capture_output=True).returncode:
        return "no playwright-core: run npm install playwright-core in any folder and set NODE_PATH to its node_modules"
    return None


@pytest.fixture(scope="module")
def seen(server):
    """What tests/frontend/run_workflow.mjs saw. Its pictures stay in out/browser."""
    if reason := missing():
        pytest.skip(f"NOT RUN, the frontend was not tested: {reason}")
    workflow = ROOT / "workflows" / "masked_reference_to_video.json"
    command = ["node", str(ROOT / "tests/frontend/run_workflow.mjs"), server.url, str(workflow), str(OUT)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def prompt():
    return json.loads((ROOT / "workflows/api/masked_reference_to_video.json").read_text("utf-8"))


def test_nothing_is_missing_or_marked_red(seen):
    assert seen["missing"] == [] and seen["marked"] == []
    assert seen["holes"] == 0 and seen["dialog"] is None
    assert [error for error in seen["errors"] if error.startswith("uncaught")] == []


def test_run_sends_the_graph_of_the_api_file(seen, prompt):
    """By title, because the canvas counts its nodes; widgets that the file leaves to their default may come on top."""
    titles = {key: node["_meta"]["title"] for key, node in prompt.items()}
    sent_titles = {key: node["_meta"]["title"] for key, node in seen["prompt"].items()}
    sent = {sent_titles[key]: node for key, node in seen["prompt"].items()}
    assert sorted(sent) == sorted(titles.values())
    for key, node in prompt.items():
        wanted, given = named(node["inputs"], titles), named(sent[titles[key]]["inputs"], sent_titles)
        assert sent[titles[key]]["class_type"] == node["class_type"]
        assert {label: given.get(label) for label in wanted} == wanted


def named(inputs, titles):
    return {k: (titles[v[0]], v[1]) if isinstance(v, list) else v for k, v in inputs.items()}


def test_run_ends_in_a_video(seen, server):
    assert seen["status"]["status_str"] == "success", failure(seen)
    (made,) = [one for output in seen["outputs"].values() for one in output.get("images", ())]
    assert (server.base / made["type"] / made["subfolder"] / made["filename"]).stat().st_size > 0


def test_two_clicks_switch_background_removal_on(seen, prompt):
    assert len(seen["enabled"]) == len(prompt) + 4
    by_title = {node["_meta"]["title"]: node for node in seen["enabled"].values()}
    titles = {key: node["_meta"]["title"] for key, node in seen["enabled"].items()}
    reference = named(by_title["Masked Reference"]["inputs"], titles)
    assert reference["image"] == ("Join Image with Alpha", 0)
    assert reference["mask"] == ("Reference picture", 1)


def test_the_pictures_are_kept(seen):
    assert {file.name for file in OUT.glob("*.png")} >= {
        "masked_reference_to_video.png",
        "masked_reference_to_video-done.png",
    }
