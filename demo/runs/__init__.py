"""Runs that make the demo's models of the demo world, by the run files beside, and the same in a few steps."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ...backbones.wan.dit import DiTConfig
from ...backbones.wan.geometry import WAN_2_1
from ...training.base.dit.config import ClipKind, DiTTraining, Drawing, Stage
from ...training.base.vae_clips import VAEStage, VAETraining, View
from ...training.methods.sama.config import PairSet, SamaTraining
from ...training.methods.slot_id.config import Meeting, SlotTraining
from ...training.methods.videomaker.config import PhotographedClips, VideoMakerTraining
from ...data.settings import filled, read_toml

_FOLDER = Path(__file__).parent
_RunT = TypeVar("_RunT")


def run_path(name: str) -> Path:
    """Path of a part's run file."""
    return _FOLDER / f"{name}.toml"


def _trained(name: str, kind: type[_RunT]) -> _RunT:
    """Configuration that a run file trains by."""
    return filled(kind, read_toml(run_path(name), "run file")["train"], f"{name}.toml: train")


def demo_vae() -> VAETraining:
    """The demo's VAE."""
    return _trained("vae", VAETraining)


def smoke_vae() -> VAETraining:
    """A few steps of every kind."""
    pictures = VAEStage(2, 1e-3, (View(1, 32, 4),))
    return VAETraining(2, 8, 9, 64, (pictures, VAEStage(2, 1e-3, (View(5, 32, 2), View(9, 64, 2)))))


def demo_dit() -> DiTTraining:
    """The demo's DiT."""
    return _trained("dit", DiTTraining)


def smoke_dit() -> DiTTraining:
    """A few steps of a tiny model."""
    kinds = (ClipKind("toy", 1, 48, 64, 4, easy=True), ClipKind("scene", 9, 12, 64, 4))
    first, *_, last = demo_dit().stages
    stages = (replace(first, steps=1, shares=(1, 0)), replace(last, steps=2, shares=(0.5, 0.5)))
    tiny = DiTConfig(48, 64, 2, 1, WAN_2_1.channels, WAN_2_1.channels, 32)
    return replace(demo_dit(), model=tiny, kinds=kinds, stages=stages, references=2, size=64)


def demo_slots() -> SlotTraining:
    """The demo's Slot-ID adapter."""
    return _trained("slot_id", SlotTraining)


def smoke_slots() -> SlotTraining:
    """A few steps on a few clips."""
    config = demo_slots()
    meetings = tuple(replace(meeting, clips=64, batch=4) for meeting in config.meetings)
    return replace(config, meetings=meetings, steps=3, preview_every=3)


def demo_videomaker() -> VideoMakerTraining:
    """The demo's VideoMaker adapter."""
    return _trained("videomaker", VideoMakerTraining)


def smoke_videomaker() -> VideoMakerTraining:
    """A few steps on a few clips."""
    clips = PhotographedClips(64, size=48, frames=5, stride=24)
    return replace(demo_videomaker(), steps=3, clips=clips, batch=4)


def demo_sama() -> SamaTraining:
    """The demo's SAMA adapter."""
    return _trained("sama", SamaTraining)


def smoke_sama() -> SamaTraining:
    """A few steps on a few clips."""
    edits, pretexts = PairSet("edits", 64, 9, 32), PairSet("pretexts", 64, 9, 32)
    few = {"motion_steps": 2, "steps": 3, "batch": 4, "rank": 4}
    return replace(demo_sama(), edits=edits, pretexts=pretexts, **few)


@dataclass(frozen=True)
class DemoRun:
    """Configurations of one part of the demo: their kind, as it was trained, and in a few steps."""

    kind: type
    demo: Callable[[], Any]
    smoke: Callable[[], Any]


DEMO_RUNS = {
    "vae": DemoRun(VAETraining, demo_vae, smoke_vae),
    "dit": DemoRun(DiTTraining, demo_dit, smoke_dit),
    "slot_id": DemoRun(SlotTraining, demo_slots, smoke_slots),
    "videomaker": DemoRun(VideoMakerTraining, demo_videomaker, smoke_videomaker),
    "sama": DemoRun(SamaTraining, demo_sama, smoke_sama),
}
