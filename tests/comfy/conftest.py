"""Tiny models in ComfyUI's own loaders, and a server with the shipped ones."""

import shutil
from pathlib import Path

import pytest
import refvid_tiny as tiny
from refvid_browser import in_browser, missing
from refvid_comfy import find_comfyui
from refvid_server import serve

from refvid import cli

# refvid_in_process imports ComfyUI, which may not happen before pytest_configure has said whether there is a
# GPU.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def vae(folder):
    from refvid_in_process import load_vae

    return load_vae(tiny.save_vae(folder))


@pytest.fixture(scope="module")
def t2v(folder):
    from refvid_in_process import load_model

    sizes = tiny.config()
    return load_model(tiny.save_dit(folder, "t2v.safetensors", sizes, tiny.dit_state(sizes)))


@pytest.fixture(scope="session")
def browser():
    """A browser that opens: where it does not, that is told once."""
    if reason := missing():
        pytest.skip(f"NOT RUN, the frontend was not tested: {reason}")
    assert in_browser("can_open.mjs") == "opened\n"


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory, server):
    """Server whose models `refvid comfyui-files` laid out, with one more pack: the sixth method.

    Depends on the common server: where ComfyUI does not start at all, that is told once.
    """
    base, root = tmp_path_factory.mktemp("ComfyUI"), find_comfyui()
    assert root is not None
    cli.main(["comfyui-files", "--dest", str(base)])
    pack = base / "custom_nodes" / "a_sixth_method"
    pack.mkdir(parents=True)
    shutil.copy(Path(tiny.__file__).with_name("refvid_sixth.py"), pack / "__init__.py")
    with serve(root, base) as client:
        yield client
