"""Clips of every command that generates, edits, reads or measures, on the tree's own demo model."""

import json
import shutil
from pathlib import Path

from refvid_golden_inputs import (
    FILM,
    FILM_MASK,
    FIRST,
    INSTRUCTION,
    LAST,
    PROMPT,
    SCENE,
    SECOND,
    TOY,
    draw_film,
    draw_half,
)
from refvid_golden_record import Record, command, latents, numbers
from safetensors import safe_open
from safetensors.torch import save_file

FEW = ["--steps", 3, "--device", "cpu"]
SIDE = 96
WINDOW = "0.1:0.9:0.2:0.2"


def record(record: Record, tree: Path, asked: Path, folder: Path) -> None:
    """Clips, as frames and as the latents that were decoded to them; identity files; figures."""
    command("generate", "--prompt", PROMPT, "--steps", 1, "--out", folder / "loads")
    loras = tree / "demo" / "models" / "loras"
    _identities(record, folder)
    for name, options in _generated(folder, loras).items():
        _clip(record, name, folder, "generate", "--prompt", PROMPT, *options)
    for name, options in _long(folder).items():
        _clip(record, name, folder, "long", "--prompt", PROMPT, *options)
    for name, options in _edited(folder).items():
        _clip(record, name, folder, "edit", "--video", SCENE, "--instruction", INSTRUCTION, *options)
    _demo(record, folder)
    _looked_at(record, folder)
    _scored(record, folder)
    _measured(record, folder, tree / "demo" / "models")


def _clip(record: Record, name: str, folder: Path, *arguments: object) -> None:
    out = folder / name.replace(" ", "_")
    with record.case(name):
        with latents(record, name):
            command(*arguments, *FEW, "--out", out)
        record.keep_file(f"{name}/frames", out)


def _generated(folder: Path, loras: Path) -> dict[str, list[object]]:
    left = draw_half(folder / "left.png", SIDE)
    one, two = ["--reference", TOY], ["--reference", TOY, "--reference", SECOND]
    someone = ["--identity", folder / "who.safetensors"]
    return {
        "generate plain": [],
        "generate negative": [*one, "--negative", "a toy on light background", "--seed", 5],
        "generate reference": one,
        "generate reference bf16": [*one, "--dtype", "bf16"],
        "generate unguided": [*one, "--scale", 1],
        "generate two in regions": [*two, "--region", left, "--region", "-", "--strength", "-",
                                    "--strength", 0.5],
        "generate controls": [*one, "--strength", 2, "--steps-window", WINDOW, "--frames-window", "0:4",
                              "--sees", "video", "--soft-mask"],
        "generate guidance": [*one, "--image-scale", 1.5, "--guidance-window", WINDOW, "--renorm", "frames"],
        "generate videomaker": [*one, "--lora", loras / "refvid_demo_videomaker.safetensors"],
        "generate videomaker weak": [*one, "--lora", f"{loras / 'refvid_demo_videomaker.safetensors'}@0.6",
                                     "--recipe", "videomaker_shared", "--strength", 0.5],
        "generate identity": someone,
        "generate identity weak": [*someone, *one, "--identity-strength", 0.4, "--identity-parts", "slots"],
        "generate first frame": ["--given", f"{FIRST}@0"],
        "generate ends": [*one, "--given", f"{FIRST}@0", "--given", f"{LAST}@-1", "--clock", "shared"],
        "generate goes on": ["--given", f"{SCENE}@0-4", "--frames", 13],
    }  # fmt: skip


def _long(folder: Path) -> dict[str, list[object]]:
    keys = ["--keys", 3, "--stride", 4]
    return {
        "long": [*keys, "--reference", TOY, "--between-prompt", "a toy on dark background"],
        "long from a clip": ["--from", folder / "generate_reference", "--keys", 3, "--stride", 4, "--keep", 4,
                             "--clock", "shared"],
    }  # fmt: skip


def _edited(folder: Path) -> dict[str, list[object]]:
    windows = ["--video", draw_film(folder / "long.gif", SIDE), "--window", 9, "--overlap", 4]
    return {
        "edit": [],
        "edit windows": windows,
        "edit in context": ["--recipe", "in_context"],
        "edit with reference": [*windows, "--reference", TOY, "--strength", 0.6, "--adapter-strength", 0.5],
    }


def _identities(record: Record, folder: Path) -> None:
    """Read from a film, whole and where a mask shows the subject."""
    for name, options in {"who": ["--mask", FILM_MASK], "whole": ["--anchor", 2]}.items():
        file, drawn = folder / f"{name}.safetensors", folder / f"{name}.png"
        with record.case(f"identity {name}"):
            command("identity", "make", "--video", FILM, *options, "--out", file, "--routing", drawn)
            record.keep_file(f"identity {name}", file)
            record.keep_file(f"identity {name}/routing", drawn)


def _demo(record: Record, folder: Path) -> None:
    with record.case("demo"):
        with latents(record, "demo"):
            said, _ = command("demo", "--out", folder / "demo")
        record.keep_file("demo/frames", folder / "demo" / "demo.mp4")
        record.keep_file("demo/sheet", folder / "demo" / "demo.png")
        record.keep("demo/figures", numbers(said))


def _looked_at(record: Record, folder: Path) -> None:
    """What references would add."""
    asked = ["--reference", TOY, "--reference", SECOND, "--sees", "itself", "--sees", "-", "--strength", "-"]
    with record.case("inspect"):
        said, _ = command("inspect", *asked, "--strength", 0.5, "--out", folder / "inspect.png")
        record.keep_file("inspect/sheet", folder / "inspect.png")
        record.keep("inspect/figures", numbers(said))


def _scored(record: Record, folder: Path) -> None:
    """Two clips beside their references."""
    clips = folder / "clips"
    clips.mkdir()
    with record.case("score clips"):
        for name, picture in (("one", TOY), ("two", SECOND)):
            out = clips / f"{name}.mp4"
            command("generate", "--prompt", PROMPT, "--reference", picture, *FEW, "--out", out)
            shutil.copy(picture, out.with_suffix(".png"))
        said, _ = command("score", clips, "--out", folder / "scored")
        record.keep("score clips/table", numbers(said))
        record.keep_file("score clips/report", folder / "scored" / "score.json")


def _measured(record: Record, folder: Path, models: Path) -> None:
    """Two toys of the demo world. No option says how many steps are taken, but the DiT's file does."""
    dit = models / "diffusion_models" / "refvid_demo_dit.safetensors"
    with safe_open(dit, "pt") as file:
        tensors, said = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    hasty = folder / "hasty.safetensors"
    settings = json.dumps({**json.loads(said["refvid.settings"]), "steps": 2})
    save_file(tensors, hasty, {**said, "refvid.settings": settings})
    files = ["--dit", hasty, "--vae", models / "vae" / "refvid_demo_vae.safetensors"]
    files += ["--text-encoder", models / "text_encoders" / "refvid_demo_text_encoder.safetensors"]
    for name, options in {"toys": [], "controls": ["--controls"]}.items():
        with record.case(f"score {name}"):
            with latents(record, f"score {name}"):
                table, _ = command("score", *files, "--toys", 2, *options, "--out", folder / f"score_{name}")
            record.keep(f"score {name}/table", numbers(table))
