"""Everything that trains, at sizes of milliseconds a step: one function of a folder each, which goes on from
what the folder holds."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import refvid_tiny as tiny
import torch
from refvid_world import trained

from refvid.backbones.wan.dit import DiTConfig
from refvid.core.slots import SlotsConfig
from refvid.demo.runs import smoke_dit
from refvid.evidence.ablations import frames as frame_ablation
from refvid.evidence.ablations import saber as ablation
from refvid.evidence.ablations import sama as sama_ablation
from refvid.evidence.ablations import slot_id as slot_ablation
from refvid.evidence.ablations import text_to_video
from refvid.evidence.ablations import videomaker as videomaker_ablation
from refvid.evidence.runs import Ablation
from refvid.evidence.trials.frames import GUIDED_FIGURES, JOINT, TEXT
from refvid.training.base import vae
from refvid.training.base.dit.config import Stage
from refvid.training.base.dit.method import DiTTrainer
from refvid.training.base.vae import VAETrainer
from refvid.training.base.vae_clips import VAEStage, VAETraining, View
from refvid.training.engine import loop
from refvid.training.engine.models import Models
from refvid.training.methods.sama.config import PairSet, SamaTraining
from refvid.training.methods.sama.method import Sama
from refvid.training.methods.slot_id.config import Meeting, SlotTraining
from refvid.training.methods.slot_id.method import SlotId
from refvid.training.methods.videomaker.config import PhotographedClips, VideoMakerTraining
from refvid.training.methods.videomaker.method import VideoMaker

SIZES = DiTConfig(48, 64, 2, 1, 16, 16, 32)
SLOTS = SlotTraining(
    SlotsConfig(16, 48, width=16, place_width=4, slots=3, anchors=2, frames=5, size=32),
    (Meeting("alone", 1, 64, 4, frames=5, stride=24),),
    steps=2, rank=2, size=32, preview_every=2,
)  # fmt: skip
SAMA = SamaTraining(
    1,
    1,
    edits=PairSet("edits", 64, 5, 32),
    pretexts=PairSet("pretexts", 64, 5, 32),
    batch=2,
    rank=2,
    hidden=8,
)
VIDEOMAKER = VideoMakerTraining(2, clips=PhotographedClips(64, frames=5, stride=24, size=32), batch=4, rank=2)
TINY_VAE = VAETraining(
    2, 4, 9, 64, (VAEStage(1, 1e-3, (View(1, 32, 2),)), VAEStage(1, 1e-3, (View(5, 32, 2),)))
)
DIT = replace(
    smoke_dit(),
    kinds=smoke_dit().kinds[1:],
    settings=replace(smoke_dit().settings, steps=1, width=64, height=64),
)
DIT = replace(DIT, stages=(Stage(2, (1.0,)),))


def make_base(folder: Path) -> Models:
    """A tiny base for adapters, whose VAE is that of DiTs too."""
    settings = {"width": 64, "height": 64, "frames": 5, "steps": 1}
    dit = tiny.save_dit(folder, "dit.safetensors", SIZES, tiny.dit_state(SIZES), "saber", settings)
    return Models(dit, tiny.save_vae(folder, width=2), tiny.save_text_encoder(folder))


def runs(base: Models) -> dict[str, Callable[[Path], object]]:
    """Trainers and ablations by name."""

    def with_vae(folder: Path) -> None:
        if not (folder / "vae.safetensors").exists():
            folder.mkdir(exist_ok=True)
            shutil.copyfile(base.vae, folder / "vae.safetensors")

    def asked(folder: Path) -> Ablation:
        return Ablation(base, folder, 2, 1, 1)

    return {
        "vae": lambda folder: trained(VAETrainer(), TINY_VAE, folder, resume=True),
        "dit": lambda folder: (with_vae(folder), trained(DiTTrainer(), DIT, folder, resume=True)),
        "slot_id": lambda folder: trained(SlotId(), SLOTS, folder, base, resume=True),
        "sama": lambda folder: trained(Sama(), SAMA, folder, base, resume=True),
        "videomaker": lambda folder: trained(VideoMaker(), VIDEOMAKER, folder, base, resume=True),
        "ablate saber": lambda folder: ablation.ablate_saber(asked(folder), 1, 1),
        "ablate frames": lambda folder: frame_ablation.ablate_frames(asked(folder), 1, 1),
        "ablate slot_id": lambda folder: slot_ablation.ablate_slots(SLOTS, asked(folder)),
        "ablate sama": lambda folder: sama_ablation.ablate_sama(SAMA, asked(folder)),
        "ablate videomaker": lambda folder: videomaker_ablation.ablate_videomaker(VIDEOMAKER, asked(folder)),
    }


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state after every step; ablations of one or two runs, whose figures are those of the weights they are
    of, not measured."""
    monkeypatch.setattr(loop, "SAVE_EVERY", -1.0)
    monkeypatch.setattr(vae, "quality", lambda *_: (0.0, 0.0))
    for module in (text_to_video, ablation, frame_ablation):
        monkeypatch.setattr(
            module, "ablation_run", lambda steps: replace(DIT, stages=(Stage(steps, (1.0,)),))
        )
    monkeypatch.setattr(ablation, "SABER_ARMS", ablation.SABER_ARMS[:1])
    monkeypatch.setattr(frame_ablation, "guided_both_ways", _guided)
    monkeypatch.setattr(slot_ablation, "probe_lines", lambda *_: [])


def _of(module: torch.nn.Module) -> float:
    return sum(float(one.double().sum()) for one in module.parameters())


def _guided(backbone: Any, toys: int, seeds: int) -> tuple[dict, dict]:
    row = {figure: torch.full((toys,), _of(backbone.dit)) for figure in GUIDED_FIGURES}
    return dict.fromkeys((JOINT, TEXT, "truth"), row), {}
