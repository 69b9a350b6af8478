"""Every recipe with every control, a step each, on small files by the command line: latents in fp32 and bf16.
Guided, so that null passes are in them. ComfyUI's side of it is among the graphs of the server."""

from pathlib import Path

from refvid_golden_inputs import (
    FIRST,
    IDENTITY,
    INPAINTING,
    INSTRUCTION,
    LAST,
    PROMPT,
    SAMA,
    SCENE,
    SECOND,
    SIDE,
    SLOT_ID,
    TOY,
    TOY_SIDE,
    VIDEOMAKER,
    draw_film,
    draw_half,
    scaled,
    small_files,
)
from refvid_golden_record import Record, command, latents

DTYPES = ("fp32", "bf16")
RECIPES = ("saber", "phantom", "bernini", "videomaker", "videomaker_shared", "videomaker_no_text")
EDITING = ("sama", "in_context")
SIZE = ["--width", SIDE, "--height", SIDE, "--device", "cpu", "--scale", 3]
ONE = ["--reference", TOY]
TWO = ["--reference", TOY, "--reference", SECOND]


def record(record: Record, tree: Path, asked: Path, folder: Path) -> None:
    """Latents by type/recipe/case."""
    plain = ["generate", *small_files(), *SIZE, "--frames", 9, "--prompt", PROMPT]
    command(*plain, "--recipe", "saber", "--steps", 1, "--out", folder / "loads")
    masked = ["generate", *small_files(INPAINTING), *plain[1 + len(small_files()) :]]
    edited = ["edit", *small_files(), *SIZE, "--video", SCENE, "--instruction", INSTRUCTION]
    controls = _controls(folder)
    for dtype in DTYPES:
        for recipe in RECIPES:
            cases = {name: one for name, one in controls.items() if _fits(recipe, one)}
            _latents(
                record, f"{dtype}/{recipe}", folder, [*plain, "--recipe", recipe, "--dtype", dtype], cases
            )
        whole = [*plain, "--recipe", "saber", "--dtype", dtype]
        _latents(record, f"{dtype}/rest", folder, whole, _rest(folder))
        whole = [*masked, "--recipe", "saber", "--dtype", dtype]
        _latents(record, f"{dtype}/masked input", folder, whole, controls)
        for recipe in EDITING:
            whole = [*edited, "--recipe", recipe, "--adapter", SAMA, "--dtype", dtype]
            _latents(record, f"{dtype}/{recipe}", folder, whole, controls | _windows(folder))


def _latents(
    record: Record, kind: str, folder: Path, whole: list[object], cases: dict[str, list[object]]
) -> None:
    for name, options in cases.items():
        steps = [] if "--steps" in options else ["--steps", 1]
        with record.case(f"{kind}/{name}"), latents(record, f"{kind}/{name}", enough=True):
            command(*whole, *steps, *options, "--out", folder / "clip")


def _controls(folder: Path) -> dict[str, list[object]]:
    """What may be said of references. Three steps for windows of steps, two where something is kept."""
    left, right = draw_half(folder / "left.png", SIDE), draw_half(folder / "right.png", SIDE, False)
    return {
        "none": [],
        "reference": ONE,
        "kept": [*ONE, "--steps", 2],
        "two": [*TWO, "--strength", "-", "--strength", 0.5],
        "two regions": [*TWO, "--region", left, "--region", right],
        "weak": [*ONE, "--strength", 0.4],
        "strong": [*ONE, "--strength", 3],
        "soft": [*ONE, "--soft-mask"],
        "mask": [*ONE, "--mask", draw_half(folder / "mask.png", TOY_SIDE)],
        "early": [*ONE, "--steps-window", "0:0.7:0:0.5", "--steps", 3],
        "late": [*ONE, "--steps-window", "0.3:1:0.5:0", "--steps", 3],
        "first frames": [*ONE, "--frames-window", "0:4"],
        "later frames": [*ONE, "--frames-window", "5:8"],
        "region": [*ONE, "--region", left],
        **{f"sees {sees}": [*ONE, "--sees", sees] for sees in ("video", "itself", "frames")},
        "lora": [*ONE, "--lora", VIDEOMAKER],
        "weak lora": [*ONE, "--lora", f"{VIDEOMAKER}@0.5"],
    }


def _fits(recipe: str, options: list[object]) -> bool:
    return not recipe.startswith("videomaker") or options.count("--reference") < 2  # it takes one


def _rest(folder: Path) -> dict[str, list[object]]:
    """Guidance, identities and given frames, alone and beside a reference."""
    someone = ["--identity", IDENTITY, "--adapter", SLOT_ID]
    given = ["--given", f"{scaled(FIRST, folder, SIDE)}@0"]
    ends = [*given, "--given", f"{scaled(LAST, folder, SIDE)}@-1"]
    window = ["--guidance-window", "0.1:0.9:0.4:0.2", "--steps", 3]
    return {
        "unguided": [*ONE, "--scale", 1],
        "separate": [*ONE, "--image-scale", 1.5],
        "window": [*ONE, *window],
        "separate window": [*ONE, *window, "--image-scale", 2],
        **{f"renorm {over}": [*ONE, "--renorm", over] for over in ("clip", "frames")},
        "eager": [*TWO, "--attention", "eager"],
        "deterministic": [*TWO, "--attention", "deterministic"],
        "identity": someone,
        **{f"identity {part}": [*someone, "--identity-parts", part] for part in ("slots", "anchor")},
        "identity weak": [*someone, "--identity-strength", 0.3],
        "identity and reference": [*someone, *ONE, "--strength", 0.5, "--image-scale", 2],
        "first frame": given,
        "ends": [*ends, "--steps", 2],
        "ends shared": [*ends, "--clock", "shared", "--steps", 2],
        "ends and reference": [*ends, *ONE, "--strength", 0.5],
        "everything": [*ends, *someone, *TWO, "--sees", "frames", "--sees", "-", "--steps", 2],
    }


def _windows(folder: Path) -> dict[str, list[object]]:
    """Of edits alone."""
    long = ["--video", draw_film(folder / "long.gif", SIDE), "--window", 9, "--overlap", 4]
    return {
        "windows": long,
        "windows and frames": [*long, *ONE, "--frames-window", "5:8"],
        "weak adapter": ["--adapter-strength", 0.5],
    }
