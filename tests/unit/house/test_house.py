"""The rules of the house that a linter cannot hold: names, packages, sizes, what an import drags in."""

import ast
import asyncio
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import refvid_patience as patience

tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
NOT_OURS = {"build", "dist", "out", "runs", "node_modules", "__pycache__"}
ROOMS = [
    "backbones",
    "cli",
    "core",
    "demo",
    "drawing",
    "evaluation",
    "evidence",
    "hosts",
    "kernels",
    "media",
    "nodes",
    "training",
]
CARD = [
    "torch",
    "comfyui-frontend-package",
    "safetensors",
    "einops",
    "transformers",
    "opencv-python",
    "kornia",
]
FORBIDDEN_TEXT = [r"\btorch\.load\(", r"\bpickle\b", r"\bsys\.path\b", r"\blogging\.basicConfig\b"]
OPENS_PICKLES = "convert/pickles.py"  # as weights alone, never inside ComfyUI
LEAVES_THE_PATH = "refvid.py"  # takes the folder off the import path, where it is started inside it
FILE_LINES = 320
FUNCTION_LINES = 50


def python_files() -> list[Path]:
    """Python files of the pack, tests and benches included."""
    found = []
    for folder, names, files in os.walk(ROOT):
        names[:] = [
            n
            for n in names
            if (n not in NOT_OURS or Path(folder, n) == ROOT / "demo/runs")
            and not n.startswith(".")
            and not n.endswith(".egg-info")
        ]
        found += [Path(folder, file) for file in files if file.endswith(".py")]
    return sorted(found)


def relative(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def run_python(code: str, folder: Path) -> str:
    """Output of a fresh interpreter, started in a folder that is not ours."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=patience.PROCESS
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


class Loader:
    """Loads the root file as ComfyUI does, beside a ComfyUI with chosen features; undone after the test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.set = lambda name, module: monkeypatch.setitem(sys.modules, name, module)
        self.remove = lambda name: monkeypatch.delitem(sys.modules, name, raising=False)

    def root(self, file: Path, name: str) -> types.ModuleType:
        spec = importlib.util.spec_from_file_location(
            name, file, submodule_search_locations=[str(file.parent)]
        )
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        self.set(name, module)
        spec.loader.exec_module(module)
        return module

    def comfyui(self, *features: str, streams: bool = True) -> None:
        """A ComfyUI whose node interface has these names and no others, and whose Wan knows token streams or
        not."""
        latest = types.ModuleType("comfy_api.latest")
        latest.io = types.SimpleNamespace(**dict.fromkeys(features, object))
        self.set("comfy_api", types.ModuleType("comfy_api"))
        self.set("comfy_api.latest", latest)
        model = types.ModuleType("comfy.ldm.wan.model")
        model.WanModel = types.SimpleNamespace(
            rope_encode=(lambda t, source_id=0: t) if streams else (lambda t: t)
        )
        for name in ("comfy", "comfy.ldm", "comfy.ldm.wan"):
            self.set(name, types.ModuleType(name))
        self.set("comfy.ldm.wan.model", model)


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Loader:
    return Loader(monkeypatch)


# ---- names


def test_no_room_is_importable_at_top_level_here() -> None:
    for room in ROOMS:
        spec = importlib.util.find_spec(room)
        places = [] if spec is None else [spec.origin or "", *(spec.submodule_search_locations or [])]
        assert not [place for place in places if Path(place).resolve().is_relative_to(ROOT / room)], room


def test_no_room_is_importable_at_top_level_in_a_fresh_interpreter(tmp_path: Path) -> None:
    code = (
        "import importlib.util as u\n"
        f"for room in {ROOMS!r}:\n"
        "    spec = u.find_spec(room)\n"
        "    print(*([] if spec is None else [spec.origin, *(spec.submodule_search_locations or [])]), sep='\\n')\n"
    )
    assert str(ROOT) + os.sep not in run_python(code, tmp_path)


def test_tests_is_no_package() -> None:
    assert not (ROOT / "tests" / "__init__.py").exists()


def test_a_second_copy_is_refused_and_both_places_are_named(loader: Loader, tmp_path: Path) -> None:
    loader.comfyui("Autogrow", "Schema")
    loader.set("refvid", loader.root(ROOT / "__init__.py", "first"))
    copy = tmp_path / "refvid-copy" / "__init__.py"
    copy.parent.mkdir()
    shutil.copy(ROOT / "__init__.py", copy)
    with pytest.raises(ImportError, match="two copies of refvid") as refusal:
        asyncio.run(loader.root(copy, "second").comfy_entrypoint())
    assert str(ROOT) in str(refusal.value)
    assert str(copy.parent) in str(refusal.value)


def test_the_entry_point_claims_the_name_and_returns_the_extension(loader: Loader) -> None:
    loader.comfyui("Autogrow", "Schema")
    loader.remove("refvid")
    nodes = types.ModuleType("refvid.nodes")
    nodes.RefVidExtension = lambda: "the extension"
    loader.set("refvid.nodes", nodes)
    loaded = loader.root(ROOT / "__init__.py", "_x_some_x_folder-v3")
    assert asyncio.run(loaded.comfy_entrypoint()) == "the extension"
    assert sys.modules["refvid"] is loaded


@pytest.mark.parametrize(
    ("features", "named"),
    [
        ((), "io.Autogrow and io.Schema"),
        (("Schema",), "lacks io.Autogrow;"),
        (None, "could not be imported"),
        (("Autogrow", "Schema", "no streams"), "rope_encode has no source_id"),
    ],
    ids=["neither", "no Autogrow", "no interface", "no streams"],
)
def test_an_old_comfyui_is_refused_in_one_complete_sentence(loader: Loader, features, named: str) -> None:
    loader.comfyui(*(features or ()), streams="no streams" not in (features or ()))
    if features is None:
        loader.remove("comfy_api.latest")
    loader.remove("refvid")
    with pytest.raises(
        ImportError, match=r"^refvid needs ComfyUI 0\.25\.0 or newer: .*; update ComfyUI"
    ) as refusal:
        asyncio.run(loader.root(ROOT / "__init__.py", "pack").comfy_entrypoint())
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert "refvid" not in sys.modules, "a refused pack must not hold the name"


# ---- packages


def test_requirements_are_the_projects_and_the_cards() -> None:
    lines = (ROOT / "requirements.txt").read_text("utf-8").split("\n")
    assert lines == [*PROJECT["project"]["dependencies"], ""]
    assert [re.split(r"[<>=!~\[; ]", line)[0] for line in lines[:-1]] == CARD


def test_the_packages_listed_are_the_folders_with_an_init() -> None:
    listed = PROJECT["tool"]["setuptools"]["packages"]
    inits = [file.parent.relative_to(ROOT) for file in python_files() if file.name == "__init__.py"]
    assert sorted(listed) == sorted(".".join(("refvid", *folder.parts)) for folder in inits)


def test_importing_core_drags_in_no_host_and_no_slow_library(tmp_path: Path) -> None:
    if not (ROOT / "core").is_dir():
        pytest.skip("the room core/ does not exist yet")
    code = (
        "import importlib, importlib.util as u, pkgutil, sys, torch\n"
        "heavy = {'comfy', 'comfy_api', 'diffusers', 'triton', 'transformers', 'cv2'}\n"
        "before = heavy & set(sys.modules)\n"
        f"spec = u.spec_from_file_location('refvid', {str(ROOT / '__init__.py')!r},"
        f" submodule_search_locations=[{str(ROOT)!r}])\n"
        "sys.modules['refvid'] = u.module_from_spec(spec)\n"
        "core = importlib.import_module('refvid.core')\n"
        "for found in pkgutil.walk_packages(core.__path__, 'refvid.core.'):\n"
        "    importlib.import_module(found.name)\n"
        "print(*sorted(heavy & set(sys.modules) - before))\n"
    )
    assert run_python(code, tmp_path).strip() == ""


def test_no_module_imports_opencv_or_kornia_before_it_needs_them() -> None:
    """Another pack's install may have taken them away; the nodes load all the same."""
    early = {}
    for file in python_files():
        if file.relative_to(ROOT).parts[0] in ("tests", "bench"):
            continue
        for node in ast.parse(file.read_text("utf-8")).body:
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if {name.split(".")[0] for name in names} & {"cv2", "kornia"}:
                early[relative(file)] = node.lineno
    assert early == {}


# ---- sizes and words


def test_no_file_is_too_long() -> None:
    lengths = {relative(file): len(file.read_text("utf-8").splitlines()) for file in python_files()}
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES} == {}


def test_no_function_is_too_long_outside_kernels() -> None:
    long = {}
    for file in python_files():
        if relative(file).startswith("kernels/"):
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    long[f"{relative(file)}:{node.name}"] = lines
    assert long == {}


@pytest.mark.parametrize("pattern", FORBIDDEN_TEXT)
def test_no_file_outside_tests_mentions(pattern: str) -> None:
    outside = [file for file in python_files() if not relative(file).startswith("tests/")]
    found = [relative(file) for file in outside if re.search(pattern, file.read_text("utf-8"))]
    assert found == (
        [LEAVES_THE_PATH] if "sys" in pattern else [OPENS_PICKLES] if "logging" not in pattern else []
    )


def test_pickles_are_opened_as_weights_alone() -> None:
    calls = [
        node
        for node in ast.walk(ast.parse((ROOT / OPENS_PICKLES).read_text("utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).split(".")[-1] in ("load", "loads", "Unpickler")
    ]
    said = {one.arg: ast.unparse(one.value) for one in calls[0].keywords}
    assert len(calls) == 1 and said["weights_only"] == "True" and said["mmap"] == "True"


PAGES = sorted([*ROOT.glob("web/docs/*.md"), *ROOT.glob("docs/*.md"), ROOT / "README.md"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_table_is_torn(page: Path) -> None:
    """A blank line before a row makes the rest of a table plain text; only a head may follow one."""
    lines = [*page.read_text("utf-8").splitlines(), ""]
    begins = [n for n in range(1, len(lines)) if lines[n].startswith("|") and not lines[n - 1]]
    assert not [lines[n] for n in begins if not lines[n + 1].lstrip("| :").startswith("-")]
