"""Quantised model files, checked as core unpacks them.

Core drops a scale that belongs to no layer it unpacks, without an error. What is left is a video of noise.
"""

from collections.abc import Mapping
from typing import Any

import torch
from comfy.quant_ops import QUANT_ALGOS
from torch import Tensor

from ...backbones.wan.files import QUANTISED, QUANTISED_FILE, is_quantised, prefix_of
from ...core.checkpoint import read_some
from ...core.header import shown
from ...core.records import read_object

QUANTISED_METADATA = "_quantization_metadata"  # {"layers": {layer: {"format": …}}}, in place of the marks
_MARK, OLD_SCALE = ".comfy_quant", ".scale_weight"
OLD_FORMAT = "float8_e4m3fn"  # of every layer in a file with `QUANTISED_FILE`
SCALES = (".weight_scale", OLD_SCALE, ".weight_s_rel")  # one of these every format has
MOST_MARK = 1 << 12  # bytes of JSON


def quantised_layers(
    path: str, what: str, tensors: Mapping[str, Tensor], metadata: dict[str, str], name: str
) -> set[str]:
    """The layers of a file that core unpacks. `tensors`: the file's, by their bare names. ValueError for a
    format that core does not know, a layer without a scale, and a scale without a layer."""
    formats = _formats(path, what, tensors, metadata, name)
    for layer, one in formats.items():
        if one not in QUANT_ALGOS:
            raise ValueError(
                f"{name}: {shown(layer)} is quantised as {shown(str(one))}; needed one of "
                f"{', '.join(QUANT_ALGOS)}"
            )
        scaled = any(layer + scale in tensors for scale in SCALES)
        if not scaled or f"{layer}.weight" not in tensors:
            lacks = shown(layer + (SCALES[0] if f"{layer}.weight" in tensors else ".weight"))
            raise ValueError(f"{name} has no {lacks}, and says that {shown(layer)} is quantised; needed both")
    for key in filter(is_quantised, tensors):
        layer = next((key.removesuffix(end) for end in QUANTISED if key.endswith(end)), None)
        if layer not in formats and key != QUANTISED_FILE:
            raise ValueError(
                f"{name} has {shown(key)}, and nothing that tells ComfyUI to use it: it would be dropped; "
                "needed "
                f"{_MARK} beside it, {QUANTISED_METADATA} among the metadata, or {QUANTISED_FILE}"
            )
    return set(formats)


def require_packed(key: str, came: Tensor, needed: Tensor, name: str) -> None:
    """ValueError where a quantised weight has another shape than the layer's. Whole numbers may have half of
    its columns: two numbers a byte."""
    packed = not came.is_floating_point() and came.shape == (*needed.shape[:-1], needed.shape[-1] // 2)
    if came.shape != needed.shape and not packed:
        raise ValueError(
            f"{name}: {key} is {list(came.shape)}; needed {list(needed.shape)}, or half as many columns of "
            "bytes"
        )


def _formats(
    path: str, what: str, tensors: Mapping[str, Tensor], metadata: dict[str, str], name: str
) -> dict[str, Any]:
    """The format that each layer names, from where core looks for it."""
    formats = {}
    if QUANTISED_METADATA in metadata:
        layers = read_object(metadata, QUANTISED_METADATA, name).get("layers")
        if not isinstance(layers, dict) or not all(isinstance(one, dict) for one in layers.values()):
            raise ValueError(
                f'{name}: its metadata "{QUANTISED_METADATA}" has no layers; needed {{"layers": {{layer: …}}}}'
            )
        formats |= {_bare(layer): one.get("format") for layer, one in layers.items()}
    elif QUANTISED_FILE in tensors:
        olds = [key for key in tensors if key.endswith(OLD_SCALE)]
        formats |= dict.fromkeys((key.removesuffix(OLD_SCALE) for key in olds), OLD_FORMAT)
    marks = [key for key in tensors if key.endswith(_MARK)]
    large = [
        key for key in marks if tensors[key].dtype != torch.uint8 or not 0 < tensors[key].numel() <= MOST_MARK
    ]
    if large:
        raise ValueError(
            f"{name}: {shown(large[0])} is {tensors[large[0]].dtype} of {list(tensors[large[0]].shape)}; "
            "needed up to "
            f"{MOST_MARK} bytes of JSON"
        )
    for key, value in read_some(path, what, lambda key: key.endswith(_MARK)).items():
        text = {key: value.numpy().tobytes().decode("utf-8", "replace")}
        formats[_bare(key).removesuffix(_MARK)] = read_object(text, key, name).get("format")
    return formats


def _bare(layer: str) -> str:
    return layer.removeprefix(prefix_of(layer))
