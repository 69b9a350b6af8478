"""Does this tree make what a commit makes? Both are recorded, the commit in a worktree, and compared.

    make golden OLD=COMMIT ONLY=PART

Records of a commit are kept below build/golden/ and made again where the recorder, what it gives, torch or
ComfyUI are others. What may differ is said in moved.toml.
"""

import argparse
import sys
from pathlib import Path

from safetensors import safe_open

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.append(str(ROOT / "tests" / "support"))

import refvid_comfy  # noqa: E402
import refvid_golden_table as table  # noqa: E402
from refvid_golden_compare import Compared, compare, read_moved  # noqa: E402
from refvid_golden_trees import KEPT, Side, commit, made_records, worktree  # noqa: E402

PARTS = {  # the longest first: two are made at a time
    "server": "in ComfyUI every shipped workflow and kept graph, a step of every recipe with every control",
    "trainers": "what `refvid train PART --smoke` exports and what it minimises",
    "evidence": "figures, tables and sheets of `refvid ablate` and `refvid score --frames`, in small",
    "commands": "clips of every command that generates or edits, identities, figures",
    "forwards": "a step of every recipe with every control by the command line, fp32 and bf16",
}
BAR = "!" * 100


def main() -> int:
    """0: all equal or allowed; 1: something is not, or was not made; 2: bad input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--old", default="before-house", metavar="COMMIT", help="default: %(default)s")
    parser.add_argument(
        "--only", choices=PARTS, help="; ".join(f"{name}: {what}" for name, what in PARTS.items())
    )
    options = parser.parse_args()
    try:
        return golden(options.old, [options.only] if options.only else list(PARTS))
    except ValueError as error:
        print(f"make golden: {error}", file=sys.stderr)
        return 2


def golden(name: str, parts: list[str]) -> int:
    """Record, compare, print. ValueError for a name that is no commit, a broken moved.toml."""
    sha, moved, comfyui = commit(name), read_moved(HERE / "moved.toml"), refvid_comfy.find_comfyui()
    if comfyui is None and "server" in parts:
        print(f"{BAR}\n!! NOT MADE: the part server. No ComfyUI found; COMFYUI_PATH names it.\n{BAR}")
    tree = worktree(sha)
    old, new = Side(tree, tree, sha), Side(ROOT, tree)
    print(f"== {name}, {sha[:12]}, against the files of {ROOT.name}/", flush=True)
    able = [part for part in parts if part != "server" or comfyui is not None]
    made = made_records([(part, side) for part in able for side in (old, new)], comfyui)
    wrong = {f"{part} of {side.tree}": said for (part, side), said in made.items() if isinstance(said, str)}
    whole = {part: [made[part, side] for side in (old, new)] for part in able}
    whole = {part: pair for part, pair in whole.items() if all(isinstance(one, Path) for one in pair)}
    compared = [compare(part, *pair) for part, pair in whole.items()]
    seconds = {part: tuple(map(_seconds, pair)) for part, pair in whole.items()}
    print("\n".join(table.lines(compared, moved, seconds)))
    _write_all(compared)
    for what, said in wrong.items():
        print(f"{BAR}\n!! NOT MADE: {what}\n{said}\n{BAR}")
    if len(compared) < len(parts) or any(_is_refused(one, moved) for one in compared):
        return 1
    print(
        "equal" if not any(one.differences for one in compared) else "equal, but for what moved.toml allows"
    )
    return 0


def _write_all(compared: list[Compared]) -> None:
    """Everything that differs, by name: the table shows the largest of each part."""
    names = sorted(
        f"{one.name}\t{one.share:.3g}\t{one.says}" for part in compared for one in part.differences
    )
    if names:
        (KEPT / "differences.tsv").write_text("\n".join(names) + "\n", "utf-8")
        print(f"all {len(names)} names: {(KEPT / 'differences.tsv').relative_to(ROOT)}")


def _is_refused(one: Compared, moved: list) -> bool:
    """A part that holds nothing proves nothing."""
    return not one.both or any(found.allowed_by(moved) is None for found in one.differences)


def _seconds(path: Path) -> float:
    with safe_open(path, "pt") as file:
        return float(file.metadata()["seconds"])


if __name__ == "__main__":
    sys.exit(main())
