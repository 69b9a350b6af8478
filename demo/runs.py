"""The runs that make the demo's models of the demo world, and the same in a few steps, for tests."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ..backbones.wan.dit import DiTConfig
from ..backbones.wan.geometry import WAN_2_1
from ..backbones.wan.slots import slots_demo
from ..hosts.plain.pipeline import Settings
from ..training.base.dit.config import ClipKind, DiTTraining, Drawing, Stage
from ..training.base.vae import VAEStage, VAETraining, View
from ..training.methods.sama.config import PairSet, SamaTraining
from ..training.methods.slot_id.config import Meeting, SlotTraining
from ..training.methods.videomaker.config import PhotographedClips, VideoMakerTraining
from .world import WORLD_SIZE

_CHANNELS = (WAN_2_1.channels, WAN_2_1.channels)  # in, out


def demo_vae() -> VAETraining:
    """The demo's VAE: pictures first, then crops of clips, then whole clips."""
    crop, clip_crop, picture, clip = View(1, 32, 64), View(5, 32, 16), View(1, 80, 12), View(9, 80, 3)
    stages = (
        VAEStage(800, 3.5e-3, (View(1, 32, 32),)),
        VAEStage(1200, 3.5e-3, (crop, clip_crop, picture, clip_crop)),
        VAEStage(700, 1.7e-3, (clip, clip_crop, picture, clip)),
    )
    return VAETraining(width=8, clips=3072, frames=9, size=WORLD_SIZE, stages=stages)


def smoke_vae() -> VAETraining:
    """A few steps of every kind."""
    pictures = VAEStage(2, 1e-3, (View(1, 32, 4),))
    return VAETraining(2, 8, 9, 64, (pictures, VAEStage(2, 1e-3, (View(5, 32, 2), View(9, 64, 2)))))


def demo_dit() -> DiTTraining:
    """The demo's DiT: 6 M parameters, 80 x 80 pixels.

    It learns to draw named toys in single pictures, then to copy and recognise them in references, then
    everything. That is mostly whole scenes in 9 pictures, but also in 25, and single pictures. Clips of 17 in
    a row show what lies between two key pictures 12 apart of a long video. Everything at once from the start
    leaves blobs for silhouettes (docs/log.md).
    """
    run = Settings(width=WORLD_SIZE, height=WORLD_SIZE, frames=9, steps=20, scale=2.0, shift=3.0, fps=8)
    kinds = (
        ClipKind("toy", 1, 48, 8192, 64, easy=True),
        ClipKind("scene", 9, 12, 8192, 64),
        ClipKind("long", 25, 4, 1024, 24),
        ClipKind("between", 17, 1, 2048, 40, patterns=(0.25, 0.1, 0.05, 0.5, 0.1)),
        ClipKind("picture", 1, 12, 2048, 128),
    )
    # Where a toy stands is decided at high noise, and what is given decides it instead: direction is learned
    # from such steps.
    everything = Drawing((0.7, 0.2, 0.05, 0.05), (0.75, 0.1, 0.05, 0.05, 0.05), shift=4.0)
    stages = (
        Stage(2000, (1, 0, 0, 0, 0), Drawing(named_share=1.0, reference_dropout=1.0)),
        Stage(3000, (1, 0, 0, 0, 0), Drawing(named_share=0.15, reference_counts=(1.0,))),
        Stage(7000, (0.1, 0.6, 0.1, 0.15, 0.05), everything),
    )
    model = DiTConfig(256, 768, 2, 6, *_CHANNELS, 128)
    return DiTTraining(model, kinds, stages, WORLD_SIZE, settings=run)


def smoke_dit() -> DiTTraining:
    """A few steps of a tiny model."""
    kinds = (ClipKind("toy", 1, 48, 64, 4, easy=True), ClipKind("scene", 9, 12, 64, 4))
    first, *_, last = demo_dit().stages
    stages = (replace(first, steps=1, shares=(1, 0)), replace(last, steps=2, shares=(0.5, 0.5)))
    tiny = DiTConfig(48, 64, 2, 1, *_CHANNELS, 32)
    return replace(demo_dit(), model=tiny, kinds=kinds, stages=stages, references=2, size=64)


def demo_slots() -> SlotTraining:
    """The demo's Slot-ID adapter."""
    meetings = (Meeting("alone", 1, 4096, 32), Meeting("pair", 2, 1024, 32))
    return SlotTraining(slots_demo(), meetings, steps=1500, size=WORLD_SIZE)


def smoke_slots() -> SlotTraining:
    """A few steps on a few clips."""
    config = demo_slots()
    meetings = tuple(replace(meeting, clips=64, batch=4) for meeting in config.meetings)
    return replace(config, meetings=meetings, steps=3, preview_every=3)


def demo_videomaker() -> VideoMakerTraining:
    """The demo's VideoMaker adapter."""
    return VideoMakerTraining(steps=600, clips=PhotographedClips(4096, WORLD_SIZE))


def smoke_videomaker() -> VideoMakerTraining:
    """A few steps on a few clips."""
    clips = PhotographedClips(64, size=48, frames=5, stride=24)
    return replace(demo_videomaker(), steps=3, clips=clips, batch=4)


def demo_sama() -> SamaTraining:
    """The demo's SAMA adapter."""
    edits, pretexts = PairSet("edits", 4096, 9, WORLD_SIZE), PairSet("pretexts", 2048, 9, WORLD_SIZE)
    return SamaTraining(motion_steps=360, steps=840, edits=edits, pretexts=pretexts)


def smoke_sama() -> SamaTraining:
    """A few steps on a few clips."""
    edits, pretexts = PairSet("edits", 64, 9, 32), PairSet("pretexts", 64, 9, 32)
    few = {"motion_steps": 2, "steps": 3, "batch": 4, "rank": 4}
    return replace(demo_sama(), edits=edits, pretexts=pretexts, **few)


@dataclass(frozen=True)
class DemoRun:
    """Configurations of one part of the demo: as it was trained, and in a few steps."""

    demo: Callable[[], Any]
    smoke: Callable[[], Any]


DEMO_RUNS = {
    "vae": DemoRun(demo_vae, smoke_vae),
    "dit": DemoRun(demo_dit, smoke_dit),
    "slot_id": DemoRun(demo_slots, smoke_slots),
    "videomaker": DemoRun(demo_videomaker, smoke_videomaker),
    "sama": DemoRun(demo_sama, smoke_sama),
}
