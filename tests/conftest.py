"""Gives the pack its name, seeds torch. Everything else a test needs lies in tests/support."""

import gc
import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from refvid_folder import import_folder
from refvid_gpu import DRY, missing  # before Triton, which reads the environment
from refvid_setups import pytest_runtest_makereport as pytest_runtest_makereport

ROOT = Path(__file__).resolve().parents[1]
gc.disable()  # until all is imported: pytest_collection_finish

if "refvid" not in sys.modules:  # whatever the clone is called, and whether or not it was installed
    import_folder("refvid", ROOT)

SERVED_FOLDER = "ComfyUI-refvid.v1"
HAS_HYPOTHESIS = importlib.util.find_spec("hypothesis") is not None  # ComfyUI's interpreter may lack it
HAS_COMFYUI = importlib.util.find_spec("comfy") is not None
ON_CUDA = torch.cuda.is_available() and not DRY


def pytest_configure(config: pytest.Config) -> None:
    """Properties are drawn alike each time. ComfyUI reads its options when first imported, and takes a GPU
    for granted."""
    if ON_CUDA:  # beside versions that are not ours to choose warnings are shown, not raised
        config.addinivalue_line("filterwarnings", "default")
    if HAS_HYPOTHESIS:
        # A busy machine is not a failure, and a gate draws the same examples each time; to draw others:
        # pytest --hypothesis-profile default
        hypothesis = importlib.import_module("hypothesis")
        slow = [hypothesis.HealthCheck.too_slow]
        hypothesis.settings.register_profile(
            "refvid", deadline=None, derandomize=True, suppress_health_check=slow
        )
        hypothesis.settings.load_profile("refvid")
    if HAS_COMFYUI and not ON_CUDA:
        options = importlib.import_module("comfy.cli_args").args
        options.cpu = options.use_pytorch_cross_attention = True
    if HAS_COMFYUI:
        try:
            importlib.import_module("comfy.sd")
        except Exception as error:  # noqa: BLE001  (else every file would tell it)
            pytest.exit(f"NOT RUN, ComfyUI cannot be imported: {error!r}", 1)


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Folders whose files import ComfyUI at their top are left to ComfyUI's interpreter."""
    inside = collection_path in (ROOT / "tests" / "comfy", ROOT / "tests" / "parity")
    return True if inside and not HAS_COMFYUI else None


def pytest_collection_finish() -> None:
    """Modules stay to the end and are not looked through for garbage again and again, which takes a quarter
    of the time where torch.compile traces."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


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
    import refvid_base_folder
    from refvid_comfy import find_comfyui
    from refvid_server import serve

    root, base = find_comfyui(), tmp_path_factory.mktemp("base")
    assert root is not None
    refvid_base_folder.fill(base)
    with serve(root, base, folder=SERVED_FOLDER) as client:
        yield client


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
