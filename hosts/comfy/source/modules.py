"""SAMA's modules in ComfyUI: read from a file, and put beside a model, where ComfyUI moves and casts their
weights."""

import logging
from pathlib import Path

import comfy.model_management
import comfy.ops
import comfy.sd
from comfy.model_patcher import CoreModelPatcher, ModelPatcher
from torch import Tensor

from ....core.checkpoint import read_shapes, read_some
from ....core.lora import canonical, changes
from ....core.recipe import Recipe
from ....core.semantic import (
    EMBEDDING,
    SemanticModules,
    beside_modules,
    is_module_key,
    require_editing,
    semantic_config,
    semantic_state,
)
from .. import wire
from ..families import wan

logger = logging.getLogger(__name__)


def modules_of(model: ModelPatcher) -> SemanticModules | None:
    """The modules of a model; None where it has none."""
    patchers = model.get_additional_models_with_key(wire.SEMANTIC)
    return patchers[0].model if patchers else None


def require_modules(model: ModelPatcher, recipe: Recipe) -> SemanticModules | None:
    """The modules that the recipe needs; None where it needs none. ValueError where they are missing."""
    if recipe.types is None:
        return None
    modules = modules_of(model)
    if modules is None:
        raise ValueError(
            "model has no segment_embedding, siglip_feat_mlp and semantic_head, which the recipe "
            f"{recipe.name} needs: load SAMA's file "
            "with Load Wan Backbone, put an editing adapter on the model, or choose in_context"
        )
    return modules


def attach_from_model_file(model: ModelPatcher, path: str) -> ModelPatcher:
    """The model with the modules that its own file holds, or as it is where the file holds none. ValueError
    where it holds some of them only."""
    state = semantic_state(read_some(path, "diffusion_model", is_module_key))
    return attach_modules(model, state, f"diffusion_model: {Path(path).name}") if state else model


def load_editing_adapter(model: ModelPatcher, path: str, strength: float) -> ModelPatcher:
    """A model with the modules of another file, and with that file's LoRA, if it holds one.

    All that is beside the modules goes through ComfyUI's own weight adapters, so that ComfyUI says what it
    cannot use. ValueError for a file without the modules, or of another width.
    """
    wan.require(model)
    name = f"adapter: {Path(path).name}"
    shapes, metadata = read_shapes(path, "adapter")
    require_editing(metadata, name)
    semantic_config(semantic_state(shapes), name)
    beside = beside_modules(shapes)
    weights = wan.weights_of(model)
    if beside:  # core would drop what does not fit
        changes({key: shapes[key] for key in beside}, weights, name)
    state = read_some(path, "adapter", lambda key: key in beside or is_module_key(key))
    attached = attach_modules(model, semantic_state(state), name)
    lora = canonical(changes({key: state[key] for key in beside}, weights, name)) if beside else {}
    if not lora and strength != 1:
        logger.warning(
            "refvid: %s holds no LoRA beside the modules; its strength of %s acts on nothing", name, strength
        )
    if not lora or strength == 0:
        return attached
    return comfy.sd.load_lora_for_models(attached, None, lora, strength, 0.0)[0]


def attach_modules(model: ModelPatcher, state: dict[str, Tensor], what: str) -> ModelPatcher:
    """A clone with these modules. ValueError names what is missing or does not fit."""
    config = semantic_config(state, what)
    width = wan.width(model)
    if config.width != width:
        raise ValueError(
            f"{what} was trained for a Wan of width {config.width}, the model has {width}; give the file of "
            "its size"
        )
    load, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    dtype = state[EMBEDDING].dtype
    modules = SemanticModules(config, comfy.ops.manual_cast).to(device=offload, dtype=dtype)
    patcher = CoreModelPatcher(modules, load_device=load, offload_device=offload)
    modules.load_state_dict(state, assign=patcher.is_dynamic())
    model = model.clone()
    model.set_additional_models(wire.SEMANTIC, [patcher])
    return model
