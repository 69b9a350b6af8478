"""A node that saves a conditioning in the format of core's Save Conditioning, for a ComfyUI that is older
than that node. Copied into the custom_nodes of the server that makes kept files."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file


class RefVidKeptSaveConditioning:
    """The text as `conditioning`, tensors under their names, lists of tensors under name.place, what is
    simple in the metadata."""

    RETURN_TYPES = ()
    FUNCTION = "save"
    CATEGORY = "refvid/tests"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"conditioning": ("CONDITIONING",), "filename_prefix": ("STRING", {})}}

    def save(self, conditioning, filename_prefix):
        import folder_paths

        ((text, options),) = conditioning
        tensors, simple = {"conditioning": text}, {}
        for name, value in options.items():
            if isinstance(value, torch.Tensor):
                tensors[name] = value
            elif isinstance(value, list | tuple):
                tensors |= {f"{name}.{place}": one for place, one in enumerate(value)}
            elif value is not None:
                simple[name] = value
        folder, name, counter, *_ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory()
        )
        whole = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
        path = Path(folder) / f"{name}_{counter:05}_.safetensors"
        save_file(whole, path, {"conditioning_options": json.dumps(simple)})
        return {}


NODE_CLASS_MAPPINGS = {"RefVidKeptSaveConditioning": RefVidKeptSaveConditioning}
