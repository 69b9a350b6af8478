"""Places of ComfyUI and of the Python that runs it."""

import os
from pathlib import Path

PACK = Path(__file__).absolute().parents[2]
INTERPRETERS = (".venv/bin/python", "venv/bin/python", ".venv/Scripts/python.exe", "venv/Scripts/python.exe")


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
    """For a process under ComfyUI's interpreter: these folders on its import path, one thread, no safe-path
    mode."""
    folders = [*import_path, Path(__file__).parent / "refvid_cpu_torch"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    return {"OMP_NUM_THREADS": "1", **environment, "PYTHONPATH": os.pathsep.join(map(str, folders))}
