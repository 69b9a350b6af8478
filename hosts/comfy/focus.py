"""Maps of automatic regions in ComfyUI, over the steps of a run."""

from collections.abc import Hashable
from typing import Any

import torch

from ...core.focus import FocusMaps, FocusTurn, focus_maps
from ...core.layout import Layout
from ...kernels.focus import Focus
from . import wire
from .evaluation import Evaluation, past_apply_model


class FocusStore:
    """Maps of a run, by condition. No dict: ComfyUI copies those at every step."""

    def __init__(self) -> None:
        self.kept: dict[Hashable, FocusMaps] = {}


def comfy_focus(
    evaluation: Evaluation, turn: FocusTurn | None, layout: Layout, options: dict[str, Any]
) -> Focus | None:
    """Focus of an evaluation, with the maps of the step before; None where no reference has one.

    Maps belong to a condition, by ComfyUI's own name for it, and to latent frames of the whole video, so that
    context windows share them. RuntimeError outside of a run, which has no step before.
    """
    if turn is None:
        return None
    store, names = options.get(wire.FOCUS), options.get("uuids")
    if store is None or names is None:
        raise past_apply_model()
    video = evaluation.video
    # In the model's type: ComfyUI hands on a copy of any other, and what is measured would be lost.
    shape = (len(video), len(turn.levels), layout.geometry.count(*video.shape[2:]))
    like = torch.zeros(shape, device=video.device, dtype=evaluation.model.get_dtype_inference())
    places = ((name, layout, tuple(video.shape[3:])) for name in names)
    kept = [store.kept.setdefault(place, FocusMaps()) for place in places]
    frames = _frames(options.get("context_window"), video.shape[2])
    maps, measured = focus_maps(kept, float(evaluation.t.max()), frames, like)
    return Focus(turn.of, like.new_tensor(turn.levels), measured, maps if turn.acts else None)


def _frames(window: Any, count: int) -> list[int]:
    """Latent frames of the whole video that an evaluation of `count` frames is of."""
    if window is None:
        return list(range(count))
    anchor = getattr(window, "causal_anchor_index", None)  # a frame before the window, which is cut off again
    return [*([] if anchor is None or anchor < 0 else [anchor]), *window.index_list]
