"""The archive that ComfyUI's registry makes of this pack, by the packer that makes it: comfy-cli, from PyPI.

`make test` puts comfy-cli into build/, and what it imports into .venv, whatever interpreter the tests run
under."""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import refvid_patience as patience

ROOT = Path(__file__).absolute().parents[2]
PACKERS = sorted(ROOT.glob("build/comfy-cli-*"))
INSIDE = ROOT / ".venv/bin/python"
# What `comfy node pack` does, into a file of our choice.
PACK = """
import sys
from comfy_cli.file_utils import zip_files
from comfy_cli.registry.config_parser import extract_node_configuration
zip_files(sys.argv[1], includes=extract_node_configuration().tool_comfy.includes)
"""
VALIDATE = "from comfy_cli.command.custom_nodes.command import app; app(['validate'])"


def missing() -> str | None:
    """Lack of something that packing needs, and what to do about it."""
    if not PACKERS:
        return "no comfy-cli in build/: make test brings it"
    if not (ROOT / ".git").exists():
        return "no git repository: the registry packs what git tracks"
    return None


def comfy_cli(code: str, *arguments: str) -> str:
    """Output of comfy-cli in the pack's folder. RuntimeError with its words where it fails."""
    python = INSIDE if INSIDE.is_file() else Path(sys.executable)
    with tempfile.TemporaryDirectory() as home:  # for settings of its own
        own = {"PYTHONPATH": str(PACKERS[-1]), "HOME": home, "DO_NOT_TRACK": "1", "COLUMNS": "1000"}
        command = [str(python), "-c", code, *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            timeout=patience.PROCESS,
        )
    if done.returncode:
        raise RuntimeError(f"comfy-cli: {done.stderr[-2000:]}")
    return done.stdout


def pack(target: Path) -> Path:
    """The archive, written to `target`. RuntimeError where the packer has anything to say."""
    if said := comfy_cli(PACK, str(target)):  # that it found no git, or not a file that git knows
        raise RuntimeError(f"comfy-cli: {said}")
    return target


def install(custom_nodes: Path, name: str = "refvid") -> Path:
    """The archive unpacked among custom nodes, as the registry's installers do; -> the pack's folder."""
    folder = custom_nodes / name
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as beside, zipfile.ZipFile(pack(Path(beside, "node.zip"))) as archive:
        archive.extractall(folder)
    return folder
