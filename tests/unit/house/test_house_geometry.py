"""Rules on a backbone's numbers: they are in its geometry and nowhere else, and no module of an old place is
left."""

import ast
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROOMS = (
    "backbones",
    "cli",
    "core",
    "demo",
    "drawing",
    "evaluation",
    "evidence",
    "hosts",
    "media",
    "nodes",
    "training",
)
PLAIN = ("attention", "edit", "identity", "instruction", "long_video", "recall", "references")
COMFY = (
    "apply", "beside", "conditioning", "edit", "edited", "identity", "people", "replaced", "semantic",
    "shared", "sidecar", "spare", "variants",
)  # fmt: skip
MOVED = (
    "core.wan_files",
    "hosts.pipeline",
    *(f"hosts.plain_{name}" for name in PLAIN),
    *(f"hosts.comfy.{name}" for name in COMFY),
)
NAMED = re.compile(r"patch|stride|group|channel|clock|trained|latent_frames|multiplier|step$", re.IGNORECASE)
LENGTHS = re.compile(
    r"\b(frames?|pictures?|rows?|columns?|cells?|latents?|strides?|tokens?|height|width|f)\b"
)
CLOCKED = re.compile(r"sigma|clock|level|time")
BOUNDED = re.compile(r"frames|size|height|width|channels")
SIZED = re.compile(
    r"split|chunk|unflatten|repeat\w*|(max|avg)_pool\dd|(new_)?(zeros|ones|empty|full)|Conv\dd"
)
NUMBERS = (4, 8, 16, 32, 36, 48)
CUTS = (4, 16, 36, 48)
# What the search finds and what may stay, by file and line, with the reason.
LEFT = {
    "backbones/wan/files.py": {
        "if not whole or not 1 <= heads <= width or width % heads or width // int(heads) % 2:": "pairs of a head's features",
    },
    "evaluation/appearance.py": {
        "coherence = ((xx - yy).square() + 4 * xy.square()).sqrt() / (xx + yy + _NOISE**2)": "a root of a square",
    },
    "drawing/inspection.py": {
        'image = Image.new("RGB", (WIDTH // 2, PLOT + 4 * LINE), _GROUND)': "four lines of a drawing",
    },
    "core/files.py": {
        '_TOKEN = "[0-9a-f]" * 8  # a pattern: between a name and PARTIAL': "letters of a name"
    },
    "core/fit.py": {"top, left = (rows - height) // 2, (columns - width) // 2": "the middle of a picture"},
    "core/header.py": {"16 * MOST_TENSORS": "commas and brackets of a header"},
    "core/inspection.py": {
        "projections = 2 * length * (4 * width**2 + 2 * width**2 + 2 * width * sizes.ffn_width)": "four projections of attention",
        "text = 2 * sizes.text_tokens * 2 * width**2 + 4 * length * sizes.text_tokens * width": "two products, two operations each",
        "return float(sizes.layers * (projections + text + 4 * pairs * width))": "two products, two operations each",
    },
    "core/plan.py": {
        "passing = widened if shape.cuda else max(14.2 - 2 * ratio, 0.6 + 4 * ratio)": "bytes of a block, counted",
        "kept = (56.5 + 4 * ratio if shape.wide else (36 if shape.cuda else 26) + 2 * ratio) * features": "bytes of a block, counted",
        'beside = 3.9 + 4 * ratio if any(".ffn." in name for name in own) else 0.0': "bytes of a block, counted",
        "return kept, (0.6 + 8 * ratio + beside) * features": "bytes of a block, counted",
        "widened = max(14.6 + 2 * ratio, 2.6 + 4 * ratio)": "bytes of a block, counted",
        "attention = 4 * model.layers * model.width * tokens * (tokens + model.text_tokens)": "two products, two operations each",
    },
    "nodes/training_plan.py": {
        'io.Int.Input("width", default=832, min=16, max=8192, step=16, tooltip="Of the clips, in pixels."),': "sizes offered",
        'io.Int.Input("height", default=480, min=16, max=8192, step=16, tooltip="Of the clips, in pixels."),': "sizes offered",
        'io.Int.Input("frames", default=33, min=1, max=1001, step=4,': "lengths offered",
    },
    "core/positions.py": {
        "half = torch.arange(width // 2, device=value.device, dtype=torch.float32)": "sines and cosines",
        "angles = value.float()[..., None] * 10000.0 ** (-half / (width // 2))": "sines and cosines",
    },
    "evidence/ablations/gain_clips.py": {
        "left, top = (picture.width - side) // 2, (picture.height - side) // 2": "the middle of a picture"
    },
    "evidence/toy_figures.py": {
        "reach = 0.8 * (4 * area / mask.shape[-2:].numel()).sqrt() + 0.02": "a square's side"
    },
    "demo/captions.py": {
        "way = torch.stack([(green - blue) / spread % 6, (blue - red) / spread + 2, (red - green) / spread + 4])": "sixths of a circle of hues"
    },
    "demo/casting.py": {
        "k = (hue.unsqueeze(1) * 6 + torch.tensor([5.0, 3.0, 1.0])) % 6": "sixths of a circle of hues"
    },
    "hosts/comfy/attention.py": {"half = tokens // 2": "a probe: the first half is hidden"},
    "media/film_decoding.py": {
        "more = -frame.width % 32": "what a decoder pads to",
        "fields = frame.interlaced_frame and frame.height % 4": "interlaced films",
        'frame.width < NARROW or frame.width % 2 or frame.height % 2 or fields or "yuv41" in frame.format.name': "colours of half resolution",
    },
    "demo/source.py": {'return f"{SCHEME} {level} {digest[:16]}"': "letters of a digest"},
    "training/engine/state.py": {'return f"sha256 {digest.hexdigest()[:16]}"': "letters of a digest"},
    "training/base/text.py": {
        'sentence_iterator=iter([" ".join(words)] * 4), model_writer=model, model_type="word",': "words, four times over",
        "encoder = TextEncoder(umt5(len(words) + 3, width, 2, 4, width // 4, 2 * width), word_pieces(words))": "heads of a text encoder",
    },
    "training/base/vae_clips.py": {
        "each = clips // (4 * len(more)) if more else 0": "a quarter of the clips show several",
        "parts = [vae.decode(vae.encode(part.to(vae.device))).float().clamp(-1, 1) for part in video.split(8)]": "clips at a time",
    },
    "training/base/vae.py": {
        "latent = torch.cat([vae.encode(part) for part in video.split(32)])": "clips at a time",
    },
}


def files(*patterns: str) -> list[str]:
    """Tracked files."""
    asked = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True)
    if asked.returncode:
        pytest.skip("no git checkout")
    return asked.stdout.split()


def is_number(node: ast.AST | None, *numbers: int) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value in numbers


def suspicious(tree: ast.AST) -> Iterator[int]:
    """Lines that reckon with a number as a geometry has it, or name one."""
    for node in ast.walk(tree):
        looks = next((look for kind, look in LOOKS if isinstance(node, kind)), None)
        yield from looks(node) if looks else ()


def _tuple(node: ast.Tuple) -> Iterator[int]:
    """A patch."""
    if [getattr(one, "value", None) for one in node.elts] == [1, 2, 2]:
        yield node.lineno


def _reckons(node: ast.BinOp) -> Iterator[int]:
    """Divides or multiplies by a number, halves a length, makes a noise level a timestep."""
    left, right = node.left, node.right
    if isinstance(node.op, ast.FloorDiv | ast.Mod):
        halves = is_number(right, 2) and LENGTHS.search(ast.unparse(left))
        if halves or is_number(right, *NUMBERS, 6):  # six: a head in three parts of whole pairs
            yield node.lineno
    elif isinstance(node.op, ast.Mult):
        for number, other in ((left, right), (right, left)):
            clocked = is_number(number, 1000) and CLOCKED.search(ast.unparse(other))
            if clocked or is_number(number, *NUMBERS):
                yield node.lineno


def _assigns(node: ast.Assign | ast.AnnAssign) -> Iterator[int]:
    """Names a number, or the bounds of one."""
    target = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
    bounded = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "bounded"
    least = bounded and BOUNDED.search(target) and _has(node.value.args[:1], *NUMBERS, 5)
    if least or (NAMED.search(target) and is_number(node.value, *NUMBERS, 2, 1000)):
        yield node.lineno


def _defaults(node: ast.arguments) -> Iterator[int]:
    pairs = zip(node.args[len(node.args) - len(node.defaults) :], node.defaults, strict=True)
    yield from (one.lineno for one, value in pairs if NAMED.search(one.arg) and is_number(value, *NUMBERS))


def _given(node: ast.keyword) -> Iterator[int]:
    if NAMED.search(node.arg or "") and is_number(node.value, *NUMBERS, 1000):
        yield node.value.lineno


def _cuts(node: ast.Subscript) -> Iterator[int]:
    """Takes so many channels or pictures; not of a shape, whose parts are dimensions."""
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    ends = [end for one in parts if isinstance(one, ast.Slice) for end in (one.lower, one.upper, one.step)]
    if _has(ends, *CUTS) and not ast.unparse(node.value).endswith(".shape"):
        yield node.lineno


def _sizes(node: ast.Call) -> Iterator[int]:
    """Steps over, pools, splits or makes so many."""
    name = ast.unparse(node.func).rpartition(".")[2]
    first = {"range": 2, "unflatten": 1}.get(name, 0)  # behind the bounds, and the dimension
    if (name == "range" or SIZED.fullmatch(name)) and _has(node.args[first:], *NUMBERS):
        yield node.lineno


def _compares(node: ast.Compare) -> Iterator[int]:
    """Asks for so many channels."""
    if _has([node.left, *node.comparators], *CUTS[1:]):
        yield node.lineno


def _has(nodes: Sequence[ast.AST | None], *numbers: int) -> bool:
    """One of the numbers is among these, or in a tuple among them."""
    return any(
        _has(one.elts, *numbers)
        if isinstance(one, ast.Tuple | ast.List | ast.Set)
        else is_number(one, *numbers)
        for one in nodes
    )


LOOKS = (
    (ast.Tuple, _tuple),
    (ast.BinOp, _reckons),
    (ast.Assign | ast.AnnAssign, _assigns),
    (ast.arguments, _defaults),
    (ast.keyword, _given),
    (ast.Subscript, _cuts),
    (ast.Call, _sizes),
    (ast.Compare, _compares),
)


def found(file: str) -> set[str]:
    """The lines of a file that are suspicious."""
    text = (ROOT / file).read_text("utf-8")
    lines = text.splitlines()
    return {lines[number - 1].strip() for number in suspicious(ast.parse(text))}


def test_a_backbones_numbers_are_in_its_geometry_alone() -> None:
    searched = [
        file
        for file in files("*.py")
        # A VAE's layers are so many times as wide as its first; it asks its geometry for the rest
        # (test_geometry).
        if file.startswith(ROOMS) and not file.endswith(("/geometry.py", "wan/vae.py", "wan/vae22.py"))
    ]
    assert len(searched) > 150
    every = {file: lines for file in searched if (lines := found(file))}
    left = {file: set(lines) for file, lines in LEFT.items()}
    odd = {
        file: lines - left.get(file, set()) for file, lines in every.items() if lines - left.get(file, set())
    }
    assert not odd, f"ask the geometry, or say in LEFT why not: {odd}"
    gone = {
        file: lines - every.get(file, set()) for file, lines in left.items() if lines - every.get(file, set())
    }
    assert not gone, f"no longer there, take it out of LEFT: {gone}"


@pytest.mark.parametrize(
    "line",
    [
        "grid = (frames - 1) // 4 + 1", "pictures = 4 * (frames - 1) + 1", "ok = count % 4 == 1", "if side % 16: pass",
        "rows = height // 8", "tokens = f * rows // 2", "conv = Conv3d(3, 4, (1, 2, 2))", "TRAINED_STEPS = 1000",
        "clock = sigma * 1000", "mask = grey[:, :4]", "def reach(stride: int = 16): pass", "model.set(multiplier=1000)",
        "PATCH = 2", "size = columns * 16", "latent = x[:, :16]", "mask = x[:, 16:20]", "few = film[1::4]",
        "firsts = range(1, count, 4)", "x = values.unflatten(0, (-1, 4))", "cells = F.avg_pool2d(mask, 8)", "x.split(4, dim=2)",
        "latent = torch.zeros(1, 16, *grid)", "mask = cells.repeat(1, 4, 1, 1, 1)", "ok = channels in (16, 48)", "held = shown * 4", "third = 2 * (size // 6)", "size: int = bounded(16, 4096, 256)",
    ],
)  # fmt: skip
def test_the_search_finds_what_it_is_for(line: str) -> None:
    assert list(suspicious(ast.parse(line)))


@pytest.mark.parametrize("name", ["refvid.wan", *MOVED, *(one.replace(".", "/") for one in MOVED)])
def test_no_module_of_an_old_place_is_named(name: str) -> None:
    itself = "tests/unit/house/test_house_geometry.py"
    named = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
    for file in files("*.py", "*.toml", "*.md", "Makefile", ".ci/*"):
        if file not in (itself, "docs/log.md", "CHANGELOG.md"):
            text = (ROOT / file).read_text("utf-8")
            assert not named.search(text), f"{file} names {name}"
