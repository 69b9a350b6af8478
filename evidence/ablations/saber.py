"""Saber's ablations (arXiv 2512.06905, §4.3) on the demo world: the same small run with one thing changed, by one command.

As in the paper every run starts from a text-to-video model. Directions only: a claim is reproduced, contradicted or undecided by a paired interval over unseen toys. The runs, the
figures and the two that stand for what the paper shows in pictures (halo, copy) are our choice.
"""

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...core.checkpoint import read_safetensors, write_tensors
from ...core.files import replacing, write_text
from ...demo.runs import demo_dit
from ...demo.source import WorldSource
from ...drawing.sheet import contact_sheet
from ...evaluation.figures import paired_interval
from ...hosts.plain.pipeline import load_pipeline
from ...training.base.dit import Start
from ...training.engine.method import Setting, train
from ...training.engine.state import plain, weights_digest
from ...training.masks.generator import MaskGenerator
from ...training.masks.references import Augmentation, MaskedFrames
from ...training.methods.saber.config import ClipKind, Drawing, SaberTraining, Stage
from ...training.methods.saber.method import VAE_FILE, Saber
from .. import toy_figures as score
from ..runs import begin, kept, marked, run_folder
from ..showcase import masked
from ..trials import references as evaluate

logger = logging.getLogger(__name__)
BASELINE = "saber"
PRETRAINED = "text-to-video"
CLIPS = "clips.safetensors"  # of a run: the first toys, for the sheet
VALUES = "values.json"
SHEET_ROWS = 8


@dataclass(frozen=True)
class Claim:
    """What the paper says happens to `figure` when `change` is made: it falls (-1) or rises (+1)."""

    name: str
    says: str
    change: Callable[[SaberTraining], SaberTraining]
    figure: str
    sign: int


def _masks(**options) -> Callable[[SaberTraining], SaberTraining]:
    return lambda config: replace(config, how=replace(config.how, generator=MaskGenerator(**options)))


def _unmasked(config: SaberTraining) -> SaberTraining:
    return _masks(intervals=((1.0, (1.0, 1.0)),))(config)


CLAIMS = (
    Claim("no attention mask", "grey halos appear around the subject",
          lambda config: replace(config, attention_mask=False), "halo", +1),
    Claim("no masked training", "identity suffers when whole frames are the references", _unmasked, "own", -1),
    Claim("ellipses only", "identity suffers", _masks(families=("ellipse",)), "own", -1),
    Claim("Fourier blobs only", "identity suffers", _masks(families=("fourier_blob",)), "own", -1),
    Claim("polygons only", "identity suffers", _masks(families=("convex_polygon", "concave_polygon")), "own", -1),
    Claim("ratio 0.3 only", "identity suffers", _masks(intervals=((1.0, (0.29, 0.31)),)), "own", -1),
    Claim("no augmentation", "references are pasted as they stand",
          lambda config: replace(config, how=replace(config.how, augmentation=None)), "copy", +1),
)  # fmt: skip
FIGURES = ("own", "retrieval", "shape", "texture", "leak", "halo", "copy")


def ablation_run(steps: int) -> SaberTraining:
    """The run that every ablation changes: the paper's masks and augmentation (no subject masks), one kind of clip, one
    reference, no replaced frames."""
    base = demo_dit()
    drawing = Drawing(reference_counts=(1.0,), patterns=(1.0, 0, 0, 0, 0))
    return replace(
        base,
        kinds=(ClipKind("scene", 9, 12, 2048, 32),),
        stages=(Stage(steps, (1.0,), drawing),),
        references=2,
        how=MaskedFrames(subject_share=0.0, augmentation=Augmentation()),
    )


def pretraining_run(steps: int) -> SaberTraining:
    """What every run starts from: text to video, with the references of `ablation_run` never seen."""
    base = ablation_run(steps)
    (only,) = base.stages
    return replace(base, stages=(replace(only, drawing=replace(only.drawing, reference_dropout=1.0)),))


@dataclass(frozen=True)
class Place:
    """Where runs are trained and kept: each in a folder of its own under `folder`."""

    vae: Path
    folder: Path
    device: str = "cpu"
    compiled: bool = False

    def of(self, name: str) -> Path:
        """The folder of one run. ValueError where that is not ours."""
        return run_folder(self.folder, name)

    def trained(self, name: str, config: SaberTraining, before: SaberTraining | None = None) -> Path:
        """Train `config`, from the run `before` if any, unless this very run is there; go on with one that was cut off.
        -> the run's folder."""
        own, made = self.of(name), {"config": asdict(config), "vae": weights_digest(self.vae, "--vae")}
        made = plain({**made, "before": before and asdict(before)})
        ended, values = own / "ended.json", own / VALUES
        if marked(ended) == made and all(file.exists() for file in files_of(own)):
            return own
        begin(own, made, Saber.files)
        for old in (ended, values):
            old.unlink(missing_ok=True)
        with replacing(own / VAE_FILE) as partial:
            shutil.copyfile(self.vae, partial)
        start = None if before is None else Start(*files_of(self.of(PRETRAINED))[::2])
        how = {"resume": True, "device": self.device, "compiled": self.compiled}
        train(Saber(start), config, Setting(WorldSource(), own, **how))
        write_text(ended, json.dumps(made))
        return own


def ablate(place: Place, steps: int, pretraining: int, toys: int) -> list[str]:
    """Train and measure the baseline and every claim's run; what is there already is kept. Writes evidence.md and a
    sheet, ablations.jpg; -> the lines of evidence.md."""
    if "WORLD_SIZE" in os.environ:
        raise ValueError(
            "refvid ablate was started by torchrun: it trains small runs in one process; run it alone"
        )
    runs: dict[str, Callable[[SaberTraining], SaberTraining]] = {BASELINE: lambda config: config}
    runs |= {claim.name: claim.change for claim in CLAIMS}
    base, before, values = ablation_run(steps), pretraining_run(pretraining), {}
    place.trained(PRETRAINED, before)
    for name, change in runs.items():
        config = change(base)
        values[name] = _measured(config, place.trained(name, config, before), toys, place.device)
    head = f"{toys} unseen toys, {steps} steps a run after {pretraining} of text to video, one seed."
    write_text(place.folder / "evidence.md", "\n".join(lines := [head, "", *_lines(values)]) + "\n")
    _sheet(place, list(runs), toys, base)
    return lines


def _measured(config: SaberTraining, folder: Path, toys: int, device: str) -> dict[str, Tensor]:
    """Figures of one trained run, (toys,) each; measured where its folder does not hold them, with the clips
    of the sheet."""

    def measure() -> dict[str, dict[str, Tensor]]:
        backbone = load_pipeline(*files_of(folder), device=device)
        trial = evaluate.Trial(toys, config.settings.frames, config.size)
        clips = evaluate.clips_of(backbone, trial, trial.variants()[0])
        measured = {**trial.measure(trial.variants()[0], clips), **_pictured(trial, clips)}
        write_tensors({"clips": clips[:SHEET_ROWS].half().contiguous()}, folder / CLIPS, {})
        return {"run": {name: measured[name] for name in FIGURES}}

    try:
        _clips_of(folder)
    except ValueError as error:
        if (folder / VALUES).exists():
            logger.warning("%s; the run is measured again", error)
        (folder / VALUES).unlink(missing_ok=True)
    return kept(folder, [asdict(config), toys], measure, VALUES)["run"]


def _clips_of(folder: Path) -> Tensor:
    """(rows, 3, F, H, W): a run's first toys, as the sheet shows them. ValueError where the file is not
    whole."""
    held, _ = read_safetensors(folder / CLIPS, "--out")
    if "clips" not in held:
        raise ValueError(f"--out: {folder / CLIPS} holds no clips")
    return held["clips"].float()


def files_of(folder: Path) -> tuple[Path, Path, Path]:
    """DiT, VAE and text encoder of a run."""
    dit, vae, text = (folder / f"{part}.safetensors" for part in ("dit", "vae", "text_encoder"))
    return dit, vae, text


def _pictured(trial: evaluate.Trial, clips: Tensor) -> dict[str, Tensor]:
    """What the paper shows in pictures. halo: share of pixels in the grey of masked-out references. copy: overlap of
    the toy's mask in the middle frame with the reference's, where it stands."""
    middle = score.segment(clips)[:, :, clips.shape[2] // 2]
    both, either = torch.minimum(middle, trial.masks), torch.maximum(middle, trial.masks)
    return {"halo": score.grey_share(clips), "copy": both.sum((1, 2, 3)) / either.sum((1, 2, 3)).clamp_min(1)}


def _lines(values: dict[str, dict[str, Tensor]]) -> list[str]:
    head = ["run", *FIGURES]
    lines = [_row(head), _row(["---"] * len(head))]
    lines += [
        _row([name, *(f"{kept[figure].nanmean():.3f}" for figure in FIGURES)])
        for name, kept in values.items()
    ]
    return [*lines, "", *(_sentence(claim, values) for claim in CLAIMS)]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _sentence(claim: Claim, values: dict[str, dict[str, Tensor]]) -> str:
    """A plain sentence: reproduces, does not, or not decided."""
    difference = values[claim.name][claim.figure] - values[BASELINE][claim.figure]
    mean, low, high = paired_interval(difference[difference.isfinite()])
    ends = sorted((claim.sign * low, claim.sign * high))
    verdict = "reproduces" if ends[0] > 0 else "does not reproduce" if ends[1] < 0 else "not decided"
    shift = f"{claim.figure} {mean:+.3f} [{low:+.3f}, {high:+.3f}]"
    return f"- **{claim.name}**, of which the paper says that {claim.says}: **{verdict}** ({shift} against the whole method)."


def _sheet(place: Place, names: list[str], toys: int, base: SaberTraining) -> None:
    """The first toys, one column a run."""
    trial = evaluate.Trial(toys, base.settings.frames, base.size)
    clips = [_clips_of(place.of(name)) for name in names]
    rows = [
        [masked(trial.pictures[i], trial.masks[i]), *(run[i] for run in clips), trial.truth[i]]
        for i in range(min(SHEET_ROWS, toys))
    ]
    contact_sheet(rows, ["reference", *names, "truth"], place.folder / "ablations.jpg", scale=1)
