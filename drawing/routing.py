"""Routing of slots: the places each slot looked at, drawn over the pictures it was read from."""

import torch.nn.functional as F
from torch import Tensor

from ..core.reference_video import ReferenceVideo
from ..core.slots import Encoded

DIM = 0.15  # brightness of what a slot did not look at


def routing_rows(
    video: ReferenceVideo, encoded: Encoded, group: int
) -> tuple[list[list[Tensor]], list[str], list[str]]:
    """Cells (3, S, S) in [-1, 1], column titles and row captions of a contact sheet.

    The first row holds the pictures as read, the first of every latent frame, which holds `group` of them. A
    row for each slot follows, bright where it read most, relative to the slots' strongest in that picture.
    """
    frames = encoded.plans.shape[1]
    firsts = [0, *range(1, len(video.pictures), group)][:frames]
    shown = video.pictures[firsts].movedim(-1, 1)  # (F, 3, S, S)
    side = shown.shape[-1]
    rows = round(encoded.plans.shape[3] ** 0.5)
    heat = encoded.plans[0].detach().float().cpu()  # (F, slots, N)
    heat = (heat / heat.flatten(1).amax(1).clamp_min(1e-9)[:, None, None]).unflatten(2, (rows, -1))
    light = DIM + (1 - DIM) * F.interpolate(heat, (side, side), mode="bilinear")
    cells = [list(shown * 2 - 1)]
    cells += [list(shown * light[:, slot, None] * 2 - 1) for slot in range(heat.shape[1])]
    gates = encoded.gates[0].tolist()
    captions = [f"as read; the anchor is picture {video.anchor}"]
    captions += [f"slot {slot + 1}, gate {gate:.2f}" for slot, gate in enumerate(gates)]
    titles = ["0", *(f"{first}-{first + group - 1}" for first in firsts[1:])]
    return cells, titles, captions
