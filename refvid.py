"""`python -m refvid` inside this folder as the registry unpacks it, with nothing installed; or `python
refvid.py`.

Python looks there for `refvid` in the folder itself. This file makes the package of the folder, whatever the
folder is called. It takes it off the import path, where its `nodes` and `kernels` would shadow others'
modules.
"""

import importlib.util
import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent

sys.path[:] = [place for place in sys.path if Path(place).resolve() != _FOLDER]  # noqa: TID251
_spec = importlib.util.spec_from_file_location(
    "refvid", _FOLDER / "__init__.py", submodule_search_locations=[str(_FOLDER)]
)
assert _spec is not None and _spec.loader is not None
sys.modules["refvid"] = _package = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_package)

if __name__ == "__main__":
    importlib.import_module("refvid.__main__").main()
