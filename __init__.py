"""refvid: video that keeps the identity of given references, on the Wan video DiT, for ComfyUI.

Import name of the pack: this file gives it, and nothing else. ComfyUI loads the folder under its full path,
everything else loads it as `refvid`. Without the claim below every module would live twice in a process.
Nothing happens at import time.
"""

import importlib
import inspect
import sys
from pathlib import Path

WEB_DIRECTORY = "./web"

_PACKAGE = "refvid"
_OLDEST_COMFYUI = "0.25.0"
_NEEDED = ("Autogrow", "Schema")


def _missing_feature() -> str | None:
    """Feature that this ComfyUI lacks, as a clause: a probe for what the pack uses, not for a version
    number."""
    try:
        io = importlib.import_module("comfy_api.latest").io
        rope = importlib.import_module("comfy.ldm.wan.model").WanModel.rope_encode
    except (ImportError, AttributeError) as error:
        return f"its node interface or its Wan model could not be imported ({error})"
    absent = [f"io.{name}" for name in _NEEDED if not hasattr(io, name)]
    if absent:
        return f"its node interface comfy_api.latest lacks {' and '.join(absent)}"
    if "source_id" not in inspect.signature(rope).parameters:
        return "its Wan model cannot tell token streams apart (rope_encode has no source_id)"
    return None


def _require_comfyui() -> None:
    missing = _missing_feature()
    if missing is not None:
        raise ImportError(
            f"{_PACKAGE} needs ComfyUI {_OLDEST_COMFYUI} or newer: {missing}; update ComfyUI and restart it"
        )


def _claim_name() -> None:
    """Make this module importable as `refvid`, or refuse if another copy of the pack already is."""
    owner = sys.modules.setdefault(_PACKAGE, sys.modules[__name__])
    if Path(str(owner.__file__)).resolve() != Path(__file__).resolve():
        raise ImportError(
            f"two copies of {_PACKAGE} are installed, {Path(str(owner.__file__)).parent} and {Path(__file__).parent}; "
            "remove one of them and restart ComfyUI"
        )


async def comfy_entrypoint():
    """Extension of ComfyUI, asked for once. What is raised here is logged as one line without a traceback, so
    messages are complete."""
    _require_comfyui()
    _claim_name()
    return importlib.import_module(f"{_PACKAGE}.nodes").RefVidExtension()
