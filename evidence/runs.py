"""Runs of ablations: each in a folder of its own, trained and measured once, so that a command that was
stopped goes on."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..core.files import claim, clear_left, write_text
from ..demo.source import WorldSource
from ..training.engine.method import Setting
from ..training.engine.models import Models
from ..training.engine.state import RunFiles, difference, plain

logger = logging.getLogger(__name__)
BEGUN = "begun.json"  # of a run's folder: what its state was made by
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

    @cached_property
    def base(self) -> dict[str, str]:
        """What every run depends on besides its configuration."""
        return self.models.digests()

    def setting(self, folder: Path) -> Setting:
        """How a run in a folder is trained: on with what is there."""
        how = {"resume": True, "device": self.device, "compiled": self.compiled}
        return Setting(WorldSource(), folder, self.models, self.clips, **how)

    def place(self, name: str, seed: int) -> Path:
        """Where a run is kept. ValueError where that is not ours."""
        return run_folder(self.folder, f"{name} {seed}")

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

    def begin(self, folder: Path, config: dict[str, Any], files: RunFiles) -> None:
        """`begin` of a run on this base."""
        begin(folder, {"config": config, "base": self.base}, files)

    def kept(
        self, folder: Path, made_by: list, measure: Callable[[], Values], name: str = "values.json"
    ) -> Values:
        """`kept` of a run on this base."""
        return kept(folder, [*made_by, self.base], measure, name)

    def written(self, name: str, lines: list[str]) -> list[str]:
        """The lines, which are written to NAME.md too."""
        write_text(self.folder / f"{name}.md", "\n".join(lines) + "\n")
        return lines


def run_folder(folder: Path, name: str) -> Path:
    """The folder of one run in a folder of ablations, both ours from here on. ValueError where either is
    somebody's."""
    own = folder / name.replace(" ", "-")
    claim(folder, "ablations", "refvid ablate", "--out")
    claim(own, "a run of an ablation", name, "--out")
    return own


def begin(folder: Path, made_by: Any, files: RunFiles) -> None:
    """Make sure that a run in a folder of ours goes on from what was made by the same; results without a
    state are made again. ValueError where the folder holds a run that was made otherwise. Without its mark a
    state says itself what it was made by."""
    made, begun = plain(made_by), folder / BEGUN
    states, said = files.found_states(folder), marked(begun)
    found = None if said is None else difference(made, said)
    if found is not None and (states or files.found_results(folder)):
        field, here, there = found
        raise ValueError(
            f"--out: {folder} holds a run that was made otherwise: {field} is {there} there and {here} here; "
            "choose another --out"
        )
    if not states:
        files.remove(folder)
    clear_left(folder / "*")
    write_text(begun, json.dumps(made))


def kept(folder: Path, made_by: Any, measure: Callable[[], Values], name: str = "values.json") -> Values:
    """What `measure` gives, from the folder where the same was measured before."""
    file, made = folder / name, plain(made_by)
    said = marked(file)
    if not (isinstance(said, dict) and said.get("made_by") == made and "values" in said):
        values = {
            name: {figure: one.tolist() for figure, one in row.items()} for name, row in measure().items()
        }
        said = {"made_by": made, "values": values}
        clear_left(folder / "*")
        write_text(file, json.dumps(said))
    found = said["values"]
    return {name: {figure: torch.tensor(one) for figure, one in row.items()} for name, row in found.items()}


def marked(file: Path) -> Any:
    """What a mark of a run says; None where there is none. One that a full disk or a kill cut short is as
    none, with a warning."""
    try:
        return json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        logger.warning("%s is empty or cut short: taken as not there", file)
        return None
