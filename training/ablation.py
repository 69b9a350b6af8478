"""Saber's ablations (arXiv 2512.06905, §4.3) on the demo world: the same small run with one thing changed, by one command.

Directions only: a claim is reproduced, contradicted or undecided by a paired interval over unseen toys. The runs, the
figures and the two that stand for what the paper shows in pictures (halo, copy) are our choice.
"""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..core.score import paired_interval
from ..demo import evaluate, score
from ..demo.sheet import contact_sheet
from ..demo.showcase import masked
from ..hosts.pipeline import load_backbone
from .data import Kind
from .dit import TrainingConfig, demo_dit, train_dit
from .masks import MaskGenerator
from .references import Augmentation, MaskedFrames

logger = logging.getLogger(__name__)
BASELINE = "saber"
CLIPS = "clips.safetensors"  # of a run: the first toys, for the sheet
SHEET_ROWS = 8


@dataclass(frozen=True)
class Claim:
    """What the paper says happens to `figure` when `change` is made: it falls (-1) or rises (+1)."""

    name: str
    says: str
    change: Callable[[TrainingConfig], TrainingConfig]
    figure: str
    sign: int


def _masks(**options) -> Callable[[TrainingConfig], TrainingConfig]:
    return lambda config: replace(config, how=replace(config.how, generator=MaskGenerator(**options)))


def _unmasked(config: TrainingConfig) -> TrainingConfig:
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


def ablation_run(steps: int) -> TrainingConfig:
    """The run that every ablation changes: the paper's masks and augmentation (no subject masks), one kind of clip, one
    reference, no replaced frames."""
    base = demo_dit()
    return replace(
        base,
        kinds=(Kind("scene", 9, 12, 2048, 32, 1.0),),
        size=64,
        references=2,
        how=MaskedFrames(subject_share=0.0, augmentation=Augmentation()),
        drawing=replace(base.drawing, reference_counts=(1.0,), patterns=(1.0, 0, 0, 0, 0)),
        steps=steps,
        settings=replace(base.settings, width=64, height=64),
    )


def ablate(
    vae: Path, folder: Path, steps: int, toys: int, device: str = "cpu", compiled: bool = False
) -> list[str]:
    """Train and measure the baseline and every claim's run, each in a folder of its own; what is there already is kept.
    Writes evidence.md and a sheet, ablations.jpg; -> the lines of evidence.md."""
    runs: dict[str, Callable[[TrainingConfig], TrainingConfig]] = {BASELINE: lambda config: config}
    runs |= {claim.name: claim.change for claim in CLAIMS}
    base, values = ablation_run(steps), {}
    for name, change in runs.items():
        own = folder / _slug(name)
        own.mkdir(parents=True, exist_ok=True)
        values[name] = _measured(change(base), own, vae, toys, device, compiled)
    (folder / "evidence.md").write_text("\n".join(lines := _lines(values, steps, toys)) + "\n")
    _sheet(folder, list(runs), toys, base)
    return lines


def _measured(
    config: TrainingConfig, folder: Path, vae: Path, toys: int, device: str, compiled: bool
) -> dict[str, Tensor]:
    """Figures of one run, (toys,) each; trained first where its folder does not hold them for this very run."""
    made, values = json.dumps([asdict(config), toys]), folder / "values.json"
    if values.exists() and (kept := json.loads(values.read_text()))["made_by"] == made:
        return {name: torch.tensor(kept["values"][name]) for name in FIGURES}
    begun = folder / "begun.json"
    if (
        begun.exists() and begun.read_text() != made
    ):  # a run of another kind stopped here: nothing of it is used
        (folder / "dit-run.safetensors").unlink(missing_ok=True)
    begun.write_text(made)
    shutil.copy2(vae, folder / "vae.safetensors")
    train_dit(config, folder, resume=True, compiled=compiled, device=device)
    dit, shown, text = (folder / f"{part}.safetensors" for part in ("dit", "vae", "text_encoder"))
    backbone = load_backbone(dit, shown, text, device=device)
    trial = evaluate.Trial(toys, config.settings.frames, config.size)
    clips = evaluate.clips_of(backbone, trial, trial.variants()[0])
    measured = {**trial.measure(trial.variants()[0], clips), **_pictured(trial, clips)}
    kept = {name: measured[name].tolist() for name in FIGURES}
    save_file({"clips": clips[:SHEET_ROWS].half().contiguous()}, folder / CLIPS)
    values.write_text(json.dumps({"made_by": made, "values": kept}))
    return {name: measured[name] for name in FIGURES}


def _pictured(trial: evaluate.Trial, clips: Tensor) -> dict[str, Tensor]:
    """What the paper shows in pictures. halo: share of pixels in the grey of masked-out references. copy: overlap of
    the toy's mask in the middle frame with the reference's, where it stands."""
    middle = score.segment(clips)[:, :, clips.shape[2] // 2]
    both, either = torch.minimum(middle, trial.masks), torch.maximum(middle, trial.masks)
    return {"halo": score.grey_share(clips), "copy": both.sum((1, 2, 3)) / either.sum((1, 2, 3)).clamp_min(1)}


def _lines(values: dict[str, dict[str, Tensor]], steps: int, toys: int) -> list[str]:
    head = ["run", *FIGURES]
    lines = [f"{toys} unseen toys, {steps} steps a run, one seed.", "", _row(head), _row(["---"] * len(head))]
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


def _sheet(folder: Path, names: list[str], toys: int, base: TrainingConfig) -> None:
    """The first toys, one column a run."""
    trial = evaluate.Trial(toys, base.settings.frames, base.size)
    clips = [load_file(folder / _slug(name) / CLIPS)["clips"].float() for name in names]
    rows = [
        [masked(trial.pictures[i], trial.masks[i]), *(run[i] for run in clips), trial.truth[i]]
        for i in range(min(SHEET_ROWS, toys))
    ]
    contact_sheet(rows, ["reference", *names, "truth"], folder / "ablations.jpg", scale=1)


def _slug(name: str) -> str:
    return name.replace(" ", "-")
