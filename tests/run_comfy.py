"""Run the tests marked `comfy` under ComfyUI's own interpreter, or say loudly why not.

Instead of that:
--object-info FILE      start ComfyUI and write what it says about our nodes and the core nodes that our
                        workflows use; tests/data/object_info.json is made this way
--ui-workflows [FOLDER] start ComfyUI and build workflows/*.json from workflows/api with its own frontend;
                        needs node, Chromium and playwright-core (tests/frontend/from_api.mjs)
--subgraphs [FOLDER]    the same for the blueprints subgraphs/*.json (tests/frontend/subgraphs.mjs)
--thumbnails [FOLDER]   run every workflow of the shipped model and write its picture for the template
                        browser; those of public weights, which are not here, get a drawn card
--gpu                   run those marked `gpu` too, which are left out otherwise: on a CUDA device, or
                        small on the CPU with REFVID_DRY=1
--slow                  run those marked `slow` instead, which are left out otherwise
A test file among the arguments is run alone; other arguments go to pytest.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).absolute().parent / "support"))

import refvid_comfy
from refvid_client import LOG
from refvid_server import serve

TESTS = Path(__file__).absolute().parent
MADE = {"ui-workflows": "workflows", "subgraphs": "subgraphs", "thumbnails": "workflows"}
SHIPPED = [file.name for file in (TESTS.parent / "demo").rglob("refvid_*")]
NEEDED = ("pytest", "pytest_timeout")
PROBE = (
    "import importlib.util as u, sys;"
    f"print(*[m for m in {NEEDED!r} if not u.find_spec(m)], *['python>=3.11'] * (sys.version_info < (3, 11)))"
)


def _loud(reason: str, advice: str) -> None:
    bar = "!" * 100
    print(f"{bar}\n!! NOT RUN: the tests inside ComfyUI.\n!! {reason}\n!! {advice}\n{bar}", flush=True)


def _why_not(python: Path) -> tuple[str, str] | None:
    """Reason why this interpreter cannot run the tests, and what to do about it."""
    if not python.is_file():
        return (
            f"ComfyUI's interpreter {python} does not exist.",
            "Name it with COMFYUI_PYTHON=/path/to/python.",
        )
    probe = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, cwd=tempfile.gettempdir())
    if probe.returncode:
        return f"{python} does not start: {probe.stderr.strip()[-300:]}", "Name another with COMFYUI_PYTHON."
    missing = probe.stdout.split()
    if missing:
        advice = f"Run: {python} -m pip install 'pytest>=9' pytest-timeout"
        return f"{python} lacks {', '.join(missing)}.", advice
    return None


def _pytest(root: Path, python: Path, arguments: list[str], gpu: bool, slow: bool) -> int:
    needed = {"mark.comfy", "mark.gpu"} if gpu else {"mark.comfy"}
    said = {file: file.read_text("utf-8") for file in sorted(TESTS.rglob("test_*.py"))}
    marked = [str(file) for file, text in said.items() if all(mark in text for mark in needed)]
    if not marked:
        _loud("No test file carries the mark `comfy`.", "Mark a file with: pytestmark = pytest.mark.comfy")
        return 0
    # Safe path: `python -m pytest` would put our folder on the import path, where `nodes` must be ComfyUI's.
    own = {"PYTHONSAFEPATH": "1", "COMFYUI_PATH": str(root), "COMFYUI_PYTHON": str(python)}
    # ComfyUI's imports warn, which is not ours to judge: warnings are shown here, not raised.
    chosen = any(a.split("::")[0].endswith(".py") and not a.startswith("-") for a in arguments)
    marks = f"comfy and {'gpu' if gpu else 'not gpu'} and {'slow' if slow else 'not slow'}"
    command = [str(python), "-m", "pytest", "-m", marks, "-W", "default", *arguments]
    command += [] if chosen else marked
    print(f"== tests inside ComfyUI: {root}, {python}", flush=True)
    return subprocess.run(
        command, cwd=TESTS.parent, env=refvid_comfy.comfy_environment(root) | own
    ).returncode


def _object_info(root: Path, target: Path) -> int:
    with tempfile.TemporaryDirectory() as base, serve(root, Path(base)) as server:
        every = server.get("/object_info")
        ours = {name: node for name, node in every.items() if node["python_module"] == "custom_nodes.refvid"}
        if not ours:
            said = [line for line in (Path(base) / LOG).read_text().splitlines() if "refvid" in line]
            print("\n".join(["ComfyUI loaded no node of ours:", *said]))
            return 1
    used = {name: every[name] for name in sorted(_used_by_workflows() & every.keys() - ours.keys())}
    target.parent.mkdir(parents=True, exist_ok=True)
    said = _without_files({**ours, **used})
    target.write_text(json.dumps(said, indent=1, sort_keys=True) + "\n", "utf-8")
    print(f"{len(ours)} nodes of ours and {len(used)} core nodes written to {target}")
    return 0


def _without_files(said):
    """Answer of a server without the files it offers: those of the pack, in an empty base folder."""
    if isinstance(said, dict):
        return {key: _without_files(value) for key, value in said.items()}
    if isinstance(said, list):
        return [_without_files(one) for one in said if one not in SHIPPED]
    return said


def _used_by_workflows() -> set[str]:
    """The node types in workflows/*.json and workflows/api/*.json."""
    folder = TESTS.parent / "workflows"
    canvases = [json.loads(file.read_text("utf-8")) for file in folder.glob("*.json")]
    prompts = [json.loads(file.read_text("utf-8")) for file in folder.glob("api/*.json")]
    types = {node["type"] for canvas in canvases for node in canvas["nodes"]}
    return types | {node["class_type"] for prompt in prompts for node in prompt.values()}


def _built(root: Path, name: str, target: Path) -> int:
    script = TESTS / "frontend" / name
    with tempfile.TemporaryDirectory() as base, serve(root, Path(base)) as server:
        return subprocess.run(["node", script, server.url, target.resolve()], check=False).returncode


def _thumbnails(root: Path, target: Path) -> int:
    """WORKFLOW.jpg beside every workflow: from a real run with the shipped model, else a card."""
    from refvid_cards import card
    from refvid_templates import is_public, read

    prompts = read(target / "api")
    for name in [name for name, graph in prompts.items() if is_public(graph)]:
        shown = card(prompts.pop(name), target / f"{name}.json", TESTS.parent / "demo" / "samples")
        shown.save(target / f"{name}.jpg", quality=90)
    with tempfile.TemporaryDirectory() as base, serve(root, Path(base)) as server:
        for name, graph in prompts.items():
            picture = _sheets if "sheet" in graph else _frames if "save" in graph else _words
            picture(server, graph).save(target / f"{name}.jpg", quality=90)
    return 0


def _frames(server, graph):
    """Picture of a workflow that makes a video: its one or two pictures, cut out, or the first picture of its
    video, then frames of what it makes, four in all."""
    import numpy as np
    from PIL import Image

    (made,) = server.outputs(graph)
    given = [node["inputs"] for node in graph.values() if node["class_type"] in ("LoadImage", "LoadVideo")]
    names = [name for one in given if "mask" not in (name := one.get("image") or one["file"])]
    frames = _pictures(made)
    size, count = frames[0].shape[1::-1], 4 - len(names)
    chosen = [frames[round(k * (len(frames) - 1) / (count - 1))] for k in range(count)]
    shown = [*(_cut_out(server.base / "input" / name, size) for name in names), *chosen]
    rows = [np.concatenate(shown[:2], 1), np.concatenate(shown[2:], 1)]
    return Image.fromarray(np.concatenate(rows)).resize((512, 512))


def _pictures(path: Path) -> list:
    """Pictures of a file, (H, W, 3)."""
    import av

    with av.open(str(path)) as clip:
        return [frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)]


def _cut_out(path: Path, size: tuple[int, int]):
    """A picture, or a video's first, on grey where it is transparent."""
    import numpy as np
    from PIL import Image

    picture = Image.open(path) if path.suffix == ".png" else Image.fromarray(_pictures(path)[0])
    picture = picture.convert("RGBA")
    ground = Image.new("RGB", picture.size, "#7f7f7f")
    cut = Image.composite(picture.convert("RGB"), ground, picture.getchannel("A"))
    return np.asarray(cut.resize(size))


def _sheets(server, graph):
    """Picture of a workflow that makes sheets: its contact sheets, one under the other."""
    from PIL import Image

    names = [name for name, one in graph.items() if one["class_type"] == "PreviewImage"]
    sheets = [Image.open(path) for name in names for path in server.outputs(graph, name)]
    height = 512 // len(sheets)
    shown = Image.new("RGB", (512, height * len(sheets)), "white")
    for index, sheet in enumerate(sheets):
        fitted = sheet.convert("RGB").resize((512, round(sheet.height * 512 / sheet.width)))
        shown.paste(fitted, (0, index * height + (height - fitted.height) // 2))
    return shown


def _words(server, graph):
    """Picture of a workflow that makes text: all of it, one under the other."""
    import textwrap

    from PIL import Image, ImageDraw

    entry = server.run(graph)
    names = [name for name, one in graph.items() if one["class_type"] == "PreviewAny"]
    lines = [line for name in names for line in "".join(entry["outputs"][name]["text"]).splitlines()]
    shown = Image.new("RGB", (512, 512), "white")
    wrapped = [part for line in lines for part in textwrap.wrap(line, 68, subsequent_indent=" " * 8)]
    ImageDraw.Draw(shown).multiline_text((16, 16), "\n".join(wrapped), "black", font_size=13, spacing=5)
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--object-info", type=Path, metavar="FILE")
    for name, folder in MADE.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER", nargs="?", const=TESTS.parent / folder)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--slow", action="store_true")
    options, rest = parser.parse_known_args()
    try:
        root = refvid_comfy.find_comfyui()
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if root is None:
        _loud(
            "No ComfyUI found beside this folder, above it or in ~/comfy.",
            "Name it with COMFYUI_PATH=/path/to/ComfyUI.",
        )
        made = (options.object_info, options.ui_workflows, options.subgraphs, options.thumbnails)
        return 2 if any(made) else 0
    python = refvid_comfy.comfy_python(root)
    if options.object_info is not None:
        return _object_info(root, options.object_info)
    if options.ui_workflows is not None:
        return _built(root, "from_api.mjs", options.ui_workflows)
    if options.subgraphs is not None:
        return _built(root, "subgraphs.mjs", options.subgraphs)
    if options.thumbnails is not None:
        return _thumbnails(root, options.thumbnails)
    refusal = _why_not(python)
    if refusal is not None:
        _loud(*refusal)
        return 0
    return _pytest(root, python, rest, options.gpu, options.slow)


if __name__ == "__main__":
    sys.exit(main())
