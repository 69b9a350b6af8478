"""Rules on what goes over ComfyUI's wires: names are spelled in hosts/comfy/wire.py alone, and no hub names a
rider."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
COMFY = ROOT / "hosts" / "comfy"
ROOMS = ("hosts/comfy", "nodes", "core")
KEY = re.compile(r"refvid[_.]\w")
# What begins like a key and is none, by file, with the reason.
LEFT = {
    "core/adapter.py": {"refvid.config": "metadata of a file"},
    "core/checkpoint.py": {"refvid.kind": "metadata of a file", "refvid.version": "metadata of a file"},
    "core/files.py": {"refvid.json": "a file's name"},
    "core/identity.py": {"refvid.adapter": "metadata of a file"},
    "core/recipes.py": {"refvid.recipe": "metadata of a file"},
}
# What loops over riders, which it may not name: modules and classes of theirs.
HUBS = ("evaluation", "install", "blocks", "tail", "pairing", "guiders", "run", "recall", "wire")
RIDERS = {"References", "People", "Frames", "Source"}
FILES = {"references", "identities", "frames", "source"}


def files() -> Iterator[tuple[str, ast.AST]]:
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            yield file.relative_to(ROOT).as_posix(), ast.parse(file.read_text("utf-8"))


def spelled(tree: ast.AST) -> set[str]:
    """Literals that hold what looks like a key, pieces of formatted ones too."""
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    return {text for text in texts if KEY.search(text) and " " not in text}


def test_a_key_is_spelled_in_the_wire_alone() -> None:
    found = {file: names for file, tree in files() if (names := spelled(tree))}
    assert found.pop("hosts/comfy/wire.py")
    assert found == {file: set(names) for file, names in LEFT.items()}


@pytest.mark.parametrize("line", ['x["refvid_reach"]', 'f"refvid.references.{name}"', "KEY = 'refvid_x.y'"])
def test_the_search_finds_what_it_is_for(line: str) -> None:
    assert spelled(ast.parse(line))


@pytest.mark.parametrize("hub", HUBS)
def test_a_hub_names_no_rider(hub: str) -> None:
    tree = ast.parse((COMFY / f"{hub}.py").read_text("utf-8"))
    imported = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for name in (*(node.module or "").split("."), *(one.name for one in node.names))
    }
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not imported & FILES and not (imported | named) & RIDERS


def test_no_method_or_recipe_is_branched_on_outside_of_its_own_file() -> None:
    """A comparison with the name of a recipe."""
    recipes = ast.parse((ROOT / "core" / "recipes.py").read_text("utf-8"))
    names = {one.name for one in recipes.body if isinstance(one, ast.FunctionDef)} - {"register"}
    assert {"saber", "sama", "in_context"} <= names
    found = [
        (file, node.lineno)
        for file, tree in files()
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Constant) and side.value in names
    ]
    assert found == []
