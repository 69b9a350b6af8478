"""Models in local folders, in transformers' format: read by class, whole, without code of others."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...core.checkpoint import require_values


def read_config(folder: Path, what: str, needed: str) -> dict[str, Any]:
    """Settings of config.json in a folder. ValueError, naming `what`, where there is none."""
    return _read_json(folder / "config.json", f"{what}: {folder} holds no {needed}")


def read_preparation(folder: Path, what: str) -> dict[str, Any]:
    """Settings of preprocessor_config.json in a folder, none where it is not there. ValueError, naming
    `what`, for a file that is no JSON."""
    path = folder / "preprocessor_config.json"
    return _read_json(path, f"{what}: {folder}") if path.is_file() else {}


def load_whole_model(kind: Any, folder: Path, what: str, needed: str) -> Any:
    """Model of one of transformers' classes from a folder, frozen, on the CPU, in the file's type.
    ValueError, naming `what`, where none is there, and where a part of it is missing or not finite:
    transformers makes up what is missing."""
    for file in sorted(folder.glob("*.safetensors")):
        require_values(file, what)
    try:
        with _quiet():
            model, report = kind.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{what}: {folder} holds no {needed} in transformers' format (config.json, "
            f"model.safetensors): {error}"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(
            f"{what}: {folder} has no {missing[0]} ({len(missing)} such keys); needed a whole model"
        )
    return model.eval().requires_grad_(False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence of transformers while it reads: it lists each key of parts that nobody asked for, and draws a
    bar over the stage's."""
    from transformers.utils import logging

    before, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bar:
            logging.enable_progress_bar()


def _read_json(path: Path, what: str) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{what} in transformers' format ({path.name}): {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{what} in transformers' format: {path.name} is no table")
    return settings
