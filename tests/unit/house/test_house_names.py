"""One public name for one thing: what is defined at the top of more than one file has a reason, or is
renamed."""

import ast
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MOST = 10
# Names of several files by design.
SHARED = {
    "Evaluation": "one pass of a model, on either host; riders of both are written against it",
    "Rider": "a feature that travels with a run, on either host, with the same verbs",
    "attach": "the verb by which each rider of ComfyUI's is put on a conditioning",
    "export": "the stem by which every method of training writes its files",
    "main": "what an entry point is called in Python: of the package, and of the command line",
    "register_rider": "how a rider becomes known, on either host",
}


def defined(body: Iterable[ast.stmt]) -> Iterator[str]:
    """Names of functions, classes and constants, under conditions too."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from (one.id for one in ast.walk(target) if isinstance(one, ast.Name))
        elif isinstance(node, ast.If | ast.Try):
            yield from defined([*node.body, *node.orelse])


def public(text: str) -> set[str]:
    """The public ones of a file. Every file has a logger."""
    return {name for name in defined(ast.parse(text).body) if name[0] != "_" and name != "logger"}


def repeated(files: dict[str, str]) -> dict[str, list[str]]:
    """Public names of more than one file, from the files' texts."""
    places: dict[str, list[str]] = defaultdict(list)
    for file, text in sorted(files.items()):
        for name in public(text):
            places[name].append(file)
    return {name: found for name, found in places.items() if len(found) > 1}


@pytest.fixture(scope="module")
def found() -> dict[str, list[str]]:
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not listed:
        pytest.skip("no git here")
    files = [file for file in listed if not file.startswith(("tests/", "bench/")) and (ROOT / file).exists()]
    return repeated({file: (ROOT / file).read_text("utf-8") for file in files})


def test_a_public_name_stands_for_one_thing(found):
    assert {name: files for name, files in found.items() if name not in SHARED} == {}
    assert len(SHARED) <= MOST


def test_every_name_with_a_reason_is_one_of_several_files(found):
    assert [name for name in SHARED if name not in found] == []


def test_names_are_found_in_tuples_and_under_conditions():
    first = "import os\nlogger = 1\nA, _B = 1, 2\nif os.name:\n    def run(): ...\nelse:\n    C: int = 3\n"
    assert public(first) == {"A", "run", "C"}
    second = "class C:\n    A = 1\n    def run(self): ...\n"
    assert repeated({"b.py": second, "a.py": first, "c.py": "a = C = 1"}) == {"C": ["a.py", "b.py", "c.py"]}
