"""Models in local folders, in transformers' format: read by class, whole, without code of others."""

import json
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


def load_model(kind: Any, folder: Path, what: str, needed: str) -> Any:
    """Model of one of transformers' classes from a folder, frozen, on the CPU, in the file's type.
    ValueError, naming `what`, where none is there, and where a part of it is missing or not finite:
    transformers makes up what is missing."""
    from transformers.utils import logging

    for file in sorted(folder.glob("*.safetensors")):
        require_values(file, what)
    before = logging.get_verbosity()
    logging.set_verbosity_error()  # it would list every key of the parts that are not asked for
    try:
        model, report = kind.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{what}: {folder} holds no {needed} in transformers' format (config.json, "
            f"model.safetensors): {error}"
        ) from error
    finally:
        logging.set_verbosity(before)
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(
            f"{what}: {folder} has no {missing[0]} ({len(missing)} such keys); needed a whole model"
        )
    return model.eval().requires_grad_(False)


def _read_json(path: Path, what: str) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{what} in transformers' format ({path.name}): {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{what} in transformers' format: {path.name} is no table")
    return settings
