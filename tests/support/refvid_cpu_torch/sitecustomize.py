"""Lets a CUDA build of torchvision import beside a CPU build of torch, so that ComfyUI starts on such a
machine.

Python imports a module of this name at start when its folder is on PYTHONPATH; tests/support/refvid_comfy.py
puts it there for ComfyUI's processes only. Where torchvision's own library loads, nothing is changed."""

import importlib.abc
import importlib.machinery
import sys
from pathlib import Path

OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _declare_operators(folder: Path) -> None:
    """torchvision registers fakes for operators that only its native library declares."""
    import torch

    for library in folder.glob("_C*"):
        try:
            torch.ops.load_library(library)
        except OSError:
            for name in OPERATORS:
                torch.library.define(f"torchvision::{name}", SIGNATURE)


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            _declare_operators(Path(spec.submodule_search_locations[0]))
        return spec


sys.meta_path.insert(0, _BeforeTorchvision())
