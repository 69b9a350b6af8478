"""Gives the pack its name, seeds torch. Everything else a test needs lies in tests/support."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from refvid_device import DRY, missing  # before Triton, which reads the environment
from refvid_folder import import_folder

ROOT = Path(__file__).resolve().parents[1]

if "refvid" not in sys.modules:  # whatever the clone is called, and whether or not it was installed
    import_folder("refvid", ROOT)

SERVED_FOLDER = "ComfyUI-refvid.v1"
HAS_HYPOTHESIS = importlib.util.find_spec("hypothesis") is not None  # ComfyUI's interpreter may lack it
HAS_COMFYUI = importlib.util.find_spec("comfy") is not None
ON_CUDA = torch.cuda.is_available() and not DRY


def pytest_configure(config: pytest.Config) -> None:
    """Properties are drawn alike each time. ComfyUI reads its options when first imported, and takes a GPU for
    granted."""
    if ON_CUDA:  # beside versions that are not ours to choose warnings are shown, not raised
        config.addinivalue_line("filterwarnings", "default")
    if HAS_HYPOTHESIS:
        # A busy machine is not a failure, and a gate draws the same examples each time; to draw others:
        # pytest --hypothesis-profile default
        settings = importlib.import_module("hypothesis").settings
        settings.register_profile("refvid", deadline=None, derandomize=True)
        settings.load_profile("refvid")
    if HAS_COMFYUI and not ON_CUDA:
        options = importlib.import_module("comfy.cli_args").args
        options.cpu = options.use_pytorch_cross_attention = True


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """What imports ComfyUI at the top of its files is left to ComfyUI's interpreter."""
    inside = collection_path in (ROOT / "tests" / "comfy", ROOT / "tests" / "parity")
    return True if inside and not HAS_COMFYUI else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test of the GPU never passes in silence where there is none."""
    reason = missing() if item.get_closest_marker("gpu") else None
    if reason is not None:
        pytest.fail(reason, pytrace=False)


def pytest_report_header() -> str | None:
    return (
        None
        if HAS_COMFYUI
        else "tests/comfy, tests/parity: not in this run, no ComfyUI here (see tests/run_comfy.py)"
    )


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One real server for the tests inside ComfyUI, whose pack lies in a folder with a dash and a dot."""
    import refvid_comfy
    import refvid_files
    from refvid_client import Client

    root, base = refvid_comfy.find_comfyui(), tmp_path_factory.mktemp("base")
    assert root is not None
    refvid_files.fill(base)
    with refvid_comfy.serve(root, base, folder=SERVED_FOLDER) as url:
        yield Client(url, base, SERVED_FOLDER)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
