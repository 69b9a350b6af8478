"""Original-format Wan safetensors of any size into our modules; anything else is refused by name."""

import json
from pathlib import Path

import torch
from torch import Tensor

from ..core.checkpoint import Shapes, count_blocks, read_safetensors, read_some
from ..core.semantic import KEYS, SemanticModules, is_module_key, semantic_config, semantic_state
from .dit import DiTConfig, WanDiT
from .vae import WanVAE

HEAD_SIZE = 128  # every published Wan; a file with another one says so in its metadata
# Parameters that only some released variant has, and what it is called: they have a forward of their own.
FOREIGN_KEYS = {
    "vace_patch_embedding.weight": "VACE",
    "control_adapter.conv.weight": "Camera control",
    "ref_conv.weight": "Fun Control with a reference convolution",
    "audio_proj.audio_proj_glob_1.layer.bias": "HuMo",
    "casual_audio_encoder.encoder.final_linear.weight": "S2V",
    "face_adapter.fuser_blocks.0.k_norm.weight": "Animate",
    "patch_embedding_pose.weight": "SCAIL",
    "img_emb.emb_pos": "first-and-last-frame (FLF2V)",
}


def load_dit(
    path: str | Path, dtype: torch.dtype = torch.float32, device: str = "cpu", what: str = "--dit"
) -> tuple[WanDiT, dict[str, str]]:
    """A Wan DiT in original format: T2V (16 channels), I2V and Fun-InP (36), 48-channel TI2V, SAMA's without its modules (`load_modules`).

    -> (model in eval mode, the file's metadata). ValueError where the file is another variant or a key is missing.
    """
    state, metadata = read_safetensors(path, what)
    state = {key.removeprefix("model.diffusion_model."): value for key, value in state.items()}
    state = {key: value for key, value in state.items() if key not in KEYS}
    model = on_meta(WanDiT, dit_config(state, metadata, f"{what}: {Path(path).name}"))
    return fill_parameters(model, state, dtype, device, f"{what}: {Path(path).name}"), metadata


def load_modules(
    path: str | Path, dtype: torch.dtype = torch.float32, device: str = "cpu", what: str = "--dit"
) -> SemanticModules | None:
    """SAMA's modules in a file, in eval mode; None where it holds none. ValueError where it holds some of them only."""
    state = semantic_state(read_some(path, what, is_module_key))
    if not state:
        return None
    name = f"{what}: {Path(path).name}"
    return fill_parameters(on_meta(SemanticModules, semantic_config(state, name)), state, dtype, device, name)


def dit_config(state: dict[str, Tensor], metadata: dict[str, str], what: str) -> DiTConfig:
    """Sizes from parameter shapes; `heads` from metadata "config", else width / 128."""
    for key, variant in FOREIGN_KEYS.items():
        if key in state:
            raise ValueError(
                f"{what} is a Wan {variant} model, which has a forward of its own; give T2V, I2V or Fun-InP"
            )
    shape = Shapes(state, what)
    width, in_channels = shape["patch_embedding.weight"][:2]
    return DiTConfig(
        width=width,
        ffn_width=shape["blocks.0.ffn.0.weight"][0],
        heads=_heads(metadata, width, what),
        layers=count_blocks(state, "blocks."),
        in_channels=in_channels,
        out_channels=shape["head.head.weight"][0] // 4,
        text_width=shape["text_embedding.0.weight"][1],
        time_width=shape["time_embedding.0.weight"][1],
        image_width=shape["img_emb.proj.1.weight"][1] if "img_emb.proj.1.weight" in state else None,
    )


def _heads(metadata: dict[str, str], width: int, what: str) -> int:
    """From metadata "config" ({"transformer": {"num_heads": n}}), else heads of 128 features."""
    try:
        config = json.loads(metadata.get("config", "{}"))
        heads = config.get("transformer", {}).get("num_heads", width / HEAD_SIZE)
    except (ValueError, AttributeError) as error:
        raise ValueError(f'{what}: its metadata "config" is not a JSON object ({error})') from error
    if heads != int(heads) or heads < 1 or width % heads or width // int(heads) % 2:
        raise ValueError(
            f"{what}: width {width} does not split into {heads} heads of even size; name the number of heads in the "
            'file\'s metadata: config = {"transformer": {"num_heads": …}}'
        )
    return int(heads)


def load_vae(
    path: str | Path, dtype: torch.dtype = torch.float32, device: str = "cpu", what: str = "--vae"
) -> WanVAE:
    """A Wan 2.1 VAE in original format, of any width, in eval mode."""
    state, _ = read_safetensors(path, what)
    name = f"{what}: {Path(path).name}"
    if "decoder.upsamples.0.upsamples.0.residual.2.weight" in state:
        raise ValueError(f"{name} is the Wan 2.2 VAE (48 channels); this needs the Wan 2.1 VAE (16 channels)")
    model = on_meta(WanVAE, Shapes(state, name)["decoder.head.0.gamma"][0])
    filled = fill_parameters(model, state, dtype, device, name)
    # Buffers that no file holds: made anew, since the module was built without storage.
    fresh = WanVAE(8)
    filled.mean, filled.deviation = fresh.mean.to(device), fresh.deviation.to(device)
    return filled


def on_meta(build, *sizes):
    """build(*sizes) without storage for its parameters."""
    with torch.device("meta"):
        return build(*sizes)


def fill_parameters(model, state: dict[str, Tensor], dtype: torch.dtype, device: str, what: str):
    """Give the parameters their values, strictly: every key once, every shape right."""
    small = sorted(k for k, v in state.items() if v.is_floating_point() and v.element_size() < 2)
    if small:
        dtype_name = state[small[0]].dtype
        raise ValueError(
            f"{what}: {small[0]} is {dtype_name}; quantised files load in ComfyUI, here fp32, fp16 or bf16"
        )
    wanted = dict(model.named_parameters())
    for problem, keys in (
        ("has no", wanted.keys() - state.keys()),
        ("also has", state.keys() - wanted.keys()),
    ):
        if keys:
            raise ValueError(
                f"{what} {problem} {min(keys)} ({len(keys)} such keys): not a variant known here"
            )
    for key, parameter in wanted.items():
        if state[key].shape != parameter.shape:
            raise ValueError(f"{what}: {key} is {list(state[key].shape)}, needed {list(parameter.shape)}")
    # Not strict: shared parameters have two names in a state dict and one among `wanted`, which was checked above.
    model.load_state_dict(
        {k: state[k].to(device=device, dtype=dtype) for k in wanted}, strict=False, assign=True
    )
    return model.eval().requires_grad_(False)
