"""Nodes for the tests of faults only. Copied into the test server's custom_nodes."""

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import torch

PLAN = (
    "fault.json"  # in the input folder: what is to go wrong in this run; where it is not there, nothing does
)
REACHED = "reached.txt"  # beside it, once it has gone wrong


def values():
    return {
        "nothing": None,
        "number": 5,
        "negative": -(1 << 70),
        "nan": float("nan"),
        "infinite": float("inf"),
        "largest seed": (1 << 64) - 1,
        "numpy": np.float32(0.5),
        "text": "x",
        "empty list": [],
        "list": [1, 2],
        "empty dictionary": {},
        "dictionary": {"samples": 5},
        "pairs": [[None, {}]],
        "vector": torch.zeros(3),
        "whole numbers": torch.zeros(1, 8, 8, 3, dtype=torch.int64),
        "no pictures": torch.zeros(0, 8, 8, 3),
        "latent of no video": {"samples": torch.zeros(1, 4, 8, 8)},
        "object": object(),
    }


class RefVidTestAnything:
    """Value as its name says, through an output of type *."""

    RETURN_TYPES = ("*",)
    FUNCTION = "give"
    CATEGORY = "refvid/tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"what": ("STRING", {})}}

    def give(self, what):
        return (values()[what],)


class RefVidTestAgain:
    """Value that it is given, always anew, so that what follows it runs anew too."""

    RETURN_TYPES = ("*",)
    FUNCTION = "give"
    CATEGORY = "refvid/tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("*",)}}

    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")

    def give(self, value):
        return (value,)


class RefVidTestFault:
    """A model whose n-th evaluation goes wrong as input/fault.json says: {"at": n, "kind": ..., "block":
    index of the block inside which, or null for the whole model}; input/reached.txt is written then. Always
    made anew, so that what follows it runs anew too."""

    RETURN_TYPES = ("MODEL",)
    FUNCTION = "watch"
    CATEGORY = "refvid/tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")

    def watch(self, model):
        import folder_paths

        file = Path(folder_paths.get_input_directory()) / PLAN
        plan = json.loads(file.read_text("utf-8")) if file.exists() else {"at": -1}
        left = [plan["at"]]

        def around(executor, *args, **kwargs):
            left[0] -= 1
            if left[0] != 0:
                return executor(*args, **kwargs)
            file.with_name(REACHED).touch()
            if plan["block"] is None:
                _go_wrong(plan["kind"])
                return executor(*args, **kwargs)
            blocks = executor.class_obj.blocks
            block = blocks[plan["block"] % len(blocks)]
            handle = block.register_forward_hook(lambda *_: _go_wrong(plan["kind"]))
            try:
                return executor(*args, **kwargs)
            finally:
                handle.remove()

        model = model.clone()
        model.add_wrapper_with_key("diffusion_model", "refvid_test_fault", around)
        return (model,)


def _go_wrong(kind):
    import comfy.model_management

    if kind == "nothing":
        return
    if kind == "interrupt":
        comfy.model_management.interrupt_current_processing()
    elif kind == "out of memory":
        raise comfy.model_management.OOM_EXCEPTION("CUDA out of memory. Tried to allocate 20.00 GiB")
    else:
        raise RuntimeError(kind)


class RefVidTestDigest:
    """Says a digest of what it is given, bit for bit."""

    RETURN_TYPES = ()
    FUNCTION = "say"
    CATEGORY = "refvid/tests"
    OUTPUT_NODE = True
    INPUT_IS_LIST = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("*",)}}

    def say(self, value):
        digest = hashlib.sha256()
        _digest(value, digest)
        return {"ui": {"digest": [digest.hexdigest()]}}


def _digest(value, digest):
    if isinstance(value, torch.Tensor):
        digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    elif getattr(value, "is_nested", False):
        _digest(list(value.unbind()), digest)
    elif isinstance(value, dict):
        for key in sorted(value):
            digest.update(key.encode())
            _digest(value[key], digest)
    elif isinstance(value, (list, tuple)):
        for one in value:
            _digest(one, digest)
    else:
        digest.update(struct.pack("d", value) if isinstance(value, float) else repr(value).encode())


NODE_CLASS_MAPPINGS = {
    one.__name__: one for one in (RefVidTestAgain, RefVidTestAnything, RefVidTestFault, RefVidTestDigest)
}
