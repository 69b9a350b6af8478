"""Runs of an adapter's ablation: each in a folder of its own, trained and measured once, so that a command that was stopped goes on."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from .adapter import Models

Values = dict[str, dict[str, Tensor]]  # of one run: by variant and figure, one number for each toy or edit
ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True)
class Ablation:
    """How runs are made and measured: on a frozen base, in `folder`, each with so many training seeds, on so many unseen toys (or edits of a
    kind), so many clips of each."""

    models: Models
    folder: Path
    toys: int
    seeds: int
    noises: int
    device: str = "cpu"
    compiled: bool = False

    @property
    def clips(self) -> Path:
        """Where encoded clips are kept, for all runs."""
        return self.folder / "clips"

    def place(self, name: str, seed: int) -> Path:
        """Where a run is kept."""
        own = self.folder / f"{name.replace(' ', '-')}-{seed}"
        own.mkdir(parents=True, exist_ok=True)
        return own

    def runs(
        self, arms: dict[str, ConfigT], measured: Callable[["Ablation", ConfigT, Path], Values]
    ) -> dict[str, list[Values]]:
        """Every arm with every training seed, in turn."""
        return {
            name: [
                measured(self, replace(config, seed=seed), self.place(name, seed))  # pyright: ignore[reportArgumentType]
                for seed in range(self.seeds)
            ]
            for name, config in arms.items()
        }

    def written(self, name: str, lines: list[str]) -> list[str]:
        """The lines, which are written to NAME.md too."""
        (self.folder / f"{name}.md").write_text("\n".join(lines) + "\n")
        return lines


def begin(folder: Path, config: dict[str, Any], state: str) -> None:
    """Make sure that a state file in the folder is this configuration's: another's is deleted, not gone on from."""
    made, begun = json.dumps(config), folder / "begun.json"
    if not begun.exists() or begun.read_text() != made:
        (folder / state).unlink(missing_ok=True)
    begun.write_text(made)


def kept(folder: Path, made_by: list, measure: Callable[[], Values], name: str = "values.json") -> Values:
    """What `measure` gives, from the folder where the same was measured before."""
    file, made = folder / name, json.dumps(made_by)
    if not file.exists() or json.loads(file.read_text())["made_by"] != made:
        plain = {
            name: {figure: one.tolist() for figure, one in row.items()} for name, row in measure().items()
        }
        file.write_text(json.dumps({"made_by": made, "values": plain}))
    found = json.loads(file.read_text())["values"]
    return {name: {figure: torch.tensor(one) for figure, one in row.items()} for name, row in found.items()}
