"""A real ComfyUI server on a free port, with only this pack in it."""

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import refvid_patience as patience
from refvid_client import LOG, Client, last_words
from refvid_comfy import PACK, comfy_environment, comfy_python

FLAGS = ("--cpu", "--use-pytorch-cross-attention", "--disable-auto-launch", "--disable-api-nodes")


@contextmanager
def serve(root: Path, base: Path, folder: str = "refvid", pack: Path = PACK) -> Iterator[Client]:
    """A ComfyUI that runs, whose models, inputs and outputs lie in `base`.

    `pack` is linked in under the name `folder`, unless a pack of that name is there. RuntimeError with the
    last lines of its log where it does not start."""
    packs = base / "custom_nodes"
    packs.mkdir(parents=True, exist_ok=True)
    if not (packs / folder).exists():
        (packs / folder).symlink_to(pack, target_is_directory=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(comfy_python(root)), "main.py", *FLAGS, "--port", str(port), "--base-directory", str(base)]
    command += ["--database-url", "sqlite:///:memory:"]
    with (base / LOG).open("w") as log:
        process = subprocess.Popen(
            command, cwd=root, env=comfy_environment(), stdout=log, stderr=subprocess.STDOUT
        )
    try:
        client = Client(f"http://127.0.0.1:{port}", base, folder, process)
        _wait(client)
        yield client
    finally:
        process.terminate()
        try:
            process.wait(patience.END)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(client: Client) -> None:
    """Return once the server answers."""
    until = time.monotonic() + patience.START
    while client.process.poll() is None and time.monotonic() < until:
        try:
            with urllib.request.urlopen(f"{client.url}/system_stats", timeout=5):  # then it is asked again
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    code = client.process.poll()
    state = f"has not answered for {patience.START:.0f} s" if code is None else f"stopped with code {code}"
    raise RuntimeError(f"ComfyUI did not start: it {state}. {last_words(client.base)}")
