"""Picture of an inspection: what is kept of each reference, where and when it acts, who sees whom, its
cost."""

from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..core.inspection import Inspection, ReferenceView, inspection_report

WIDTH, MARGIN, LINE = 1024, 16, 18
_PICTURE = 160  # height of a reference's picture
PLOT = 120  # height of the schedule's plot and the table
_MOST_FRAMES = 8  # latent frames that are shown of a video, evenly spaced
INK, FAINT, _GROUND = (25, 25, 30), (150, 150, 158), (255, 255, 255)
# Told apart by people who see colours differently (Okabe and Ito, 2008), and a grey for the eighth.
REFERENCE_COLOURS = ((0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (86, 180, 233), (240, 228, 66), (120, 120, 120))  # fmt: skip


def draw_inspection(inspection: Inspection, pictures: Sequence[Tensor]) -> Tensor:
    """Draw an inspection with its prepared pictures (H, W, 3) in [0, 1], one for each reference: (height,
    1024, 3) in [0, 1]."""
    parts = [
        _references(inspection, pictures),
        _places(inspection),
        _side_by_side(_schedule(inspection), _table(inspection)),
        _text(inspection_report(inspection)),
    ]
    sheet = Image.new("RGB", (WIDTH, sum(part.height for part in parts) + MARGIN), _GROUND)
    top = MARGIN
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    values = torch.frombuffer(bytearray(sheet.tobytes()), dtype=torch.uint8)
    return values.view(sheet.height, WIDTH, 3).float() / 255


def _references(inspection: Inspection, pictures: Sequence[Tensor]) -> Image.Image:
    """Every picture as the model gets it; what is removed is crossed out token by token."""
    cells = [
        _tokens_of(picture, view, REFERENCE_COLOURS[k % len(REFERENCE_COLOURS)])
        for k, (picture, view) in enumerate(zip(pictures, inspection.references, strict=True))
    ]
    titles = [f"reference {k + 1}: {int(v.kept.sum())} of {v.kept.numel()} tokens" for k, v in enumerate(inspection.references)]  # fmt: skip
    return _flow("What is kept: bright tokens enter the sequence, dark ones are removed", cells, titles)


def _tokens_of(picture: Tensor, view: ReferenceView, colour: tuple[int, int, int]) -> Image.Image:
    rows, columns = view.kept.shape
    scale = _PICTURE / picture.shape[0]
    width = max(1, round(picture.shape[1] * scale))
    shown = _image(picture).resize((width, _PICTURE), Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(shown, "RGBA")
    for row in range(rows):
        for column in range(columns):
            box = [
                column * width / columns, row * _PICTURE / rows,
                (column + 1) * width / columns - 1, (row + 1) * _PICTURE / rows - 1,
            ]  # fmt: skip
            if view.kept[row, column]:
                pen.rectangle(box, outline=(*colour, 255))
            else:
                pen.rectangle(box, fill=(20, 20, 24, 190))
    return shown


def _places(inspection: Inspection) -> Image.Image:
    """The video's tokens in a few of its latent frames, a stripe of colour for every reference that acts
    there."""
    frames, _rows, columns = inspection.grid
    chosen = sorted({round(step * (frames - 1) / max(1, _MOST_FRAMES - 1)) for step in range(_MOST_FRAMES)})
    side = max(3, min(24, (WIDTH - 2 * MARGIN) // len(chosen) // columns - 1))
    cells = [_frame(inspection, frame, side) for frame in chosen]
    pictures = inspection.layout.geometry.pictures
    titles = [f"frames {pictures(f)} to {pictures(f + 1) - 1}" if f else "frame 0" for f in chosen]
    return _flow("Where references act in the video, token by token", cells, titles)


def _frame(inspection: Inspection, frame: int, side: int) -> Image.Image:
    _, rows, columns = inspection.grid
    image = Image.new("RGB", (columns * side + 1, rows * side + 1), (225, 225, 230))
    pen = ImageDraw.Draw(image)
    for row in range(rows):
        for column in range(columns):
            acting = [k for k, view in enumerate(inspection.references) if view.where[frame, row, column]]
            for place, k in enumerate(acting):
                stripe = (side - 1) / len(acting)
                left = column * side + place * stripe
                box = [left, row * side, left + stripe - 1, row * side + side - 2]
                pen.rectangle(box, fill=REFERENCE_COLOURS[k % len(REFERENCE_COLOURS)])
    return image


def _schedule(inspection: Inspection) -> Image.Image:
    """Strengths over the schedule, and the tokens that are in the sequence."""
    image, pen, (left, top, right, bottom) = _frame_of_plot("Strength over the schedule (noise to clean)")
    most = max(1.0, *(float(view.strength.max()) for view in inspection.references))
    for k, view in enumerate(inspection.references):
        points = [
            (
                left + (right - left) * i / (len(view.strength) - 1),
                bottom - (bottom - top) * value / most - 2 * k,  # a little apart, where they agree
            )
            for i, value in enumerate(view.strength.tolist())
        ]
        pen.line(points, fill=REFERENCE_COLOURS[k % len(REFERENCE_COLOURS)], width=2)
    for value, place in ((f"{most:g}", top), ("0", bottom)):
        pen.text((left - 24, place - 6), value, fill=FAINT, font=_font())
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        pen.text((left + (right - left) * share - 8, bottom + 4), f"{share:g}", fill=FAINT, font=_font())
    return image


def _table(inspection: Inspection) -> Image.Image:
    """Table of who sees whom: a row reads, a column is read; the darker, the more of the row's tokens."""
    image, pen, (left, top, _right, bottom) = _frame_of_plot("Who (row) sees whom (column)", axes=False)
    names = ["video", *(str(k + 1) for k in range(len(inspection.references)))]
    side = min(28, (bottom - top + 16) // len(names))
    for q, reader in enumerate(names):
        pen.text((left - 40, top + q * side + side // 2 - 6), reader, fill=INK, font=_font())
        pen.text((left + q * side + 4, top - 16), reader[:3], fill=INK, font=_font())
        for k in range(len(names)):
            share = float(inspection.table[q, k])
            fill = tuple(round(245 - share * (245 - ink)) for ink in (0, 114, 178)) if share else _GROUND
            box = [left + k * side, top + q * side, left + (k + 1) * side - 2, top + (q + 1) * side - 2]
            pen.rectangle(box, fill=fill, outline=FAINT)
            if 0 < share < 1:
                pen.text((box[0] + 2, box[1] + side // 2 - 6), f"{share:.0%}", fill=INK, font=_font(10))
    return image


def _frame_of_plot(title: str, axes: bool = True):
    image = Image.new("RGB", (WIDTH // 2, PLOT + 4 * LINE), _GROUND)
    pen = ImageDraw.Draw(image)
    pen.text((MARGIN, 0), title, fill=INK, font=_font(14))
    box = (MARGIN + 44, 2 * LINE, WIDTH // 2 - MARGIN, 2 * LINE + PLOT - LINE)
    if axes:
        pen.rectangle(box, outline=FAINT)
    return image, pen, box


def _side_by_side(*parts: Image.Image) -> Image.Image:
    image = Image.new("RGB", (WIDTH, max(part.height for part in parts)), _GROUND)
    left = 0
    for part in parts:
        image.paste(part, (left, 0))
        left += part.width
    return image


def _flow(title: str, cells: list[Image.Image], titles: list[str]) -> Image.Image:
    """Cells with a title each, in as many lines as they need."""
    places, left, top, line = [], MARGIN, 2 * LINE, 0
    for cell, words in zip(cells, titles, strict=True):
        width = max(cell.width, int(_font().getlength(words)))
        if left + width > WIDTH - MARGIN and left > MARGIN:
            left, top = MARGIN, top + line + LINE + MARGIN
            line = 0
        places.append((left, top))
        left, line = left + width + MARGIN, max(line, cell.height)
    image = Image.new("RGB", (WIDTH, top + line + LINE + MARGIN), _GROUND)
    pen = ImageDraw.Draw(image)
    pen.text((MARGIN, 0), title, fill=INK, font=_font(14))
    for (x, y), cell, words in zip(places, cells, titles, strict=True):
        pen.text((x, y - LINE + 4), words, fill=INK, font=_font())
        image.paste(cell, (x, y + 4))
    return image


def _text(words: str) -> Image.Image:
    lines = words.splitlines()
    image = Image.new("RGB", (WIDTH, LINE * len(lines) + MARGIN), _GROUND)
    pen = ImageDraw.Draw(image)
    for index, line in enumerate(lines):
        pen.text((MARGIN, index * LINE), line, fill=INK, font=_font(13))
    return image


def _font(size: int = 12):
    return ImageFont.load_default(size)


def _image(picture: Tensor) -> Image.Image:
    return Image.fromarray((picture.clamp(0, 1) * 255).round().byte().cpu().numpy())
