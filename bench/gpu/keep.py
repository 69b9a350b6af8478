"""Results of a run into the tree: the files themselves, lines of bench/results.csv, tiles, plots,
docs/gpu.md. Imports no torch."""

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

from rows import Ratio, add_rows, row_of, write_whole

from .page import FOLDER, PAGE, Kept, read_kept, render, slug
from .sheet import Sheet, file_of, read_sheet

PARTS = ("correct", "speed", "tiles", "training", "demo")
TILES, RESULTS = "kernels/tiles.json", "bench/results.csv"


def keep(folder: Path, root: Path) -> None:
    """Take what a folder holds into the tree at `root`. ValueError where it holds nothing, something broken,
    or what a dry run made: nothing is then changed."""
    sheets = read_folder(folder)
    dry = [part for part, sheet in sheets.items() if sheet.dry]
    if dry:
        names = ", ".join(file_of(folder, part).name for part in dry)
        raise ValueError(
            f"--keep: {names} in {folder}: of a dry run, whose figures mean nothing; run it on a GPU"
        )
    if len({sheet.machine["device"] for sheet in sheets.values()}) > 1:
        raise ValueError(
            f"--keep: the parts in {folder} were run on different devices; keep them from folders of their own"
        )
    take_weights(folder, sheets, root)  # first: it may refuse
    put(sheets, root)


def take_weights(folder: Path, sheets: Mapping[str, Sheet], root: Path) -> None:
    """The demo's models that were trained, to where the pack has its own. ValueError where one is not there:
    nothing is then changed."""
    runs = sheets["demo"].cases.values() if "demo" in sheets else ()
    files = [folder / "demo" / name for found in runs for name in found.get("files", ())]
    for file in files:
        if not file.is_file():
            raise ValueError(f"--keep: {file} is not there; bring it back from the machine too")
    for file in files:
        shutil.copy(file, made_folder(root / place_of(file.stem)))


def place_of(name: str) -> str:
    """Place of one of the demo's models in the tree."""
    kind = {"vae": "vae", "dit": "diffusion_models", "text_encoder": "text_encoders"}.get(name, "loras")
    return f"demo/models/{kind}/refvid_demo_{name}.safetensors"


def made_folder(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def rehearse(folder: Path, root: Path) -> None:
    """Keep what a dry run made in a copy of what it changes."""
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place)
        for name in (TILES, "kernels/tiles.py", RESULTS):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, tree / name)
        put(read_folder(folder), tree)
        again = read_kept(tree)
        if (tree / PAGE).read_text("utf-8") != render(tree) or len(again) != 1:
            raise ValueError("--dry: what was kept does not read back as it was written")


def read_folder(folder: Path) -> dict[str, Sheet]:
    """The parts that are there. ValueError where none is."""
    files = {part: file_of(folder, part) for part in PARTS}
    found = {part: read_sheet(file) for part, file in files.items() if file.exists()}
    if not found:
        raise ValueError(f"--keep: {folder} holds none of {', '.join(file.name for file in files.values())}")
    return found


def put(sheets: Mapping[str, Sheet], root: Path) -> None:
    """All of it is worked out before anything is written."""
    table = None if "tiles" not in sheets else tuned(root, sheets["tiles"])
    rows = [row for sheet in sheets.values() for row in rows_of(sheet)]
    place = root / FOLDER / slug(next(iter(sheets.values())).machine["device"])
    for part, sheet in sheets.items():
        write_whole(file_of(place, part), json.dumps(asdict(sheet), indent=1) + "\n")
    new = add_rows(rows, root / RESULTS)
    if table is not None:
        write_whole(root / TILES, table)
    print(f"kept: {', '.join(sheets)}; {new} new lines of {RESULTS}")
    renew(root)


def renew(root: Path) -> None:
    """Plots and page from what is kept in the tree."""
    drawn = draw(read_kept(root), root)
    write_whole(root / PAGE, render(root))
    print(f"drawn: {drawn} plots; written: {PAGE}")


def rows_of(sheet: Sheet) -> list[dict[str, str]]:
    """A line a ratio."""
    bench = f"gpu {sheet.part}" + (" (dry)" if sheet.dry else "")
    return [
        row_of(bench, name, Ratio(**found["ratio"]), sheet.machine)
        for name, found in sheet.cases.items()
        if "ratio" in found
    ]


def tuned(root: Path, sheet: Sheet) -> str:
    """The table of tiles in the tree with the winners of a run in it."""
    tiles = tiles_of(root)
    table = tiles.read_table((root / TILES).read_text("utf-8"))
    for found in sheet.cases.values():
        if found.get("best") in (None, found.get("used")):
            continue
        architecture = found["architecture"]
        sizes = dict(table.get(architecture, table[tiles.SMALLEST]))
        sizes[found["size"]] = replace(sizes[found["size"]], **{found["kernel"]: tiles.Tiles(*found["best"])})
        table[architecture] = sizes
    text = tiles.table_text(table)
    tiles.read_table(text)
    return text


def tiles_of(root: Path) -> ModuleType:
    """kernels/tiles.py by itself: the pack would bring torch along."""
    spec = importlib.util.spec_from_file_location("refvid_tiles", root / "kernels/tiles.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    importlib.import_module("sys").modules["refvid_tiles"] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def draw(kept: list[Kept], root: Path) -> int:
    """-> how many plots were drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        print("!! NO PLOTS: matplotlib is not installed; pip install matplotlib, then --keep again")
        return 0
    from .plots import draw_all

    return draw_all(kept, root)
