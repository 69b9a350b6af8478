"""Pages for a browser: one file of HTML that needs nothing else, with its pictures inside, light and dark."""

from base64 import b64encode
from io import BytesIO
from xml.etree.ElementTree import Element, tostring

import numpy as np
from PIL import Image

QUALITY = 82  # of JPEG
# Blue, orange and vermilion are told apart by people who see colours differently (Okabe and Ito, 2008).
STYLE = """
:root { color-scheme: light dark; --ground: #f4f4f1; --card: #ffffff; --ink: #1d1f23; --faint: #6c7078;
  --line: #dfdfda; --well: #ecece7; --used: #0072b2; --other: #e69f00; --bad: #c8501e; }
@media (prefers-color-scheme: dark) { :root { --ground: #131417; --card: #1c1e22; --ink: #e6e7ea;
  --faint: #9498a1; --line: #30333a; --well: #26292f; --used: #4ba3dc; --other: #e6a929; --bad: #e8794a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1320px; margin: 0 auto; padding: 28px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; letter-spacing: -.02em; margin: 0 0 4px; font-weight: 650; }
h2 { font-size: 18px; margin: 40px 0 12px; letter-spacing: -.01em; font-weight: 650; }
h3 { font-size: 12px; margin: 0 0 8px; color: var(--faint); font-weight: 600; letter-spacing: .02em; }
p { margin: 0; overflow-wrap: anywhere; }
.faint { color: var(--faint); }
.grid { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px;
  min-width: 0; }
.clip { padding: 0; margin-bottom: 16px; overflow: hidden; }
.clip > header { display: flex; flex-wrap: wrap; gap: 4px 12px; align-items: baseline; padding: 12px 16px 10px; }
.clip > header b { font-size: 15px; overflow-wrap: anywhere; }
.badge { font-size: 11px; padding: 1px 8px; border-radius: 99px; background: var(--well); color: var(--faint);
  white-space: nowrap; }
.badge.other { background: var(--other); color: #1d1f23; }
.part { display: grid; grid-template-columns: 92px minmax(0, 1fr); gap: 4px 12px; padding: 10px 16px;
  border-top: 1px solid var(--line); }
.part > h3 { margin: 2px 0 0; }
.row { display: flex; flex-wrap: wrap; gap: 10px 8px; align-items: flex-start; }
.strip { gap: 3px; flex-wrap: nowrap; overflow-x: auto; }
.strip > figure { flex: 1 1 0; min-width: 84px; }
.strip > figure img { width: 100%; height: auto; }
figure { margin: 0; min-width: 0; }
figure img, .none { display: block; border-radius: 3px; background: var(--well); }
.row:not(.strip) > figure { width: min-content; min-width: 116px; }
.row:not(.strip) > figure:has(.none) { min-width: 235px; }
.row:not(.strip) > figure img { width: auto; height: auto; max-height: 132px; max-width: 240px; }
figcaption { font-size: 11px; line-height: 1.35; color: var(--faint); padding: 3px 1px 0;
  overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.none { min-height: 132px; max-width: 235px; display: flex; align-items: center; justify-content: center; text-align: center; min-width: 176px;
  padding: 8px; font-size: 12px; color: var(--bad); border: 1px dashed var(--bad); background: none;
  overflow-wrap: anywhere; }
.strip > .none { flex: 1; }
.said { white-space: pre-wrap; max-width: 90ch; }
.said + .said { margin-top: 6px; padding-left: 10px; border-left: 2px solid var(--line); color: var(--faint); }
dl { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0; }
dl div { display: flex; gap: 6px; min-width: 0; }
dt { color: var(--faint); white-space: nowrap; }
dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; color: var(--faint); font-size: 12px; }
td, th { padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; }
tr:last-child td { border-bottom: 0; }
td:first-child { white-space: nowrap; } .lists td:first-child { white-space: normal; }
.ends span:nth-child(2) { color: var(--ink); }
h3 small { float: right; font-weight: 400; }
.scroll td:last-child { width: 55%; padding-left: 12px; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.use { margin: 18px 0 12px; } .use svg:first-child { border-radius: 4px; } .use p { margin-top: 8px; }
.lists { columns: 3 330px; column-gap: 12px; }
.lists .card { break-inside: avoid; margin-bottom: 12px; }
.part.whole { grid-template-columns: minmax(0, 1fr); }
.scroll { overflow-x: auto; }
.counts { display: grid; grid-template-columns: minmax(0, 1fr) minmax(48px, 38%) auto; gap: 5px 10px;
  align-items: center; overflow-wrap: anywhere; }
.counts svg { height: 8px; width: 100%; }
svg { display: block; width: 100%; }
svg text { font-size: 10px; fill: var(--faint); }
.ends { display: flex; justify-content: space-between; gap: 8px; font-size: 11px; color: var(--faint);
  font-variant-numeric: tabular-nums; margin-top: 3px; }
.rail { fill: var(--well); } .used { fill: var(--used); } .other { fill: var(--other); }
.dim { opacity: .3; }
.bad { fill: var(--bad); }
.grid { margin-top: 8px; }
.key { display: inline-flex; gap: 6px; align-items: center; margin-right: 16px; }
.key svg { width: 10px; height: 10px; }
@media (max-width: 640px) {
  main { padding: 18px 12px 40px; } h1 { font-size: 24px; }
  .part { grid-template-columns: minmax(0, 1fr); } .clip > header, .part { padding-left: 12px; padding-right: 12px; }
  .row:not(.strip) > figure img { max-height: 96px; max-width: 172px; } .none { min-height: 96px; }
}
@media print { .card { break-inside: avoid; } }
"""


def tag(kind: str, /, *inside: Element | str, **attributes: object) -> Element:
    """Element of a page with elements and text in it. Text is escaped when the page is written. An attribute
    may end in `_`, where Python has a word like it: `class_`."""
    made = Element(kind, {key.rstrip("_"): _sayable(str(value)) for key, value in attributes.items()})
    for one in inside:
        if not isinstance(one, str):
            made.append(one)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + _sayable(one)
        else:
            made.text = (made.text or "") + _sayable(one)
    return made


def page(title: str, *body: Element) -> str:
    """A page of HTML with the house's style, whole in itself."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", STYLE),
    )
    root = tag("html", head, tag("body", tag("main", *body)), lang="en")
    return "<!doctype html>\n" + tostring(root, encoding="unicode", method="html") + "\n"


def picture_tag(picture: np.ndarray, alt: str) -> Element:
    """A picture (H, W, 3) uint8 as an element that holds it, as JPEG."""
    data = BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=QUALITY)
    height, width = picture.shape[:2]
    source = f"data:image/jpeg;base64,{b64encode(data.getvalue()).decode()}"
    return tag("img", src=source, alt=alt, width=width, height=height)


def _sayable(text: str) -> str:
    """Text without what no page can hold: control characters, and halves of characters, as file names have
    them."""
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(one if one in "\n\t" or one.isprintable() or ord(one) > 159 else "\ufffd" for one in whole)
