"""Text-to-video runs of the demo world, and what is trained from them: Saber's ablations, and those of first
frames and of reference gain."""

import shutil
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from ...core.files import replacing
from ...demo.runs import demo_dit
from ...hosts.plain.pipeline import Pipeline, load_pipeline
from ...training.base.dit.config import ClipKind, DiTTraining, Drawing, Stage
from ...training.base.dit.method import VAE_FILE, DiTTrainer
from ...training.base.dit.start import Start
from ...training.engine.method import train
from ...training.engine.state import weights_digest
from ...training.masks.references import Augmentation, MaskedFrames
from ..runs import Ablation, trained

PRETRAINED = "text-to-video"


def ablation_run(steps: int) -> DiTTraining:
    """The run that ablations of Saber change: the paper's masks and augmentation (no subject masks), one kind
    of clip, one reference, no replaced frames."""
    base = demo_dit()
    drawing = Drawing(reference_counts=(1.0,), patterns=(1.0, 0, 0, 0, 0))
    return replace(
        base,
        kinds=(ClipKind("scene", 17, 6, 2048, 16),),
        stages=(Stage(steps, (1.0,), drawing),),
        references=2,
        how=MaskedFrames(subject_share=0.0, augmentation=Augmentation()),
    )


def pretraining_run(steps: int) -> DiTTraining:
    """The start of every run: text to video, with the references of `ablation_run` never seen."""
    base = ablation_run(steps)
    (only,) = base.stages
    return replace(base, stages=(replace(only, drawing=replace(only.drawing, reference_dropout=1.0)),))


def dit_run(ablation: Ablation, folder: Path, config: DiTTraining, before: DiTTraining | None = None) -> None:
    """Train a DiT in its folder, from the run `before` if any, unless that is there."""
    made_by = {
        "config": asdict(config),
        "vae": weights_digest(ablation.models.vae, "--vae"),
        "before": before and asdict(before),
    }
    trained(folder, made_by, DiTTrainer.files, partial(_train, ablation, config, folder, before is not None))


def pretrained(ablation: Ablation, steps: int) -> DiTTraining:
    """Train the text-to-video model that runs start from, unless that is there. -> how it was made."""
    config = pretraining_run(steps)
    dit_run(ablation, ablation.place(PRETRAINED), config)
    return config


def on_pretrained(ablation: Ablation, steps: int) -> Ablation:
    """The ablation with its text-to-video model, trained unless it is there, for its base."""
    pretrained(ablation, steps)
    dit, text_encoder = _files(ablation.place(PRETRAINED))
    return replace(ablation, models=replace(ablation.models, dit=dit, text_encoder=text_encoder))


def _train(ablation: Ablation, config: DiTTraining, folder: Path, goes_on: bool) -> None:
    with replacing(folder / VAE_FILE) as partly:
        shutil.copyfile(ablation.models.vae, partly)
    start = Start(*_files(ablation.place(PRETRAINED))) if goes_on else None
    train(DiTTrainer(start), config, replace(ablation.setting(folder), clips=None))


def trained_model(ablation: Ablation, folder: Path) -> Pipeline:
    """The model of a run in `folder`, on the ablation's VAE, which it was trained on."""
    dit, text = _files(folder)
    return load_pipeline(dit, ablation.models.vae, text, device=ablation.device)


def _files(folder: Path) -> tuple[Path, Path]:
    """DiT and text encoder."""
    return folder / "dit.safetensors", folder / "text_encoder.safetensors"
