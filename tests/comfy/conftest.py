"""Tiny models in ComfyUI's own loaders."""

import pytest
import refvid_tiny as tiny

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
