"""Set-ups that fail, and servers that are lost: told once with the server's last words, then nothing waits
for them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import refvid_patience as patience
from refvid_setups import REASON

ROOT = Path(__file__).resolve().parents[3]
SUPPORT = ROOT / "tests" / "support"
CONFTEST = """
from pathlib import Path
import pytest
import refvid_patience as patience
from refvid_server import serve
from refvid_setups import pytest_runtest_makereport
LIMITS

@pytest.fixture(scope="session")
def server(tmp_path_factory):
    print("a server is started", flush=True)
    with serve(Path(__file__).parent / "ComfyUI", tmp_path_factory.mktemp("base")) as client:
        yield client

@pytest.fixture(scope="module")
def placed(server):
    return server
"""
TESTS = """
import pytest

@pytest.mark.parametrize("number", range(4))
def test_a_prompt_ends(server, number):
    assert server.run({"number": number})

def test_another_ends(placed):
    assert placed.run({})

def test_without_a_server():
    pass
"""
SILENT = "import time; print('loading for ever', flush=True); time.sleep(1000)"
BROKEN = "raise SystemExit('no module of that name')"
# A server that answers when it is asked how it is; a prompt is another thing.
ANSWERS = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer({} if "history" in self.path else {"system": "well"})

    def do_POST(self):
        print("a prompt came", flush=True)
        PROMPT

    def answer(self, value):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def log_message(self, *_):
        pass

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""
DIES = ANSWERS.replace("PROMPT", "os._exit(3)")
HANGS = ANSWERS.replace("PROMPT", "self.answer({'prompt_id': 'one'})")
SILENCE = ANSWERS.replace("PROMPT", "time.sleep(1000)")
SERVERS = {  # main.py, limits that are shorter than usual, what is said of it, its last words
    "it never starts": (SILENT, "patience.START = 1", "it has not answered for 1 s", "loading for ever"),
    "it does not start": (BROKEN, "", "it stopped with code 1", "no module of that name"),
    "it dies": (DIES, "", "stopped with code 3", "a prompt came"),
    "a prompt never ends": (
        HANGS,
        "patience.PROMPT = 1",
        "has not ended a prompt within 1 s",
        "a prompt came",
    ),
    "it falls silent": (SILENCE, "patience.ANSWER = 1", "has not answered for 1 s", "a prompt came"),
}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """pytest over the tests of a folder, in a process of its own."""
    own = {"PYTHONPATH": str(SUPPORT), "COMFYUI_PYTHON": sys.executable, "COLUMNS": "300"}
    own |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # nothing but pytest is asked
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-ra",
        "-s",
        "-p",
        "no:cacheprovider",
        *arguments,
        str(folder),
    ]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=patience.PROCESS,
    )


@pytest.mark.parametrize(("main", "limits", "why", "last"), SERVERS.values(), ids=SERVERS)
def test_a_server_that_fails_is_told_once_with_its_last_words(tmp_path, main, limits, why, last):
    (tmp_path / "ComfyUI").mkdir()
    conftest = CONFTEST.replace("LIMITS", limits)
    for name, text in {"conftest.py": conftest, "test_it.py": TESTS, "ComfyUI/main.py": main}.items():
        (tmp_path / name).write_text(text)
    done = run(tmp_path)
    assert done.returncode == 1, done.stdout
    assert len(re.findall("^a server is started$", done.stdout, re.MULTILINE)) == 1
    *_, summary = done.stdout.splitlines()
    assert "1 passed, 4 skipped" in summary and ("1 failed" in summary or "1 error" in summary)
    assert len(re.findall(rf"^E .*ComfyUI .*{why}", done.stdout, re.MULTILINE)) == 1
    assert len(re.findall(rf"^E +{last}$", done.stdout, re.MULTILINE)) == 1
    assert f"SKIPPED [4] test_it.py: {REASON} test_it.py::test_a_prompt_ends[0]" in done.stdout


FIXTURE = """
import pytest
from refvid_setups import pytest_runtest_makereport

@pytest.fixture(scope="module")
def made():
    raise ValueError("no such file")

@pytest.fixture
def anew():
    raise ValueError("made for each test")
"""
WANTED = """
def test_one(made): pass
def test_two(made): pass
def test_three(made): pass
def test_alone(anew): pass
def test_alone_too(anew): pass
def test_own(): raise ValueError("no such file")
"""


def test_a_shared_set_up_is_told_once_and_every_other_failure_by_itself(tmp_path):
    (tmp_path / "conftest.py").write_text(FIXTURE)
    (tmp_path / "test_it.py").write_text(WANTED)
    done = run(tmp_path)
    assert "1 failed, 2 skipped, 3 errors" in done.stdout and done.returncode == 1


# ---- limits


def number(name: str, text: str) -> float:
    (found,) = re.findall(rf"^(?:export const )?{name} = (\d+)", text, re.MULTILINE)
    return float(found)


def test_what_waits_for_something_is_more_patient_than_that():
    """Else it would be told without what the other knows of it."""
    browser = (ROOT / "tests/frontend/patience.mjs").read_text("utf-8")
    assert number("timeout", (ROOT / "pyproject.toml").read_text("utf-8")) == patience.TEST
    assert number("PATIENCE", browser) / 1000 < patience.FRONTEND
    assert patience.START + max(patience.FRONTEND, patience.PROCESS, patience.PROMPT) < patience.TEST
    assert patience.TEST < patience.SOAK


# A limit that is spelled in its place: of a call, of a mark, or of an option of playwright.
SPELLED = re.compile(r"timeout(?:=|\(|: ?)(?:amount\()?\d|\.wait\(\d|setTimeout\(\d")
# It is asked again; and a graph is left alone for a while, so that a picture of it is whole.
MAY = {"tests/support/refvid_server.py": 1}


def test_no_limit_is_spelled_beside_the_two_files_of_limits():
    files = [file for kind in ("*.py", "*.mjs") for file in (ROOT / "tests").rglob(kind)]
    found = {str(file.relative_to(ROOT)): len(SPELLED.findall(file.read_text("utf-8"))) for file in files}
    assert {file: count for file, count in found.items() if count} == MAY
