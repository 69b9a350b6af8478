"""Trainers that can be stepped by hand, each with random data for clips, and a record of what a run did."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from refvid_latents import latents
from refvid_world import trained
from torch import Generator, Tensor, nn

from refvid.backbones.wan.dit import DiTConfig, WanDiT
from refvid.backbones.wan.text import TextEncoder
from refvid.backbones.wan.vae import WanVAE
from refvid.core.checkpoint import save_model
from refvid.core.slots import SlotsConfig
from refvid.data.models.siglip import TOKENS
from refvid.demo.runs import smoke_dit
from refvid.training.base.dit import export as saber_export
from refvid.training.base.dit import method as saber
from refvid.training.base.dit.batch import draw_batch
from refvid.training.base.dit.config import ClipKind, DiTTraining, turn
from refvid.training.base.dit.losses import masked_reference_loss
from refvid.training.base.dit.rows import MaskedClips
from refvid.training.engine.lora import add_lora
from refvid.training.engine.models import Models
from refvid.training.masks.references import MaskedFrames
from refvid.training.methods.sama import export as sama_export
from refvid.training.methods.sama import method as sama
from refvid.training.methods.sama.batch import draw_pairs
from refvid.training.methods.sama.config import PairSet, SamaTraining
from refvid.training.methods.sama.losses import sama_losses
from refvid.training.methods.sama.rows import EditPairs
from refvid.training.methods.slot_id import export as slot_export
from refvid.training.methods.slot_id import method as slot_id
from refvid.training.methods.slot_id.batch import draw_meeting
from refvid.training.methods.slot_id.config import Meeting, SlotTraining
from refvid.training.methods.slot_id.losses import identity_loss
from refvid.training.methods.slot_id.rows import Meetings
from refvid.training.methods.videomaker import export as videomaker_export
from refvid.training.methods.videomaker import method as videomaker
from refvid.training.methods.videomaker.batch import draw_photographed
from refvid.training.methods.videomaker.config import PhotographedClips, VideoMakerTraining
from refvid.training.methods.videomaker.losses import videomaker_losses
from refvid.training.methods.videomaker.rows import Photographed

SIZES = DiTConfig(48, 64, 2, 1, 16, 16, 32)
STEPS, ROWS, BATCH, SEED = 3, 12, 4, 7
SLOTS = SlotsConfig(16, 48, width=16, place_width=4, slots=3, anchors=2, frames=5, size=32)
MEETINGS = (Meeting("alone", 1, 128, BATCH, frames=5), Meeting("pair", 2, 64, BATCH, frames=5))


def drawn(seed: int) -> Callable[..., Tensor]:
    generator = Generator().manual_seed(seed)
    return lambda *shape: torch.randn(ROWS, *shape, generator=generator)


def words(*shape: int) -> Tensor:
    made = torch.randint(3, 40, (ROWS, *shape, 6), generator=Generator().manual_seed(9))
    made[..., 5] = 1
    return made


def pairs(pairs: PairSet) -> EditPairs:
    draw = drawn(len(pairs.name))
    return EditPairs(draw(16, 2, 4, 4), draw(16, 2, 4, 4), draw(2, 4, 4).sigmoid(), words(), draw(TOKENS, 14))


def meetings(meeting: Meeting) -> Meetings:
    draw, people, cover = drawn(meeting.people), meeting.people, (4, 4)
    return Meetings(
        draw(16, 2, *cover), draw(2, *cover).sigmoid(), words(2), words(people),
        draw(people, 16, 2, 4, 4), draw(people, 2, 2, 2).sigmoid(),
        draw(people, 16, 1, 4, 4), draw(people, 1, 2, 2).sigmoid(),
    )  # fmt: skip


def photographs() -> Photographed:
    draw = drawn(4)
    return Photographed(draw(16, 2, 4, 4), draw(2, 4, 4).sigmoid(), words(2), draw(16, 4, 4), draw(4) > -1)


def seeded(step: int) -> Generator:
    """What an adapter draws depends on its seed and the step alone."""
    return Generator().manual_seed(SEED * STEPS + step)


class Sama:
    """Pretexts first, then edits; semantic anchoring counts λ."""

    edits, pretexts = PairSet("edits", 64, 5, 32), PairSet("pretexts", 64, 5, 32)
    config = SamaTraining(1, STEPS - 1, edits, pretexts, 0.3, BATCH, rank=2, hidden=20, seed=SEED)
    files = ("sama.safetensors",)

    def feed(self, patch: pytest.MonkeyPatch) -> None:
        def made(encoder, extractor, asked: PairSet) -> EditPairs:
            assert asked in (self.edits, self.pretexts) and extractor is sama.HAND_MADE
            return pairs(asked)

        patch.setattr(sama, "cached_pairs", made)

    def train(self, models: Models, folder: Path) -> None:
        trained(sama.Sama(), self.config, folder, models)

    def trainee(self, dit: WanDiT, text: TextEncoder) -> nn.Module:
        return sama.SamaTrainee(self.config, dit, 14)

    def loss(self, dit: WanDiT, text: TextEncoder, learns, step: int) -> Tensor:
        data = pairs(self.config.pretexts if step < 1 else self.config.edits)
        prefix = text.tokenize(["[Video edit]"])[0]
        batch = draw_pairs(data, self.config, prefix, seeded(step))
        video, semantic = sama_losses(dit, learns.semantics, text, self.config.recipe, batch)
        return video + 0.3 * semantic

    def export(self, learned, text: TextEncoder, folder: Path) -> None:
        sama_export.export(learned.semantics, learned.lora, self.config, "hand-made", folder / self.files[0])


class SlotId:
    """Clips of one and of two people, by how many clips there are of each."""

    config = SlotTraining(SLOTS, MEETINGS, STEPS, rank=2, size=32, seed=SEED)
    files = ("slot_id.safetensors",)

    def feed(self, patch: pytest.MonkeyPatch) -> None:
        def made(encoder, slots: SlotsConfig, meeting: Meeting, size: int) -> Meetings:
            assert (slots, size) == (SLOTS, self.config.size)
            return meetings(meeting)

        patch.setattr(slot_id, "cached_meetings", made)

    def train(self, models: Models, folder: Path) -> None:
        trained(slot_id.SlotId(), self.config, folder, models)

    def trainee(self, dit: WanDiT, text: TextEncoder) -> nn.Module:
        return slot_id.SlotTrainee(self.config, dit)

    def loss(self, dit: WanDiT, text: TextEncoder, learns, step: int) -> Tensor:
        generator = seeded(step)
        turn = int(torch.multinomial(torch.tensor([128.0, 64.0]), 1, generator=generator))
        batch = draw_meeting(meetings(MEETINGS[turn]), BATCH, self.config, generator)
        return identity_loss(dit, learns.encoder, text, batch)

    def export(self, learned, text: TextEncoder, folder: Path) -> None:
        slot_export.export(learned.encoder, learned.lora, self.config, folder / self.files[0])


class VideoMaker:
    """Recognition counts β."""

    config = VideoMakerTraining(
        STEPS, recognition_weight=0.3, clips=PhotographedClips(64, 32), batch=BATCH, rank=2, seed=SEED
    )
    files = ("videomaker.safetensors",)

    def feed(self, patch: pytest.MonkeyPatch) -> None:
        def made(encoder, clips: PhotographedClips) -> Photographed:
            assert clips == self.config.clips
            return photographs()

        patch.setattr(videomaker, "cached_photographed", made)

    def train(self, models: Models, folder: Path) -> None:
        trained(videomaker.VideoMaker(), self.config, folder, models)

    def trainee(self, dit: WanDiT, text: TextEncoder) -> nn.Module:
        return add_lora(dit, 2, ("self_attn",))

    def loss(self, dit: WanDiT, text: TextEncoder, learns, step: int) -> Tensor:
        batch = draw_photographed(photographs(), self.config, seeded(step))
        video, recognition = videomaker_losses(dit, text, self.config)(batch)
        return video + 0.3 * recognition

    def export(self, learned, text: TextEncoder, folder: Path) -> None:
        videomaker_export.export(learned, self.config, folder / self.files[0])


class Backbone:
    """The DiT and its text encoder: the first stage sees single toys, the second both kinds."""

    stages = (replace(smoke_dit().stages[0], steps=1), smoke_dit().stages[1])
    config = replace(smoke_dit(), model=SIZES, stages=stages, seed=SEED)
    files = ("dit.safetensors", "text_encoder.safetensors")

    def feed(self, patch: pytest.MonkeyPatch) -> None:
        def made(encoder, kind: ClipKind, config: DiTTraining) -> MaskedClips:
            assert config == self.config
            return self.data(kind)

        patch.setattr(saber, "cached_clips", made)

    def data(self, kind: ClipKind) -> MaskedClips:
        return latents(frames=(kind.frames + 3) // 4)

    def train(self, models: Models, folder: Path) -> None:
        folder.mkdir()
        save_model(dict(WanVAE(2).state_dict()), folder / "vae.safetensors")
        trained(saber.DiTTrainer(), self.config, folder)

    def trainee(self, dit: WanDiT, text: TextEncoder) -> nn.Module:
        text.model.requires_grad_()
        return saber.DiTTrainee(dit.train().requires_grad_(), text)

    def loss(self, dit: WanDiT, text: TextEncoder, learns, step: int) -> Tensor:
        stage = self.config.stage_of(step)
        kind = self.config.kinds[turn(stage.shares, step)]
        common, own = (
            Generator().manual_seed((SEED * self.config.steps + step) * 2 + more) for more in (0, 1)
        )
        batch = draw_batch(self.data(kind), kind.batch, stage.drawing, own, common)
        masked = self.config.attention_mask
        return masked_reference_loss(learns.dit, text, self.config.recipe, masked)(batch)

    def export(self, learned, text: TextEncoder, folder: Path) -> None:
        averaged = TextEncoder(learned.text, text.spiece_model)
        saber_export.export(learned.dit, averaged, self.config, folder)


class Unmasked(Backbone):
    """The ablation whose masked-out reference tokens stay visible, by another recipe, of other references."""

    config = replace(
        Backbone.config, attention_mask=False, recipe="bernini", how=MaskedFrames(subject_share=0.1), size=48
    )


@dataclass
class Record:
    """Of every step of a run: weights before it, gradients that came, the share of the rate, weights after
    it; and the average's decay."""

    before: list[dict[str, Tensor]] = field(default_factory=list)
    gradients: list[dict[str, Tensor | None]] = field(default_factory=list)
    factors: list[float] = field(default_factory=list)
    after: list[dict[str, Tensor]] = field(default_factory=list)
    decay: float = 0.0

    def averaged(self) -> dict[str, Tensor]:
        """The weights after the first step, then a decaying mean with those after every other."""
        mean = {name: value.double() for name, value in self.after[0].items()}
        for weights in self.after[1:]:
            for name, value in weights.items():
                mean[name] = self.decay * mean[name] + (1 - self.decay) * value.double()
        return mean


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def holding(module: nn.Module, values: dict[str, Tensor]) -> nn.Module:
    own = dict(module.named_parameters())
    assert own.keys() == values.keys()
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)
    return module


TRAINERS = (Sama, SlotId, VideoMaker, Backbone, Unmasked)
