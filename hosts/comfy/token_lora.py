"""LoRA on reference tokens alone (Stand-In) in ComfyUI: read from a file, put beside a model, and added to
the projections of these tokens.

Core has no hook inside a block's self-attention. So the projections' forwards are wrapped for one evaluation,
outside of what may be compiled. Whatever forward is there runs: of quantised layers, merged LoRAs, and those
that run beside a layer. Nothing is held longer than the evaluation: under DynamicVRAM the weights of a clone
may be another instance.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import comfy.model_management
import comfy.ops
from comfy.model_patcher import CoreModelPatcher, ModelPatcher
from torch import Tensor, nn

from ...core.recipe import Recipe
from ...core.token_lora import BlockLora, TokenChange, TokenLora, read_token_lora, require_token_lora
from . import wire
from .evaluation import TailRule
from .families import wan


@dataclass
class ActsOn:
    """Number of tokens behind the video that the LoRA acts on, in one evaluation."""

    count: int


def load_reference_adapter(model: ModelPatcher, path: str, what: str = "adapter") -> ModelPatcher:
    """A clone with the LoRA of a file, which takes the place of one that it has. "auto" then chooses the
    recipe that the file is for. ValueError as `core.token_lora.read_token_lora` says, and for a model that is
    no Wan."""
    wan.require(model)
    module = model.model.diffusion_model
    sizes, state, recipe = read_token_lora(path, module.dim, wan.blocks(module), what)
    load, offload = comfy.model_management.get_torch_device(), comfy.model_management.unet_offload_device()
    dtype = next(iter(state.values())).dtype
    lora = TokenLora(sizes, comfy.ops.manual_cast).to(device=offload, dtype=dtype)
    patcher = CoreModelPatcher(lora, load_device=load, offload_device=offload)
    lora.load_state_dict(state, assign=patcher.is_dynamic())
    model = model.clone()
    model.set_additional_models(wire.REFERENCE_LORA, [patcher])
    model.set_attachments(wire.ADAPTED_TO, recipe)
    return model


def require_adapters(models: list[ModelPatcher], recipe: Recipe) -> None:
    """ValueError where a recipe needs a LoRA on reference tokens, and one of the models has none."""
    for model, name in zip(models, ("model", "low_noise_model"), strict=False):
        _require(model, recipe, name)


@contextmanager
def acting(model: Any, tail: TailRule | None, options: dict[str, Any]) -> Iterator[None]:
    """An evaluation of a `BaseModel` with the LoRA on what stands behind the video, where its recipe has one.
    ValueError where the model has none."""
    if tail is None or not tail.layout.recipe.token_lora:
        yield
        return
    lora = cast(TokenLora, _require(model.current_patcher, tail.layout.recipe, "model"))
    acts_on = options[wire.REFERENCE_LORA] = ActsOn(tail.keep.shape[1])
    wrapped: list[tuple[nn.Module, Any]] = []
    try:
        for block, changes in zip(model.diffusion_model.blocks, lora.blocks, strict=True):
            for name, change in cast(BlockLora, changes).by_projection().items():
                layer = getattr(block.self_attn, name)
                wrapped.append((layer, vars(layer).get("forward")))
                layer.forward = _changed(layer.forward, change, acts_on)
        yield
    finally:
        for layer, own in reversed(wrapped):
            if own is None:
                vars(layer).pop("forward", None)
            else:
                layer.forward = own


def rest(options: dict[str, Any]) -> None:
    """Let the LoRA do nothing in this evaluation: no token travels behind the video."""
    if wire.REFERENCE_LORA in options:
        options[wire.REFERENCE_LORA].count = 0


def _changed(forward: Callable[..., Tensor], change: TokenChange, acts_on: ActsOn) -> Callable[..., Tensor]:
    def changed(tokens: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        features = forward(tokens, *args, **kwargs)
        return change(features, tokens, acts_on.count) if acts_on.count else features

    return changed


def _require(model: ModelPatcher, recipe: Recipe, name: str) -> TokenLora | None:
    """The LoRA of a model, if it has one. ValueError where the recipe needs it and it is missing."""
    patchers = model.get_additional_models_with_key(wire.REFERENCE_LORA)
    require_token_lora(recipe, bool(patchers), f"put one on {name} with Load Reference Adapter")
    return patchers[0].model if patchers else None
