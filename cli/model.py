"""The model on the command line: its files, and the progress of its work."""

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from ..kernels.paths import ATTENTION_NAMES, PATHS_BY_NAME

logger = logging.getLogger(__name__)
_DTYPES = ("fp32", "bf16", "fp16")  # the first is the default
# Those of `core.recipes`, which imports torch.
RECIPE_NAMES = ("saber", "phantom", "bernini", "skyreels_v3", "refalign", "kaleido", "concat_id", "stand_in", "vace",
                "videomaker", "videomaker_shared", "videomaker_no_text")  # fmt: skip
_AUTO = "auto"  # of --recipe and --attention


def add_attention(command: argparse.ArgumentParser) -> None:
    """Add `--attention`."""
    command.add_argument(
        "--attention",
        choices=ATTENTION_NAMES,
        default=_AUTO,
        help="auto: the fastest that is exact, timed once on a GPU; deterministic: a fixed order, nothing is "
        "timed; triton: this package's kernel; eager: plain torch, slow, to check the others by",
    )


def add_recipe(command: argparse.ArgumentParser) -> None:
    """Add `--recipe`."""
    command.add_argument(
        "--recipe",
        default=_AUTO,
        metavar="NAME",
        help=f"how references enter, as the weights were trained: {', '.join(RECIPE_NAMES)}; {_AUTO}: what the DiT's file says, "
        "or is called",
    )


def add_files(command: argparse.ArgumentParser) -> None:
    """Add `--dit`, `--vae`, `--text-encoder`, `--lora`, `--dtype` and `--device`."""
    group = command.add_argument_group("model", "the files ComfyUI uses; without them the demo model")
    group.add_argument(
        "--dit", type=Path, metavar="FILE", help="Wan T2V, I2V, Fun-InP or TI2V (.safetensors)"
    )
    group.add_argument(
        "--vae", type=Path, metavar="FILE", help="Wan 2.1 VAE, or Wan 2.2 VAE for TI2V-5B (.safetensors)"
    )
    group.add_argument(
        "--text-encoder", type=Path, metavar="FILE", help="UMT5 in ComfyUI's format (.safetensors)"
    )
    group.add_argument(
        "--lora",
        action="append",
        default=[],
        metavar="FILE[@STRENGTH]",
        help="a LoRA in ComfyUI's key names (lora_A and lora_B or lora_down and lora_up, alpha, dora_scale, "
        "diff, diff_b), all of which is used or refused; with --recipe auto the recipe it was trained for; "
        "repeat for more",
    )
    group.add_argument(
        "--dtype", choices=_DTYPES, help=f"numbers that the model runs in; default {_DTYPES[0]}"
    )
    group.add_argument("--device", help="cpu or cuda; default cuda where there is one")


def load_files(options: argparse.Namespace, hints: bool = False):
    """The demo model, or the three files given together, with the LoRAs; a VACE where the command shows its
    branch `hints`. ValueError for options of a model that make no sense, before a file is read."""
    from ..demo import models
    from ..hosts.plain.pipeline import load_pipeline

    device, dtype = runs_on(options)
    loras = [_lora(said) for said in options.lora]
    files = (options.dit, options.vae, options.text_encoder)
    if any(files) and not all(files):
        raise ValueError(
            "--dit, --vae and --text-encoder belong together: give all three, or none for the demo model"
        )
    how = {"dtype": dtype, "device": device}
    backbone = load_pipeline(*files, **how, hints=hints) if all(files) else models.load_demo(**how)
    return _with_loras(backbone, loras, getattr(options, "recipe", _AUTO))


def runs_on(options: argparse.Namespace) -> tuple[str, Any]:
    """Device and dtype that are asked for; else the GPU where there is one, and fp32. ValueError where the
    device is not there, or cannot run the attention that is asked for by name."""
    import torch

    from ..kernels.paths import Need, choose_path
    from ..kernels.segment_attention import why_not

    device = chosen_device(options)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[
        options.dtype or _DTYPES[0]
    ]
    attention = getattr(options, "attention", _AUTO)
    choice = choose_path(Need(no_triton=why_not(torch.device(device), dtype)), attention)
    if attention in PATHS_BY_NAME and attention != choice.path.name:
        raise ValueError(f"--attention {attention}: {choice.reason}; leave it out, or give another --device")
    return device, dtype


def chosen_device(options: argparse.Namespace) -> str:
    """The device that is asked for, where the command asks; else the GPU where there is one."""
    import torch

    asked = getattr(options, "device", None)
    return require_device(asked or ("cuda" if torch.cuda.is_available() else "cpu"))


def require_device(name: str) -> str:
    """A device that is there, as it is named: cpu, cuda, or cuda:N. ValueError for another."""
    import torch

    kind, sign, number = name.partition(":")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind not in ("cpu", "cuda") or (sign and (kind == "cpu" or not number.isdecimal())):
        raise ValueError(f"--device {name}: is no device known here; needed cpu, cuda, or cuda:N")
    if kind == "cuda" and int(number or 0) >= count:
        known = "no CUDA device here" if not count else f"{count} here, counted from 0"
        raise ValueError(
            f"--device {name}: there is {known}; give cpu" + (f", or cuda:0 to {count - 1}" if count else "")
        )
    return name


def _lora(text: str) -> tuple[str, float]:
    """(file, strength) of FILE or FILE@STRENGTH."""
    file, sign, strength = text.rpartition("@")
    if not sign or Path(text).is_file():
        return text, 1.0
    try:
        return file, float(strength)
    except ValueError as error:
        raise ValueError(f"--lora {text}: {strength!r} is no strength; needed FILE or FILE@0.8") from error


def _with_loras(backbone: Any, loras: list[tuple[str, float]], recipe: str) -> Any:
    """The backbone with each LoRA merged, and the recipe that those that act were trained for. ValueError
    where that is more than one and none is chosen."""
    from ..backbones.wan.lora import merge_lora_file

    trained = {}
    for file, strength in loras:
        says = merge_lora_file(backbone.dit, file, strength, "--lora")
        if says is not None and strength:
            trained.setdefault(says, Path(file).name)
    if len(trained) > 1:
        named = ", ".join(f"{file} for {says}" for says, file in trained.items())
        several = f"--lora: files that were trained for different recipes: {named}"
        if recipe == _AUTO:
            raise ValueError(f"{several}; choose with --recipe where the command has it, or leave one out")
        logger.warning("refvid: %s; --recipe says %s", several, recipe)
    return replace(backbone, recipe=next(reversed(trained), backbone.recipe))


RUN_HELP = {
    "width": "of the video in pixels, a multiple of 16 (32 for TI2V-5B); default 832, of the demo model 96",
    "height": "of the video in pixels, as --width; default 480, of the demo model 96",
    "frames": "of the video, 4k + 1; default 81, of the demo model 17",
    "steps": "of sampling: more take longer and may be cleaner; default 50, of the demo model 20",
    "scale": "guidance: how strongly prompt and references are followed, 1 is none; default 5, of the demo model 2",
    "shift": "of the flow: a larger one spends more steps at high noise; default 5, of the demo model 3",
    "fps": "frames a second; default 16",
    "seed": "of the noise: another seed makes another video; default 0",
}


def add_run(command: argparse.ArgumentParser, settings: Sequence[tuple[str, type]]) -> None:
    """Add options for some of `hosts.plain.pipeline.Settings`."""
    group = command.add_argument_group("run", "defaults are Wan 2.1's, unless the DiT's file says others")
    for name, kind in settings:
        group.add_argument(f"--{name}", type=kind, help=RUN_HELP[name])


def read_settings(options: argparse.Namespace, own: Any) -> Any:
    """Settings of the model, with what the command line says instead. ValueError as `Settings` says."""
    given = {field.name: getattr(options, field.name, None) for field in fields(own)}
    try:
        return replace(own, **{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise ValueError(f"--{error}") from error  # it begins with the field's name


class ProgressBar:
    """A progress bar that is told (done, of); a smaller `done` starts the count anew."""

    def __init__(self, unit: str):
        self.unit, self.bar = unit, None

    def __enter__(self) -> Callable[[int, int], None]:
        return self.update

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def update(self, done: int, of: int) -> None:
        if self.bar is None:  # drawn once there is something to tell, not before a refusal
            from tqdm import tqdm

            self.bar = tqdm(desc=self.unit, leave=False)
        if done < self.bar.n:
            self.bar.reset()
        self.bar.total = of
        self.bar.update(done - self.bar.n)
