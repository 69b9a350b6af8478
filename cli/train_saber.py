"""`refvid train saber`: from a run file and clips to a LoRA. What needs torch is imported by who uses it."""

import argparse
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .model import ProgressBar, require_device

logger = logging.getLogger(__name__)
RUN_FILE, PLAN_FILE = "run.toml", "plan.txt"  # in the folder of a run
_FILES = ("dit", "vae", "text_encoder")
_ENCODING = ("fps", "pixels", "window", "held_out", "frames")  # tables' keys that folders are prepared by


def train_saber(options: argparse.Namespace) -> None:
    """Train, or with --plan say what it would take. ValueError, before any work, for what cannot train, and
    for what does not fit."""
    from ..training.engine.method import Setting, train
    from ..training.engine.models import Models
    from ..training.engine.state import require_unused
    from ..training.methods.saber.config import require_settings
    from ..training.methods.saber.method import Saber, saber_files
    from ..training.methods.saber.plan import planned_layers

    settings = read_saber(options)
    require_settings(settings)
    _require_files(settings)
    planned_layers(settings)  # before clips are looked at
    device, out = require_device(options.device or _best_device()), Path(settings.out)
    if not options.plan:
        require_unused(saber_files(out.name), out, options.resume)
    prepared, plan = _planned(settings, device, encode=not options.plan)
    told = "\n".join(plan.lines)
    print(told)
    if not plan.plan.fits:
        raise ValueError("the run does not fit, as the plan says; change what it names, or memory.card")
    if options.plan:
        return
    out.mkdir(parents=True, exist_ok=True)
    _leave(settings, told, out)
    models = Models(*(Path(getattr(settings.models, name)) for name in _FILES))
    setting = Setting(
        prepared, out, models, resume=options.resume, device=device, compiled=settings.memory.compile
    )
    train(Saber(prepared, out.name, plan), settings, setting)
    print(
        f"{out / out.name}.safetensors: copy it to models/loras; {out.name}.workflow.json beside it uses it"
    )


def read_saber(options: argparse.Namespace) -> Any:
    """Run file of the options, with --set and the others over it. Paths in a run file are meant from its
    folder. ValueError for what is not known in it."""
    from ..data.settings import assigned, filled, merged, read_toml
    from ..training.methods.saber.config import SaberSettings

    given = (
        {}
        if options.config is None
        else _from_its_folder(read_toml(options.config, "--config"), options.config)
    )
    over: dict[str, Any] = {}
    if options.out is not None:
        over["out"] = str(options.out)
    if options.seed is not None:
        over["seed"] = options.seed
    if options.data is not None:
        over["data"] = {"path": [options.data]}
    if options.compile:
        over["memory"] = {"compile": True}
    table = merged(given, *(assigned(text) for text in options.set), over)
    settings = filled(SaberSettings, table, "--config" if options.config else "saber")
    if settings.method != "saber":
        raise ValueError(
            f"--config: {options.config} is a run file of {settings.method}; run refvid train {settings.method}"
        )
    return settings


def _from_its_folder(table: dict[str, Any], path: Path) -> dict[str, Any]:
    """A run file's table with its paths from where the file lies."""

    def placed(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [placed(one) for one in value]
        is_path = isinstance(value, str) and value and "://" not in value and not value.endswith(":")
        return str(path.parent / value) if is_path else value

    out = dict(table)
    for name, keys in (("models", _FILES), ("data", ("path",)), ("train", ("start",))):
        if isinstance(out.get(name), Mapping):
            out[name] = {key: placed(value) if key in keys else value for key, value in out[name].items()}
    return {**out, "out": placed(out["out"])} if "out" in out else out


def _require_files(settings: Any) -> None:
    """ValueError where a file of the model or clips were not named, or are not there."""
    for name in _FILES:
        given = getattr(settings.models, name)
        if not given or not Path(given).is_file():
            said = f"there is no file {given}" if given else "is not given"
            raise ValueError(f"models.{name}: {said}; needed a .safetensors file of Wan, as ComfyUI has it")
    if not settings.data.path:
        raise ValueError("data.path is empty; needed a folder of clips, or prepared clips")
    for place in settings.data.path:
        if "://" not in place and not Path(place).exists():
            raise ValueError(
                f"data.path: there is no {place}; needed a folder of clips, meant from where the run file lies"
            )


def _planned(settings: Any, device: str, encode: bool) -> tuple[Any, Any]:
    """Clips to train on, prepared where they are not yet and `encode` asks for it, and the plan."""
    from ..data.opening import encoding_given, is_prepared, opened_clips, scanned_clips, split_clips
    from ..data.prepared import Prepared
    from ..data.settings import filled
    from ..data.stages.encode import EncodeOptions
    from ..training.methods.saber.plan import saber_plan

    usual = type(settings.data)()
    options = {
        name: getattr(settings.data, name)
        for name in _ENCODING
        if getattr(settings.data, name) != getattr(usual, name)
    }
    weights = {name: Path(getattr(settings.models, name)) for name in ("vae", "text_encoder")}
    paths = settings.data.path
    if any(map(is_prepared, paths)):
        if len(paths) > 1:
            raise ValueError(f"data.path has {len(paths)} places; prepared clips are given alone: {paths[0]}")
        options.pop("frames", None)  # any of those that were encoded
        prepared = opened_clips(paths[0], options, weights)
        return prepared, saber_plan(settings, prepared.rows, prepared.options, device)
    work = Path(settings.out) / "data"
    collection = scanned_clips(paths, work, "saber", options, weights, ProgressBar, device, encode)
    if encode:
        prepared = Prepared(str(work))
        return prepared, saber_plan(settings, prepared.rows, prepared.options, device)
    clips = collection.clips()
    asked = filled(EncodeOptions(), encoding_given(options, clips), "data")
    return None, saber_plan(settings, split_clips(clips, asked), asked, device)


def _leave(settings: Any, told: str, out: Path) -> None:
    """Leave the settings as they were understood, and the plan, in the run's folder. Paths are whole ones
    there, so that the file can be given again."""
    from ..core.files import write_text
    from ..data.settings import filled, toml_text

    table, here = asdict(settings), Path.cwd() / RUN_FILE
    whole = filled(type(settings), _from_its_folder(table, here), RUN_FILE)
    write_text(out / RUN_FILE, toml_text(whole))
    write_text(out / PLAN_FILE, f"{told}\n")


def _best_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
