"""One real server for all tests that want one; the pack lies in a folder with a dash and a dot in its name."""

import pytest
import refvid_comfy
import refvid_files
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
