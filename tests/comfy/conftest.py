"""Tiny models in ComfyUI's own loaders, and one real server whose pack lies in a folder with a dash and a dot."""

import pytest
import refvid_comfy
import refvid_files
import refvid_tiny as tiny
from refvid_client import Client

FOLDER = "ComfyUI-refvid.v1"


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    root = refvid_comfy.find_comfyui()
    assert root is not None
    base = tmp_path_factory.mktemp("base")
    refvid_files.fill(base)
    with refvid_comfy.serve(root, base, folder=FOLDER) as url:
        yield Client(url, base, FOLDER)


# refvid_run imports ComfyUI, which may not happen before pytest_configure has said whether there is a GPU.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def vae(folder):
    from refvid_run import load_vae

    return load_vae(tiny.save_vae(folder))


@pytest.fixture(scope="module")
def t2v(folder):
    from refvid_run import load_model

    sizes = tiny.config()
    return load_model(tiny.save_dit(folder, "t2v.safetensors", sizes, tiny.dit_state(sizes)))
