"""Contact sheets: clips and pictures side by side, for eyes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..media.pictures import save_image

FRAMES_OF_A_CLIP = 3  # that a sheet shows
FRAMES_OF_MOTION = 6  # where motion counts: three, of a clip that repeats itself, may all be alike
_GAP = 6  # pixels between cells
_SEAM = 2  # pixels between the frames of a cell
_LINE = 16  # pixels for a line of text


def contact_sheet(
    rows: list[list[Tensor]],
    titles: list[str],
    path: str | Path,
    captions: list[str] | None = None,
    scale: int = 3,
    shown: int = FRAMES_OF_A_CLIP,
) -> None:
    """Write what `draw_sheet` draws to an image file, whole or not at all."""
    save_image(draw_sheet(rows, titles, captions, scale, shown), path)


def column_sheet(
    columns: Mapping[str, Tensor | Sequence[Tensor]],
    path: str | Path,
    captions: list[str] | None = None,
    scale: int = 3,
    most: int | None = None,
    shown: int = FRAMES_OF_A_CLIP,
) -> None:
    """Write a contact sheet whose columns, by title, hold as many cells each; of `most` rows, the first.
    ValueError as `draw_sheet` says, and for columns of different lengths."""
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    contact_sheet(rows[:most], list(columns), path, captions and captions[:most], scale, shown)


def masked_cell(picture: Tensor, mask: Tensor) -> Tensor:
    """Picture (3, H, W) in [-1, 1] on grey outside the mask (H, W) or (1, H, W)."""
    return picture * mask


def draw_sheet(
    rows: list[list[Tensor]],
    titles: list[str],
    captions: list[str] | None = None,
    scale: int = 3,
    shown: int = FRAMES_OF_A_CLIP,
) -> Image.Image:
    """Rows of cells, with a title over each column and a caption under each row.

    A cell is a picture (3, H, W) or a clip (3, F, H, W) in [-1, 1], clamped. Of a clip `shown` frames, two or
    more, are shown, from the first to the last and evenly apart. Every cell is fitted smoothly to the
    tallest's height, times scale.
    ValueError where titles do not match the longest row, or captions the rows.
    """
    columns = max((len(row) for row in rows), default=0)
    if not columns or len(titles) != columns:
        raise ValueError(
            f"got {len(titles)} titles for {columns} columns; give at least one cell, a title a column"
        )
    if captions is not None and len(captions) != len(rows):
        raise ValueError(f"got {len(captions)} captions for {len(rows)} rows; give one per row")
    height = scale * max(cell.shape[-2] for row in rows for cell in row)
    images = [[_cell(cell, height, shown) for cell in row] for row in rows]
    return _paste(images, titles, captions or [""] * len(rows), height)


def _paste(
    images: list[list[Image.Image]], titles: list[str], captions: list[str], height: int
) -> Image.Image:
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    lefts, right = [], _GAP
    for column, title in enumerate(titles):
        lefts.append(right)
        widths = [row[column].width for row in images if column < len(row)]
        right += max(*widths, int(pen.textlength(title)) + 1) + _GAP
    # A sheet without captions spends no room on them.
    step = height + _GAP + (_LINE if any(captions) else 0)
    widest = max(right, *(lefts[0] + int(pen.textlength(caption)) + 1 + _GAP for caption in captions))
    sheet = Image.new("RGB", (widest, _LINE + _GAP + step * len(images)), "white")
    pen = ImageDraw.Draw(sheet)
    for left, title in zip(lefts, titles, strict=True):
        pen.text((left, _GAP // 2), title, fill="black")
    for index, (row, caption) in enumerate(zip(images, captions, strict=True)):
        top = _LINE + _GAP + step * index
        for left, image in zip(lefts, row, strict=False):
            sheet.paste(image, (left, top))
        pen.text((lefts[0], top + height + 2), caption, fill="black")
    return sheet


def _cell(cell: Tensor, height: int, shown: int) -> Image.Image:
    """A picture (3, H, W), or up to `shown` frames of a clip (3, F, H, W) in a row, at this pixel height."""
    clip = cell.unsqueeze(1) if cell.ndim == 3 else cell
    last, parts = clip.shape[1] - 1, shown - 1
    frames = [clip[:, f] for f in sorted({(2 * last * part + parts) // (2 * parts) for part in range(shown)})]
    images = [_image(frame, height) for frame in frames]
    width = sum(image.width for image in images) + _SEAM * (len(images) - 1)
    strip = Image.new("RGB", (width, height), "white")
    left = 0
    for image in images:
        strip.paste(image, (left, 0))
        left += image.width + _SEAM
    return strip


def _image(frame: Tensor, height: int) -> Image.Image:
    """(3, H, W) in [-1, 1] -> an image of this height, its sides in proportion."""
    levels = ((frame.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    image = Image.fromarray(levels.permute(1, 2, 0).numpy())
    width = max(1, round(image.width * height / image.height))
    return image.resize((width, height), Image.Resampling.LANCZOS)
