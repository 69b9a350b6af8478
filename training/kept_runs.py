"""Runs of an ablation: each in a folder of its own, trained and measured once, so that a command that was stopped goes on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Values = dict[str, dict[str, Tensor]]  # of one run: by variant and figure, one number for each toy or edit


def folder_of(folder: Path, name: str, seed: int) -> Path:
    """Where a run is kept."""
    own = folder / f"{name.replace(' ', '-')}-{seed}"
    own.mkdir(parents=True, exist_ok=True)
    return own


def begin(folder: Path, config: dict[str, Any], state: str) -> None:
    """Make sure that a state file in the folder is this configuration's: another's is deleted, not gone on from."""
    made, begun = json.dumps(config), folder / "begun.json"
    if not begun.exists() or begun.read_text() != made:
        (folder / state).unlink(missing_ok=True)
    begun.write_text(made)


def kept(folder: Path, made_by: list, measure: Callable[[], Values]) -> Values:
    """What `measure` gives, from the folder where the same was measured before."""
    file, made = folder / "values.json", json.dumps(made_by)
    if not file.exists() or json.loads(file.read_text())["made_by"] != made:
        plain = {
            name: {figure: one.tolist() for figure, one in row.items()} for name, row in measure().items()
        }
        file.write_text(json.dumps({"made_by": made, "values": plain}))
    found = json.loads(file.read_text())["values"]
    return {name: {figure: torch.tensor(one) for figure, one in row.items()} for name, row in found.items()}
