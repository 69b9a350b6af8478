"""Identities read behind the text, while a run goes on (Slot-ID): in the conditioning, at every evaluation, in every block."""

from typing import Any

import comfy.conds
import torch
from torch import Tensor

from ...core.geometry import Geometry
from ...core.identity import key_bias
from ...core.visibility import text_groups
from . import conditioning as keys
from .attention import Reading
from .families import wan
from .shared import Cells, packed, unpacked

IDENTITIES, BOUND, PHRASES, WHERE = "refvid_identities", "refvid_bound", "refvid_phrases", "refvid_where"
READ_BIAS, READ_SPANS, READ_ROWS = "refvid_read_bias", "refvid_read_spans", "refvid_read_rows"
PEOPLE = (IDENTITIES, BOUND, PHRASES, READ_BIAS, READ_SPANS, READ_ROWS)


def identity_conds(cond: dict[str, Any], grid: tuple[int, ...]) -> dict[str, Any]:
    """The identities of a condition, and the cells of a video latent of grid (frames, rows, columns) that read each."""
    found: dict[str, Any] = {
        IDENTITIES: comfy.conds.CONDRegular(torch.cat(cond[keys.IDENTITIES], dim=1)),
        BOUND: comfy.conds.CONDConstant(keys.bound_of(cond)),
    }
    if cond.get(keys.PHRASES):  # core's Save Conditioning leaves an empty list out
        found[PHRASES] = comfy.conds.CONDList(cond[keys.PHRASES])
    cells = keys.cells_of(cond, grid, keys.IDENTITY_REACH)
    if cells is not None:
        found[WHERE] = Cells(cells[None, None])
    return found


def identities_now(
    x: Tensor, text: int, beside: int, geometry: Geometry, kwargs: dict[str, Any]
) -> dict[str, Any]:
    """What this evaluation's identities do, for a video (B, C, F, h, w), so many tokens of text, and so many beside the video."""
    bound, cells = kwargs[BOUND], kwargs.get(WHERE)
    kwargs = {k: v for k, v in kwargs.items() if k != WHERE}
    bias = key_bias(bound, x.device)
    if bias is not None:
        kwargs[READ_BIAS] = bias
    if cells is not None:
        wan.require_plain_sequence(kwargs)
        sizes = tuple(one.tokens for one in bound)
        video = geometry.count(*x.shape[2:])
        groups = text_groups(sizes, cells[0, 0], text, video, beside, geometry.patch, x.device)
        if groups is not None:
            kwargs[READ_SPANS], kwargs[READ_ROWS] = packed(groups)
    return kwargs


def reading(module, context: Tensor, mine: dict[str, Any]) -> Reading:
    """Identities' tokens, each with the mean of its phrase's words added, embedded as the text is (our choice)."""
    tokens, starts = mine[IDENTITIES].to(context), 0
    parts, phrases = [], iter(mine[PHRASES] or ())
    for one in mine[BOUND]:
        part = tokens[:, starts : starts + one.tokens]
        starts += one.tokens
        if one.named:
            part = part + wan.embed_text(module, next(phrases).to(context)).mean(1, keepdim=True)
        parts.append(part)
    groups = unpacked(mine[READ_SPANS], mine[READ_ROWS], context.shape[1])
    return Reading(torch.cat(parts, dim=1), mine[READ_BIAS], groups)
