"""ComfyUI-GGUF's own loader, and tiny Wan files in its format."""

import os
from pathlib import Path

import numpy as np
import torch
from refvid_comfy import find_comfyui
from torch import Tensor

FOLDER = "ComfyUI-GGUF"


def find_pack() -> Path | None:
    """COMFYUI_GGUF_PATH; else the folder among ComfyUI's custom nodes, or beside ComfyUI; else None."""
    if chosen := os.environ.get("COMFYUI_GGUF_PATH"):
        return Path(chosen)
    root = find_comfyui()
    folders = [] if root is None else [root / "custom_nodes" / FOLDER, root.parent / FOLDER]
    return next((folder for folder in folders if (folder / "loader.py").is_file()), None)


def write(path: Path, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A Wan in Q8_0, its blocks' matrices quantised, the rest in fp32. -> what the file stands for, in
    fp32."""
    import gguf

    kind = gguf.GGMLQuantizationType.Q8_0
    writer, held = gguf.GGUFWriter(str(path), "wan"), {}
    for key, value in state.items():
        array = value.float().numpy()
        if key.startswith("blocks.") and key.endswith(".weight") and array.ndim == 2:
            packed = gguf.quants.quantize(array, kind)
            writer.add_tensor(key, packed, raw_dtype=kind)
            array = np.ascontiguousarray(gguf.quants.dequantize(packed, kind))
        else:
            writer.add_tensor(key, array)
        held[key] = torch.from_numpy(array.astype(np.float32).copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return held
