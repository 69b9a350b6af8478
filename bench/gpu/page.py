"""docs/gpu.md, made from the results that are kept in the tree: what ran on which GPU, and what no GPU stands
behind."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from .features import FEATURES, Feature
from .sheet import Sheet, read_sheet

FOLDER, PAGE, IMAGES = "bench/gpu/kept", "docs/gpu.md", "docs/images"
EVEN = 0.02  # ratios this near to 1 are no difference
HEAD = """# What has run on a GPU, and what has not

Made by `python bench/gpu_run.py --keep FOLDER` from the results in `bench/gpu/kept/`; a test holds that this page is what they say. The kernels themselves: [kernels.md](kernels.md).
"""
NOTHING = """**No GPU has run anything of this pack yet.** Nothing on any page of it is a time, a memory or a result of a GPU."""
HOW = """## How it is run

`python bench/gpu_run.py --out FOLDER` on a machine with a CUDA GPU, from the repository's folder; five parts of under ten minutes each, in order of value. It may be stopped at any time; a second call goes on.

| part | what it does |
|---|---|
| `correct` | the tests marked `gpu`, of the pack alone and, where a ComfyUI is found, inside it: results and gradients of every kernel, both hosts' controls through every attention, in bf16 and fp16 |
| `speed` | attention calls, forward and with gradients, and whole steps at the sizes of Wan 1.3B and 14B with random values: ours against torch's attention over the kept tokens (its own choice and cuDNN), one bias per key, groups, FlexAttention, a dense mask, sage and comfy-kitchen's INT8. What is not within its error of float64 gets no speed |
| `tiles` | sizes of the kernels' tiles by head size over four sequences; what spills, does not fit or is wrong is dropped; the fastest is taken from a gain of 2 % |
| `training` | a step of masked training at the size of 1.3B with LoRA: seconds and peak memory, by the kernel and by a key bias of minus infinity |
| `demo` | the demo's VAE, base and adapters, from nothing by `demo/runs/*.toml`; a run that is out of time goes on at the next call on the same machine, and what is done lies in `FOLDER/demo`, from where `--keep` takes it |

Ratios are medians of pairs run in turns, with their quartiles. `make test` runs every part on the CPU with tiny shapes, the kernels in Triton's interpreter (`--dry`), to see that it runs; nothing of that is a figure.
"""


@dataclass(frozen=True)
class Kept:
    """The parts that one GPU has run."""

    device: str
    sheets: dict[str, Sheet]


def slug(device: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", device.lower()).strip("_")


def read_kept(root: Path) -> list[Kept]:
    """By device, in alphabetical order."""
    found = []
    for folder in sorted((root / FOLDER).glob("*/")):
        sheets = [read_sheet(file) for file in sorted(folder.glob("*.json"))]
        if sheets:
            found.append(Kept(sheets[0].machine["device"], {sheet.part: sheet for sheet in sheets}))
    return found


def render(root: Path) -> str:
    """The whole page."""
    kept = read_kept(root)
    parts = [HEAD, *([NOTHING + "\n"] if not kept else []), _uncovered(kept), HOW]
    parts += [section for one in kept for section in _device(one, root)]
    return "\n".join(parts)


def covered(feature: Feature, kept: list[Kept]) -> bool:
    """True where some GPU stands behind a feature: tests of it passed and none failed, or figures of it are
    there."""
    for one in kept:
        sheet = one.sheets.get(feature.part)
        if sheet is not None and _stands(feature, sheet):
            return True
    return False


def _stands(feature: Feature, sheet: Sheet) -> bool:
    named = re.compile(feature.named)
    if sheet.part != "correct":
        kind = "best" if sheet.part == "tiles" else "ratio"
        return any(kind in found and named.search(name) for name, found in sheet.cases.items())
    runs = [(found.get("passed", ()), found.get("failures", ())) for found in sheet.cases.values()]
    passed, failed = (sum(bool(named.search(name)) for run in runs for name in run[k]) for k in (0, 1))
    return passed > 0 and failed == 0


def _uncovered(kept: list[Kept]) -> str:
    lines = [f"| {feature.name} | {feature.instead} |" for feature in FEATURES if not covered(feature, kept)]
    table = "| what | what stands behind it instead |\n|---|---|\n" + "\n".join(lines)
    return f"## No GPU stands behind this\n\n{table if lines else 'Nothing of what is listed in bench/gpu/features.py.'}\n"


def _device(one: Kept, root: Path) -> list[str]:
    sections = [f"## {one.device}\n"]
    writers = {"correct": _correct, "speed": _ratios, "tiles": _tiles, "training": _ratios}
    for part, write in writers.items():
        sheet = one.sheets.get(part)
        if sheet is None:
            sections.append(f"### {part}\n\nNot run.\n")
            continue
        at = {**sheet.machine, "cases": len(sheet.cases)}
        versions = ", ".join(
            f"{name} {at[key]}"
            for name, key in (
                ("driver", "driver"), ("torch", "torch"), ("CUDA", "cuda"), ("Triton", "triton"), ("Python", "python"),
                ("kernels", "kernels"),
            )
            if at.get(key)
        )  # fmt: skip
        sections.append(f"### {part}\n\n{at['date']}, {versions}.\n\n{write(sheet)}{_rest(sheet)}")
        if part == "speed":
            sections += [
                f"![{what}](images/{name})\n"
                for what, name in plots_of(one.device).items()
                if (root / IMAGES / name).exists()
            ]
    return sections


def plots_of(device: str) -> dict[str, str]:
    """Plots of a GPU: what they show, and their files' names."""
    return {
        "Times of others over ours, with quartiles": f"gpu_{slug(device)}_ratios.png",
        "Milliseconds of a call by tokens": f"gpu_{slug(device)}_times.png",
    }


def _correct(sheet: Sheet) -> str:
    lines = ["| tests | passed | failed | skipped |", "|---|---|---|---|"]
    for name, found in sheet.cases.items():
        counts = [
            str(len(found[kind])) if kind in found else "–" for kind in ("passed", "failures", "skipped")
        ]
        lines.append(f"| {name} | {' | '.join(counts)} |")
    failed = [name for found in sheet.cases.values() for name in found.get("failures", ())]
    return "\n".join([*lines, "", *(f"- failed: `{name}`" for name in failed), *([""] if failed else [])])


def split(name: str) -> tuple[str, str]:
    """A case's scene and mode, and whom it holds against ours."""
    scene, _, pair = name.rpartition(": ")
    return scene, pair.removesuffix(" / ours")


def _ratios(sheet: Sheet) -> str:
    lines = [
        "| case | against | over ours | quartiles | ms | ours, ms | MiB | ours, MiB | error |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    timed = {name: found for name, found in sheet.cases.items() if "ratio" in found}
    for name, found in timed.items():
        scene, against = split(name)
        ratio = found["ratio"]
        spread = "–" if ratio["low"] is None else f"{ratio['low']:.2f} to {ratio['high']:.2f}"
        peaks = " | ".join(f"{peak:,.0f}" for peak in found["peak"])
        lines.append(
            f"| {scene} | {against} | {ratio['ratio']:.2f} | {spread} | {ratio['milliseconds']:.2f} | "
            f"{ratio['other_milliseconds']:.2f} | {peaks} | {found['error']:.1e} |"
        )
    return "\n".join([*lines, "", _verdict(timed)])


def _verdict(timed: dict[str, dict]) -> str:
    """Plainly: where ours is slower."""
    slower = [
        f"- {name} {found['ratio']['ratio']:.2f}"
        for name, found in timed.items()
        if found["ratio"]["ratio"] < 1 - EVEN
    ]
    told = f"Ours is slower than the other in {len(slower)} of {len(timed)} cases" + (":" if slower else ".")
    return "\n".join([told, "", *slower, *([""] if slower else [])])


def _tiles(sheet: Sheet) -> str:
    lines = ["| kernel | before | taken | gain | dropped |", "|---|---|---|---|---|"]
    for name, found in sheet.cases.items():
        if "best" in found:
            used, best = (" x ".join(map(str, found[key])) for key in ("used", "best"))
            dropped = "; ".join(f"{one}: {reason}" for one, reason in found["dropped"].items()) or "–"
            lines.append(f"| {name} | {used} | {best} | {found['gains'][best]:.3f} | {dropped} |")
    return "\n".join([*lines, ""])


def _rest(sheet: Sheet) -> str:
    """Lines on what came to nothing, and what was not run."""
    lines = [f"- failed: {name}: {reason}" for name, reason in sheet.failed.items()]
    reasons = Counter(
        (split(name)[1], found["left_out"]) for name, found in sheet.cases.items() if "left_out" in found
    )
    lines += [
        f"- left out: {who}, {count} case{'s' if count > 1 else ''}: {reason}"
        for (who, reason), count in reasons.items()
    ]
    lines += [f"- not run: {name}" for name in sheet.left or ()]
    return "\n" + "\n".join([*lines, ""]) if lines else ""
