"""Pictures for the template browser where there is no run to show: a card drawn from the workflow itself."""

import json
from pathlib import Path

import av
from PIL import Image, ImageDraw
from refvid_client import Graph

SIDE = 512
GROUND, INK, FAINT, MARK = "#1f242d", "#f2f2f2", "#9aa7b8", "#d9a441"
NOT_RUN = "public weights, not run here"


def card(graph: Graph, canvas: Path, samples: Path) -> Image.Image:
    """512 x 512: name of the weights, what goes in, and size, length, steps and scales of what comes out. The
    name is the heading of the canvas' first note."""
    heading = _heading(canvas)
    shown = Image.new("RGB", (SIDE, SIDE), GROUND)
    draw = ImageDraw.Draw(shown)
    name, _, what = heading.partition(": ")
    draw.text((28, 26), name, INK, font_size=36)
    draw.text((28, 76), what, FAINT, font_size=19)
    loaders = [one["inputs"] for one in graph.values() if one["class_type"] in ("LoadImage", "LoadVideo")]
    pictures = [given.get("image") or given["file"] for given in loaders]
    for index, picture in enumerate(pictures):
        shown.paste(_cut_out(samples / picture), (28, 126 + 150 * index))
        _arrow(draw, 170, 242, 191 + 150 * index)
    draw.rounded_rectangle((250, 166, 484, 366), 10, outline=INK, width=3)
    for index, line in enumerate(_facts(graph)):
        draw.text((367, 204 + 31 * index), line, INK, font_size=21, anchor="mm")
    draw.rectangle((0, 446, SIDE, SIDE), MARK)
    draw.text((SIDE // 2, 479), NOT_RUN, GROUND, font_size=29, anchor="mm")
    return shown


def _heading(canvas: Path) -> str:
    notes = [one for one in json.loads(canvas.read_text("utf-8"))["nodes"] if one["type"] == "MarkdownNote"]
    return notes[0]["widgets_values"][0].splitlines()[0].lstrip("# ")


def _facts(graph: Graph) -> list[str]:
    """Size, length, rate, steps and scales."""
    given: dict[str, float] = {}
    for one in reversed(graph.values()):
        numbers = {k: v for k, v in one["inputs"].items() if isinstance(v, int | float)}
        given |= numbers if one["class_type"] != "SolidMask" else {}
    scales = f"cfg {given['cfg']:g}" if "cfg" in given else ""
    if "scale" in given:
        scales = f"scale {given['scale']:g}"
    elif "image_scale" in given:
        scales = f"image {given['image_scale']:g}, text {given['text_scale']:g}"
    return [
        f"{given['width']} x {given['height']}", f"{given['length']} frames", f"{given['fps']:g} a second",
        f"{given['steps']} steps", scales,
    ]  # fmt: skip


def _cut_out(path: Path, side: int = 130) -> Image.Image:
    """A picture on white, as public weights are given it; of a film, its first."""
    if path.suffix == ".png":
        picture = Image.open(path)
    else:
        with av.open(str(path)) as film:
            picture = next(film.decode(video=0)).to_image()
    picture = picture.convert("RGBA").resize((side, side))
    ground = Image.new("RGB", picture.size, "white")
    return Image.composite(picture.convert("RGB"), ground, picture.getchannel("A"))


def _arrow(draw: ImageDraw.ImageDraw, start: int, end: int, height: int) -> None:
    draw.line((start, height, end - 12, height), MARK, 5)
    draw.polygon(((end, height), (end - 16, height - 10), (end - 16, height + 10)), MARK)
