"""Original-format Wan safetensors of any size into our modules; anything else is refused by name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ...core.checkpoint import read_shapes, read_some, require_tensors
from ...core.geometry import Geometry
from ...core.recognition import require_runnable
from ...core.semantic import SemanticModules, semantic_config, semantic_state
from .dit import WanDiT
from .files import (
    HINT_BRANCH,
    WAN_2_2_VAE,
    DiTConfig,
    bare_dit,
    dit_config,
    is_quantised,
    vae22_widths,
    vae_width,
)
from .geometry import WAN_2_1, WAN_2_2, geometry_of
from .vace import VaceDiT
from .vae import WanVAE
from .vae22 import Wan22VAE
from .vae_layers import skip_unused_past

ModuleT = TypeVar("ModuleT", bound=nn.Module)
# Of a file's tensors, or of what stands for them, those of a module, under its names.
_Choice = Callable[[dict[str, Any]], dict[str, Any]]
# Parameters that only some released variant has, and what it is called: they have a forward of their own.
FOREIGN_KEYS = {
    HINT_BRANCH: "VACE",
    "control_adapter.conv.weight": "Camera control",
    "ref_conv.weight": "Fun Control with a reference convolution",
    "img_emb.emb_pos": "first-and-last-frame (FLF2V)",
}


def load_dit(
    path: str | Path, dtype: torch.dtype = torch.float32, device: str = "cpu", what: str = "--dit",
    hints: bool = False,
) -> tuple[WanDiT, dict[str, str]]:  # fmt: skip
    """A Wan DiT in original format: T2V (16 channels), I2V and Fun-InP (36), TI2V (48, of a masked input
    100), SAMA's without its modules (`load_modules`); VACE (16) where the caller shows its branch `hints`.

    -> (model in eval mode, the file's metadata). ValueError where the file is another variant or a key is
    missing.
    """
    name = f"{what}: {Path(path).name}"
    shapes, metadata = read_shapes(path, what)
    require_runnable(shapes, name)
    config = known_dit(bare_dit(shapes, name), metadata, name, hints)
    model = on_meta(VaceDiT if config.hint_layers else WanDiT, config)
    return fill_parameters(model, path, what, dtype, device, lambda state: bare_dit(state, name)), metadata


def load_modules(
    path: str | Path, dtype: torch.dtype = torch.float32, device: str = "cpu", what: str = "--dit"
) -> SemanticModules | None:
    """SAMA's modules in a file, in eval mode; None where it holds none. ValueError where it holds some of
    them only."""
    shapes = semantic_state(read_shapes(path, what)[0])
    if not shapes:
        return None
    model = on_meta(SemanticModules, semantic_config(shapes, f"{what}: {Path(path).name}"))
    return fill_parameters(model, path, what, dtype, device, semantic_state)


def known_dit(
    state: Mapping[str, Tensor], metadata: dict[str, str], name: str, hints: bool = False
) -> DiTConfig:
    """Sizes of a DiT that `WanDiT` can be, or `VaceDiT` with `hints`, from `bare_dit`'s shapes. ValueError as
    `dit_config` says, and for variants with a forward of their own."""
    for key, variant in FOREIGN_KEYS.items():
        if key in state and not (hints and key == HINT_BRANCH):
            raise ValueError(
                f"{name} is a Wan {variant} model, which has a forward of its own; give T2V, I2V, Fun-InP or TI2V"
            )
    config = dit_config(state, metadata, name)
    if config.hint_layers and config.layers % config.hint_layers:
        raise ValueError(
            f"{name} has {config.hint_layers} vace_blocks beside {config.layers} blocks; needed a number that divides them"
        )
    geometry_of(config.out_channels, name)
    return config


def load_vae(
    path: str | Path,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
    what: str = "--vae",
    needed: Geometry | None = None,
    by: str = "this",
) -> WanVAE:
    """A Wan 2.1 or 2.2 VAE in original format, of any width, in eval mode. ValueError for the one where the
    other is `needed`, `by` something that is named."""
    name = f"{what}: {Path(path).name}"
    shapes, _ = read_shapes(path, what)
    found = WAN_2_2 if WAN_2_2_VAE in shapes else WAN_2_1
    if needed is not None and needed != found:
        raise ValueError(f"{name} is {_named(found)}; {by} needs {_named(needed)}")
    if found == WAN_2_2:
        model = on_meta(Wan22VAE, *vae22_widths(shapes, name))
    else:
        model = on_meta(WanVAE, vae_width(shapes, name))
    filled = fill_parameters(model, path, what, dtype, device)
    filled.set_statistics(device)  # made anew, since the module was built without storage
    skip_unused_past(filled)
    return filled


def _named(geometry: Geometry) -> str:
    return f"the Wan {'2.2' if geometry == WAN_2_2 else '2.1'} VAE ({geometry.channels} channels)"


def on_meta(build, *sizes):
    """build(*sizes) without storage for its parameters."""
    with torch.device("meta"):
        return build(*sizes)


def fill_parameters(
    model: ModuleT, path: str | Path, what: str, dtype: torch.dtype, device: str, mine: _Choice = dict
) -> ModuleT:
    """Give a module without storage its values from a file, of whose tensors `mine` chooses: every key once,
    every shape right, before anything is read. -> it, in eval mode."""
    name, wanted = f"{what}: {Path(path).name}", dict(model.named_parameters())
    _require_plain(shapes := mine(read_shapes(path, what)[0]), name)
    require_tensors(shapes, wanted, name)
    keys = mine({key: key for key in read_shapes(path, what)[0]})
    read = read_some(path, what, set(keys.values()).__contains__, dtype, device)
    # Not strict: shared parameters have two names in a state dict and one among `wanted`.
    model.load_state_dict({name: read[key] for name, key in keys.items()}, strict=False, assign=True)
    return model.eval().requires_grad_(False)


def _require_plain(state: dict[str, Tensor], name: str) -> None:
    small = sorted(k for k, v in state.items() if v.is_floating_point() and v.element_size() < 2)
    marks = sorted(key for key in state if is_quantised(key))
    if small or marks:
        came = f"{small[0]} is {state[small[0]].dtype}" if small else f"it holds {marks[0]}"
        raise ValueError(f"{name}: {came}; quantised files load in ComfyUI, here fp32, fp16 or bf16")
