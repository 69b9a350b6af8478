"""Where ComfyUI is, which Python runs it, and a real server on a free port with only this pack in it."""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PID = "server.pid"  # in the base folder of a server
PACK = Path(__file__).absolute().parents[2]
INTERPRETERS = (".venv/bin/python", "venv/bin/python", ".venv/Scripts/python.exe", "venv/Scripts/python.exe")
FLAGS = ("--cpu", "--use-pytorch-cross-attention", "--disable-auto-launch", "--disable-api-nodes")


def is_comfyui(folder: Path) -> bool:
    return (folder / "main.py").is_file() and (folder / "comfy").is_dir()


def find_comfyui() -> Path | None:
    """COMFYUI_PATH; else a parent folder of the pack, or a `ComfyUI` in one; else ~/comfy/ComfyUI; else None.

    A COMFYUI_PATH that is no ComfyUI is a ValueError: whoever sets it wants exactly that one tested.
    """
    if chosen := os.environ.get("COMFYUI_PATH"):
        if not is_comfyui(Path(chosen)):
            raise ValueError(
                f"COMFYUI_PATH is {chosen}, which holds no main.py and comfy/; name ComfyUI's own folder"
            )
        return Path(chosen).absolute()
    beside = (folder for parent in PACK.parents for folder in (parent, parent / "ComfyUI"))
    return next(
        (folder for folder in (*beside, Path.home() / "comfy" / "ComfyUI") if is_comfyui(folder)), None
    )


def comfy_python(root: Path) -> Path:
    """COMFYUI_PYTHON; else the virtual environment inside `root`. The file may not exist."""
    if chosen := os.environ.get("COMFYUI_PYTHON"):
        return Path(chosen)
    inside = [root / name for name in INTERPRETERS]
    return next((python for python in inside if python.is_file()), inside[0])


def comfy_environment(*import_path: Path) -> dict[str, str]:
    """For a process under ComfyUI's interpreter: these folders on its import path, one thread, no safe-path mode."""
    folders = [*import_path, Path(__file__).parent / "refvid_cpu_torch"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    return {"OMP_NUM_THREADS": "1", **environment, "PYTHONPATH": os.pathsep.join(map(str, folders))}


@contextmanager
def serve(
    root: Path, base: Path, *flags: str, seconds: float = 120.0, folder: str = "refvid", pack: Path = PACK
) -> Iterator[str]:
    """A running ComfyUI whose models, inputs and outputs lie in `base`, with this pack, or that of another folder,
    linked in under the name `folder`; yields its URL."""
    packs = base / "custom_nodes"
    packs.mkdir(parents=True, exist_ok=True)
    if not (packs / folder).exists():
        (packs / folder).symlink_to(pack, target_is_directory=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(comfy_python(root)), "main.py", *FLAGS, "--port", str(port), "--base-directory", str(base)]
    command += ["--database-url", "sqlite:///:memory:", *flags]
    with (base / "server.log").open("w") as log:
        server = subprocess.Popen(
            command,
            cwd=root,
            env=comfy_environment(),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        (base / PID).write_text(str(server.pid))
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(server, url, base / "server.log", seconds)
            yield url
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _wait(server: subprocess.Popen, url: str, log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/system_stats", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    state = (
        f"stopped with code {server.poll()}"
        if server.poll() is not None
        else f"was silent for {seconds:.0f} s"
    )
    raise RuntimeError(f"ComfyUI {state}; the end of its log:\n{log.read_text()[-3000:]}")
