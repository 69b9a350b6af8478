"""Inspection of a patched model and its conditioning: what they would do, without running them."""

from __future__ import annotations

import comfy.model_management
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.inspection import Inspection, inspect
from ...core.layout import Layout
from ...core.references import with_empty_places
from ...core.visibility import Turn
from ...kernels.paths import PathChoice
from . import token_lora, wire
from .attention import OVERRIDE
from .attention_choice import ComfyAttentionNeed, choose_comfy_attention
from .evaluation import kinds
from .families import wan
from .install import with_tokens
from .pairing import require_patched
from .references import AttachedReferences, References


def inspect_comfy_references(
    model: ModelPatcher, conditioning: wire.Conditioning, latent: dict[str, Tensor], vae=None
) -> tuple[Inspection, list[Tensor]]:
    """Inspect the references of a conditioning, as this model would run them on this latent.

    -> the inspection, and their pictures (H, W, 3): as the VAE gives them back, or without a VAE their masks.
    ValueError where there are none, and where the model would leave them out.
    """
    wan.require(model)
    for kind in kinds():
        if kind.unseen is not None and any(kind.carried(options) for _, options in conditioning):
            raise ValueError(kind.unseen)
    carried = [wire.read(AttachedReferences, options) for _, options in conditioning]
    attached = next((one for one in carried if one is not None), None)
    if attached is None:
        raise ValueError(
            "positive carries no references; connect the conditioning that Apply References gives back"
        )
    require_patched(model, References, "positive")
    samples, arranged = wan.video_latent(latent, model), attached.arranged(wan.geometry(model))
    token_lora.require_adapters([model], arranged.layout.recipe)
    frames, rows, columns = samples.shape[2:]
    inspection = inspect(
        arranged.layout,
        arranged.keep,
        attached.cells((frames, rows, columns)),
        arranged.soft,
        (frames, rows, columns),
        wan.sizes(model),
        lambda now: _choice(model, attached.attention, arranged.layout, now, samples),
        _memory(model, samples.shape, arranged.layout.kept),
    )
    if vae is None:
        pictures = [mask.unsqueeze(-1).expand(-1, -1, 3) for mask in attached.masks]
    else:
        pictures = [
            vae.decode(one).reshape(-1, *mask.shape, 3)[0]
            for one, mask in zip(attached.latents, attached.masks, strict=True)
        ]
    return inspection, list(with_empty_places(pictures, arranged.layout.recipe))


def _choice(model: ModelPatcher, name: str, layout: Layout, now: Turn, samples: Tensor) -> PathChoice:
    """The attention path for what acts now. A race that was held is known; nothing is timed here."""
    override = model.model_options["transformer_options"].get(OVERRIDE)
    count = now.count(layout)
    device = comfy.model_management.get_torch_device()
    tokens = layout.geometry.count(*samples.shape[2:]) + count
    asked = ComfyAttentionNeed(model.model, layout, now, len(samples), tokens, count, device, override)
    return choose_comfy_attention(asked, name, hold=False)


def _memory(model: ModelPatcher, shape, tokens: int) -> tuple[float, float]:
    """Bytes that ComfyUI expects for one evaluation of both passes: with the tokens, and without."""
    handler = model.model_options.get(wire.WINDOWS)
    wide = [shape[0] * 2, *shape[1:]]
    more = with_tokens(wide, tokens, wan.geometry(model), handler)
    return model.model.memory_required(more), model.model.memory_required(wide)
