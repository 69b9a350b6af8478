"""Saber's ablations (arXiv 2512.06905, §4.3) on the demo world: the same small run with one thing changed.

As in the paper every run starts from a text-to-video model. A claim is reproduced, contradicted or undecided
by a paired interval over unseen toys [choice: saber-ablation-runs].
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...core.checkpoint import read_safetensors, write_tensors
from ...drawing.sheet import column_sheet, masked_cell
from ...training.base.dit.config import DiTTraining
from ...training.masks.generator import MaskGenerator
from .. import toy_figures
from ..claims import Claim, Side, Wording, sentence
from ..runs import VALUES, Ablation, kept
from ..tables import FigureValues, Runs, by_seed, markdown, mean_cell, mean_over_seeds, number_of
from ..trials import references
from ..trials.clips import TRUTH
from .text_to_video import ablation_run, dit_run, pretrained, trained_model

logger = logging.getLogger(__name__)
Change = Callable[[DiTTraining], DiTTraining]

WHOLE_METHOD = "saber"  # the run that nothing is changed of
VARIANT = "run"  # of the figures in values.json
CLIPS_FILE = "clips.safetensors"  # of a run: the first toys, for the sheet
_MOST_ROWS = 8  # of the sheet
PAPER_WORDING = Wording(
    "**{first}**, of which the paper says that {says}",
    holds="reproduces",
    fails="does not reproduce",
    against=" against the whole method",
    form="+.4f",  # halos are a few pixels in ten thousand
)


@dataclass(frozen=True)
class Arm:
    """One change of the whole method, and what the paper says happens to `figure`: it falls (-1) or rises
    (+1)."""

    name: str
    says: str
    change: Change
    figure: str
    sign: int

    @property
    def claim(self) -> Claim:
        """The paper's claim, against the whole method."""
        return Claim(self.says, Side(self.name, VARIANT), Side(WHOLE_METHOD, VARIANT), self.figure, self.sign)


def _masks(**options) -> Change:
    return lambda config: replace(config, how=replace(config.how, generator=MaskGenerator(**options)))


SABER_ARMS = (
    Arm("no attention mask", "grey halos appear around the subject",
        lambda config: replace(config, attention_mask=False), "halo", +1),
    Arm("no masked training", "identity suffers when whole frames are the references",
        _masks(intervals=((1.0, (1.0, 1.0)),)), "own", -1),
    Arm("ellipses only", "identity suffers", _masks(families=("ellipse",)), "own", -1),
    Arm("Fourier blobs only", "identity suffers", _masks(families=("fourier_blob",)), "own", -1),
    Arm("polygons only", "identity suffers", _masks(families=("convex_polygon", "concave_polygon")), "own", -1),
    Arm("ratio 0.3 only", "identity suffers", _masks(intervals=((1.0, (0.29, 0.31)),)), "own", -1),
    Arm("no augmentation", "references are pasted as they stand",
        lambda config: replace(config, how=replace(config.how, augmentation=None)), "copy", +1),
)  # fmt: skip
SABER_FIGURES = ("own", "retrieval", "shape", "texture", "leak", "halo", "copy")


def ablate_saber(ablation: Ablation, steps: int, pretraining: int) -> list[str]:
    """Train and measure the whole method and every arm; what is there already is kept. Writes evidence.md and
    a sheet, ablations.jpg; -> the lines of evidence.md."""
    base, before = ablation_run(steps), pretrained(ablation, pretraining)
    configs = {WHOLE_METHOD: base, **{arm.name: arm.change(base) for arm in SABER_ARMS}}

    def measured(ablation: Ablation, config: DiTTraining, folder: Path) -> FigureValues:
        dit_run(ablation, folder, config, before)
        return _measured(ablation, config, folder)

    runs = ablation.runs(configs, measured)
    head = (
        f"{ablation.toys} unseen toys, {number_of(steps, 'step')} a run after {pretraining} of text to video, "
        f"{number_of(ablation.seeds, 'training seed')}."
    )
    told = (sentence(arm.claim, runs, PAPER_WORDING) for arm in SABER_ARMS)
    seeds = by_seed("own", runs, lambda values: values[VARIANT]["own"])
    lines = [head, "", *_table(runs), "", seeds, "", *told]
    _sheet(ablation, list(runs), base)
    return ablation.written("evidence", lines)


def _measured(ablation: Ablation, config: DiTTraining, folder: Path) -> FigureValues:
    """Figures of a trained run, measured where its folder does not hold them, with the clips of the sheet."""

    def measure() -> FigureValues:
        trial = references.Trial(ablation.toys, config.settings.frames, config.size)
        own = trial.own()
        clips = references.clips_of_variant(trained_model(ablation, folder), trial, own)
        found = {**trial.measure(own, clips), **_pictured(trial, clips)}
        write_tensors({"clips": clips[:_MOST_ROWS].half().contiguous()}, folder / CLIPS_FILE, {})
        return {VARIANT: {name: found[name] for name in SABER_FIGURES}}

    try:
        _sheet_clips(folder)
    except ValueError as error:
        if (folder / VALUES).exists():
            logger.warning("%s; the run is measured again", error)
        (folder / VALUES).unlink(missing_ok=True)
    return kept(folder, [asdict(config), ablation.toys], measure)


def _sheet_clips(folder: Path) -> Tensor:
    """A run's first toys (rows, 3, F, H, W), as the sheet shows them. ValueError where the file is not
    whole."""
    held, _ = read_safetensors(folder / CLIPS_FILE, "--out")
    if "clips" not in held:
        raise ValueError(f"--out: {folder / CLIPS_FILE} holds no clips")
    return held["clips"].float()


def _pictured(trial: references.Trial, clips: Tensor) -> dict[str, Tensor]:
    """Figures (N,) for what the paper shows in pictures [choice: halo-and-copy-figures].

    halo  share of pixels in the grey of masked-out references
    copy  overlap of the toy's mask in the middle frame with the reference's, where it stands
    """
    middle = toy_figures.segment(clips)[:, :, clips.shape[2] // 2]
    both, either = torch.minimum(middle, trial.masks), torch.maximum(middle, trial.masks)
    overlap = both.sum((1, 2, 3)) / either.sum((1, 2, 3)).clamp_min(1)
    return {"halo": toy_figures.grey_share(clips), "copy": overlap}


def _table(runs: Runs) -> list[str]:
    rows = [
        [name, *(mean_cell(mean_over_seeds(one, VARIANT, figure)) for figure in SABER_FIGURES)]
        for name, one in runs.items()
    ]
    return markdown(["run", *SABER_FIGURES], rows)


def _sheet(ablation: Ablation, names: list[str], base: DiTTraining) -> None:
    """The first toys, one column for the first run of each."""
    trial = references.Trial(ablation.toys, base.settings.frames, base.size)
    columns = {"reference": masked_cell(trial.pictures, trial.masks)[:_MOST_ROWS]}
    columns |= {name: _sheet_clips(ablation.place(name, 0)) for name in names}
    columns[TRUTH] = trial.truth[:_MOST_ROWS]
    column_sheet(columns, ablation.folder / "ablations.jpg", scale=1)
