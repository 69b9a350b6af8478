"""Write tests/data/VERSION: everything of today that later versions must go on to read.

    .venv/bin/python tests/support/refvid_kept_make.py VERSION

Needs ComfyUI, as tests/run_comfy.py finds it. Run it at a release: it writes to no folder that is there.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from refvid_comfy import find_comfyui
from refvid_folder import import_folder

ROOT = Path(__file__).resolve().parents[2]
import_folder("refvid", ROOT)  # this folder's code, whatever is installed

from refvid_client import Client, edited  # noqa: E402
from refvid_kept import DATA, Kept, made  # noqa: E402
from refvid_kept_conditioning import CORES, OURS, PREFIX, carries_ours, with_saves  # noqa: E402
from refvid_kept_graphs import GRAPHS  # noqa: E402
from refvid_kept_models import make_models  # noqa: E402
from refvid_kept_parts import IDENTITY  # noqa: E402
from refvid_server import serve  # noqa: E402
from refvid_templates import DEMO  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

READS_SOMEONE = "identity_from_video"  # a workflow that saves an identity


def make(folder: Path) -> None:
    """Graphs and files first, then what a real server makes of them."""
    shutil.copytree(ROOT / "workflows", folder / "workflows", ignore=shutil.ignore_patterns("*.jpg", "api"))
    (folder / "api").mkdir()
    for name in DEMO:
        shutil.copy(ROOT / "workflows" / "api" / f"{name}.json", folder / "api")
    for name, build in GRAPHS.items():
        (folder / "api" / f"{name}.json").write_text(json.dumps(build(), indent=1) + "\n", "utf-8")
    make_models(folder / "models")
    shutil.copytree(ROOT / "demo" / "samples", folder / "inputs")
    kept, results = Kept(folder), {}
    with tempfile.TemporaryDirectory() as base, _server(Path(base)) as server:
        kept.place(server.base)
        _keep_identity(kept, server)
        saver = CORES if CORES in server.get("/object_info") else OURS
        for name, graph in kept.graphs.items():
            results |= made(server, name, with_saves(kept.asked(graph), name, saver))
        _keep_conditionings(kept, server)
    halves = {key: one.half() if one.numel() > 1 else one for key, one in results.items()}
    save_file({key: one.contiguous() for key, one in halves.items()}, folder / "results.safetensors")


@contextmanager
def _server(base: Path) -> Iterator[Client]:
    """Server with the node that saves conditionings, and folders for what is placed."""
    root = find_comfyui()
    if root is None:
        sys.exit("no ComfyUI found; name it with COMFYUI_PATH=/path/to/ComfyUI")
    for kind in ("diffusion_models", "text_encoders", "vae", "loras"):
        (base / "models" / kind).mkdir(parents=True)
    for name in ("input", "custom_nodes"):
        (base / name).mkdir()
    shutil.copy(Path(__file__).with_name("refvid_kept_nodes.py"), base / "custom_nodes")
    with serve(root, base) as server:
        yield server


def _keep_identity(kept: Kept, server: Client) -> None:
    """Made by Save Identity, for the graphs that load one."""
    graph = edited(kept.asked(kept.graphs[READS_SOMEONE]), {"save_identity.filename_prefix": "kept_identity"})
    made(server, READS_SOMEONE, graph)
    (file,) = (server.base / "output").glob("kept_identity*")
    shutil.copy(file, kept.folder / "inputs" / IDENTITY)
    kept.place(server.base)


def _keep_conditionings(kept: Kept, server: Client) -> None:
    """Those that carry more than a text."""
    target = kept.folder / "conditionings"
    target.mkdir()
    for file in sorted((server.base / "output" / PREFIX).iterdir()):
        if carries_ours(file):
            shutil.copy(file, target / f"{file.name.split('_0000')[0]}.safetensors")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("version")
    folder = DATA / parser.parse_args().version
    if folder.exists():
        sys.exit(f"{folder} is there already; what a version left is not made anew")
    with tempfile.TemporaryDirectory(dir=DATA) as beside:
        made_here = Path(beside) / folder.name
        make(made_here)
        made_here.rename(folder)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
