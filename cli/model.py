"""The model on the command line: its files, and how far its work has come."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

DTYPES = ("fp32", "bf16", "fp16")


def add_files(command: argparse.ArgumentParser) -> None:
    """`--dit`, `--vae`, `--text-encoder`, `--dtype`, `--device`."""
    group = command.add_argument_group("model", "the files ComfyUI uses; without them the demo model")
    group.add_argument("--dit", type=Path, metavar="FILE", help="Wan T2V, I2V or Fun-InP (.safetensors)")
    group.add_argument("--vae", type=Path, metavar="FILE", help="Wan 2.1 VAE (.safetensors)")
    group.add_argument(
        "--text-encoder", type=Path, metavar="FILE", help="UMT5 in ComfyUI's format (.safetensors)"
    )
    group.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="FILE[@STRENGTH]",
        help="a LoRA in ComfyUI's key names; with --recipe auto the recipe it was trained for; repeat for more",
    )
    group.add_argument("--dtype", choices=DTYPES, default="fp32")
    group.add_argument("--device", help="cpu or cuda; default cuda where there is one")


def load_files(options: argparse.Namespace):
    """The demo model, or the three files given together."""
    import torch

    from ..demo import models
    from ..hosts.pipeline import load_backbone

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[options.dtype]
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    files = (options.dit, options.vae, options.text_encoder)
    if any(files) and not all(files):
        raise ValueError(
            "--dit, --vae and --text-encoder belong together: give all three, or none for the demo model"
        )
    how = {"dtype": dtype, "device": device}
    backbone = load_backbone(*files, **how) if all(files) else models.load_demo(**how)
    return _with_loras(backbone, options.lora)


def _with_loras(backbone: Any, said: list[str]) -> Any:
    from ..wan.lora import merge_lora_file

    for one in said:
        file, sign, strength = one.rpartition("@")
        if not sign or Path(one).is_file():
            file, strength = one, "1"
        try:
            weight = float(strength)
        except ValueError as error:
            raise ValueError(f"--lora {one}: {strength!r} is no strength; needed FILE or FILE@0.8") from error
        recipe = merge_lora_file(backbone.dit, file, weight, "--lora")
        backbone = replace(backbone, recipe=recipe or backbone.recipe)
    return backbone


def add_run(command: argparse.ArgumentParser, settings: Sequence[tuple[str, type]]) -> None:
    """Options for some of `hosts.pipeline.Settings`."""
    group = command.add_argument_group("run", "defaults come from the DiT's file, else Wan 2.1's")
    for name, kind in settings:
        group.add_argument(f"--{name}", type=kind)


def read_settings(options: argparse.Namespace, own: Any) -> Any:
    """The model's own settings with what the command line says instead."""
    given = {field.name: getattr(options, field.name, None) for field in fields(own)}
    return replace(own, **{name: value for name, value in given.items() if value is not None})


class Progress:
    """A progress bar that is told (done, of); a smaller `done` starts the count anew."""

    def __init__(self, unit: str):
        from tqdm import tqdm

        self.bar = tqdm(desc=unit, leave=False)

    def __enter__(self) -> Callable[[int, int], None]:
        return self.update

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def update(self, done: int, of: int) -> None:
        if done < self.bar.n:
            self.bar.reset()
        self.bar.total = of
        self.bar.update(done - self.bar.n)
