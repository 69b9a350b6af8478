"""Runs of ablations: each in a folder of its own, trained and measured once, so that a command that was
stopped goes on."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from ..core.files import MARK, claim, clear_left, write_text
from ..demo.source import WorldSource
from ..hosts.plain.pipeline import Pipeline, load_pipeline
from ..training.engine.method import MakePreview, Method, Setting, train
from ..training.engine.models import Models
from ..training.engine.state import RunFiles, difference, plain
from .tables import FigureValues, Runs

logger = logging.getLogger(__name__)
BEGUN = "begun.json"  # of a run's folder: what its state was made by
ENDED = "ended.json"  # what its results were made by
VALUES = "values.json"  # its figures, and what they were made by
BASE_ALONE = "base alone"  # a run without an adapter
ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True)
class Ablation:
    """Settings of an ablation: its base, where its runs are kept, and how many of each it makes and measures.

    toys    unseen toys of a run; of sama edits of each kind
    seeds   training seeds of a run
    noises  clips of each toy or edit
    """

    models: Models
    folder: Path
    toys: int
    seeds: int
    noises: int
    device: str = "cpu"
    compiled: bool = False

    @property
    def clips(self) -> Path:
        """Folder of encoded clips, for all runs."""
        return self.folder / "clips"

    @cached_property
    def base(self) -> dict[str, str]:
        """Digests of the base that adapters are trained on."""
        return self.models.digests()

    def backbone(self, size: int | None = None, frames: int | None = None) -> Pipeline:
        """The base, as it is or set to make clips of a size and length."""
        models = self.models
        loaded = load_pipeline(models.dit, models.vae, models.text_encoder, device=self.device)
        asked = {"width": size, "height": size, "frames": frames}
        given = {name: value for name, value in asked.items() if value is not None}
        return replace(loaded, settings=replace(loaded.settings, **given))

    def setting(self, folder: Path) -> Setting:
        """Setting of a run in a folder: it goes on with what is there, on the demo world."""
        how = {"resume": True, "device": self.device, "compiled": self.compiled}
        return Setting(WorldSource(), folder, self.models, self.clips, **how)

    def place(self, name: str, seed: int | None = None) -> Path:
        """Folder of a run. ValueError where it is not ours."""
        return run_folder(self.folder, name if seed is None else f"{name} {seed}")

    def runs(
        self,
        arms: dict[str, ConfigT],
        measured: Callable[["Ablation", ConfigT, Path], FigureValues],
    ) -> Runs:
        """Figures of every arm with every training seed, in turn."""
        return {
            name: [
                measured(self, replace(config, seed=seed), self.place(name, seed))  # pyright: ignore[reportArgumentType]
                for seed in range(self.seeds)
            ]
            for name, config in arms.items()
        }

    def measured(
        self,
        folder: Path,
        method: Method,
        config: Any,
        measure: Callable[[], FigureValues],
        *asked: Any,
        previews: Sequence[MakePreview] = (),
    ) -> FigureValues:
        """Figures of an adapter's run, trained in its folder and measured unless that is there. They depend
        on the configuration, the base, the clips, and on what else is `asked`."""

        said = asdict(config)

        def work() -> None:
            train(method, config, self.setting(folder), previews)

        def made() -> FigureValues:
            trained(folder, {"config": said, "base": self.base}, method.files, work)
            return measure()

        return self.kept(folder, [said, self.toys, self.noises, *asked], made)

    def kept(
        self, folder: Path, made_by: list, measure: Callable[[], FigureValues], name: str = VALUES
    ) -> FigureValues:
        """`kept` of a run on this base."""
        return kept(folder, [*made_by, self.base], measure, name)

    def written(self, name: str, lines: list[str]) -> list[str]:
        """The lines, which are written to NAME.md too."""
        write_text(self.folder / f"{name}.md", "\n".join(lines) + "\n")
        return lines


def trained(folder: Path, made_by: dict[str, Any], files: RunFiles, work: Callable[[], None]) -> None:
    """Train a run in its folder, on from where it was cut off, unless results made by the same are there.
    Figures of other results, and all else that was said of them, are removed. ValueError where the folder
    holds a run that was made otherwise."""
    made = plain(made_by)
    if run_mark(folder / ENDED) == made and all((folder / name).exists() for name in files.results):
        return
    begin(folder, made, files)
    for said in folder.glob("*.json"):
        if said.name not in (BEGUN, MARK):
            said.unlink()
    work()
    write_text(folder / ENDED, json.dumps(made))


def run_folder(folder: Path, name: str) -> Path:
    """Folder of one run in a folder of ablations, both ours from here on. ValueError where either is
    somebody's."""
    own = folder / name.replace(" ", "-")
    claim(folder, "ablations", "refvid ablate", "--out")
    claim(own, "a run of an ablation", name, "--out")
    return own


def begin(folder: Path, made_by: Any, files: RunFiles) -> None:
    """Require that a run in a folder of ours goes on from what was made by the same.

    Results without a state are made again. Without its mark a state says itself what it was made by.
    ValueError where the folder holds a run that was made otherwise.
    """
    made, begun = plain(made_by), folder / BEGUN
    states, said = files.found_states(folder), run_mark(begun)
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


def kept(folder: Path, made_by: Any, measure: Callable[[], FigureValues], name: str = VALUES) -> FigureValues:
    """Figures that `measure` gives, read from the folder where the same was measured before."""
    file, made = folder / name, plain(made_by)
    said = run_mark(file)
    if not (isinstance(said, dict) and said.get("made_by") == made and "values" in said):
        values = {
            name: {figure: one.tolist() for figure, one in row.items()} for name, row in measure().items()
        }
        said = {"made_by": made, "values": values}
        clear_left(folder / "*")
        write_text(file, json.dumps(said))
    found = said["values"]
    return {name: {figure: torch.tensor(one) for figure, one in row.items()} for name, row in found.items()}


def run_mark(file: Path) -> Any:
    """Content of a run's mark; None where there is none. One that a full disk or a kill cut short is as
    none, with a warning."""
    try:
        return json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (ValueError, RecursionError):
        logger.warning("%s is empty or cut short: taken as not there", file)
        return None
