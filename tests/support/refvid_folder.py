"""A folder as a package of any name, as ComfyUI imports custom nodes."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def import_folder(name: str, folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
