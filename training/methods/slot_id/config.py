"""Training a Slot-ID adapter: the slot encoder and a LoRA on cross-attention learn, the DiT and the text stay as they are
(arXiv 2601.01352; numbers are our choice). The loss is the backbone's own."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from torch import Generator, Tensor, nn

from ....backbones.wan.dit import WanDiT
from ....backbones.wan.slots import slots_demo
from ....backbones.wan.text import PADDING, TextEncoder, fold_padding
from ....core.adapter import save_adapter
from ....core.guidance import CONDITIONED
from ....core.slots import SlotEncoder, SlotsConfig
from ....demo import world
from ....evidence.preview import Preview
from ....hosts.plain.evaluation import Text
from ....hosts.plain.identities import People, Person
from ....hosts.plain.pipeline import Pipeline, load_pipeline
from ....hosts.plain.run import Condition, velocity
from ...engine.loop import AdapterRun, Models, adapter_state, train_adapter
from ...engine.lora import add_lora, lora_state
from ...engine.optimise import Optimiser
from ...engine.state import RunFiles
from ..saber.batch import no_words, sample_sigma
from ..saber.config import compile_blocks
from .rows import Meeting, Meetings, cached_meetings, to_device

logger = logging.getLogger(__name__)
CLIPS_SEED = 0
FILES = RunFiles("slot_id", ("slot_id.safetensors",), ("slot_id-[0-9]*.png",))  # previews too


@dataclass(frozen=True)
class SlotTraining:
    """Everything an adapter's run depends on. The chances of leaving out the identity, the text, or both exclude each other."""

    slots: SlotsConfig
    meetings: tuple[Meeting, ...]
    steps: int
    rank: int = 32
    size: int = world.SIZE
    rate: float = 7e-3
    identity_dropout: float = 0.1
    text_dropout: float = 0.1
    both_dropout: float = 0.05
    named_share: float = 0.4
    phrase_share: float = 0.5  # of pairs that are named: each is told by its name which it is
    # Of all rows. Where both are there, the anchor alone decides the loss and slots learn nothing (docs/log.md).
    slots_alone: float = 0.4
    anchor_alone: float = 0.1
    subject_weight: float = 3.0
    shift: float = 8.0  # above a noise level of 0.7 lies nearly all that an identity changes (docs/log.md)
    preview_every: int = 500  # steps
    seed: int = 0
    encoder: Callable[[SlotsConfig, int], SlotEncoder] = field(default=SlotEncoder, repr=False)


def demo_slots() -> SlotTraining:
    """The demo's adapter."""
    meetings = (Meeting("alone", 1, 4096, 32), Meeting("pair", 2, 1024, 32))
    return SlotTraining(slots_demo(), meetings, steps=1500)


def smoke_slots() -> SlotTraining:
    """A few steps on a few clips, for tests."""
    config = demo_slots()
    meetings = tuple(replace(meeting, clips=64, batch=4) for meeting in config.meetings)
    return replace(config, meetings=meetings, steps=3, preview_every=3)


class SlotTrainee(nn.Module):
    """What learns: the encoder and the LoRA of a frozen DiT."""

    def __init__(self, config: SlotTraining, dit: WanDiT):
        super().__init__()
        self.encoder = config.encoder(config.slots, dit.geometry.patch)
        self.encoder.start()
        self.lora = add_lora(dit, config.rank)


def train_slots(
    config: SlotTraining,
    models: Models,
    folder: Path,
    resume: bool = False,
    device: str = "cpu",
    clips: Path | None = None,
    compiled: bool = False,
) -> None:
    """Train on the demo world and leave `slot_id.safetensors` (fp16) in `folder`. Encoded clips are kept in `clips`, or there too; they are
    the same for every seed."""
    state = adapter_state(FILES, config, models, folder, resume, device)
    torch.manual_seed(config.seed)
    backbone = load_pipeline(models.dit, models.vae, models.text_encoder, device=device)
    dit, text = backbone.dit, backbone.text
    data = _meetings(config, backbone, clips or folder, torch.device(device))
    torch.manual_seed(config.seed)
    trainee = SlotTrainee(config, dit).to(device)
    optimiser = Optimiser(trainee, _matrix, config.rate, average=0.995, weight_decay=0.01, gentle=_recurrent)
    if compiled:
        compile_blocks(dit)
    preview = _preview(config, backbone, folder)
    shares = torch.tensor([float(meeting.clips) for meeting in config.meetings])

    def losses(_step: int, generator: Generator) -> dict[str, tuple[float, Tensor]]:
        turn = int(torch.multinomial(shares, 1, generator=generator))
        batch = draw_meeting(data[turn], config.meetings[turn].batch, config, generator)
        return {"loss": (1.0, identity_loss(dit, trainee.encoder, text, batch))}

    def after(done: int) -> None:
        if done % config.preview_every == 0:
            logger.info("slot_id preview: %s", preview.draw(trainee.encoder, done))

    train_adapter(AdapterRun(state, config.seed, config.steps, trainee, optimiser, losses, after), device)
    learned = cast(SlotTrainee, optimiser.average.module)
    path = folder / "slot_id.safetensors"
    save_adapter(config.slots, learned.encoder.state_dict(), lora_state(learned.lora), path)


def _meetings(config: SlotTraining, backbone: Pipeline, folder: Path, device: torch.device) -> list[Meetings]:
    made = (backbone.vae, backbone.text.tokenize, config.slots)
    return [
        to_device(cached_meetings(*made, meeting, config.size, CLIPS_SEED, folder), device)
        for meeting in config.meetings
    ]


def _preview(config: SlotTraining, backbone: Pipeline, folder: Path) -> Preview:
    """In the size and length of the clips that are learned."""
    size = {"width": config.size, "height": config.size, "frames": config.meetings[0].frames}
    shown_on = replace(backbone, settings=replace(backbone.settings, **size))
    return Preview(shown_on, config.slots, folder)


@dataclass(frozen=True)
class MeetingBatch:
    """One step: noise and noise levels for clips; who is in them; which rows read nobody (B,); which of the tokens of an identity a row reads
    (B, A + S); tokens of the text (B, S); phrases (B, K, P), only padding where a person is not told by name; weight (B, 1, F, h, w) of mean 1."""

    rows: Meetings
    noise: Tensor
    sigma: Tensor
    nobody: Tensor
    reads: Tensor
    tokens: Tensor
    phrases: Tensor
    weight: Tensor


def draw_meeting(data: Meetings, size: int, config: SlotTraining, generator: Generator) -> MeetingBatch:
    """`size` clips with those who are in them."""
    device = generator.device
    index = torch.randint(0, len(data.latent), (size,), generator=generator, device=device)
    rows = Meetings(**{name: value[index] for name, value in vars(data).items()})
    latent = rows.latent.float()
    left_out, named, told, part = torch.rand(4, size, generator=generator, device=device)
    mute = left_out < config.text_dropout + config.both_dropout
    nobody = (left_out >= config.text_dropout) & (
        left_out < config.text_dropout + config.both_dropout + config.identity_dropout
    )
    spoken = named < config.named_share
    tokens = torch.where(spoken[:, None], rows.tokens[:, 1], rows.tokens[:, 0])
    by_name = spoken & (told < config.phrase_share) & ~mute & (rows.clip.shape[1] > 1)
    weight = 1 + config.subject_weight * rows.coverage.float()
    return MeetingBatch(
        rows=rows,
        noise=torch.randn(latent.shape, generator=generator, device=device),
        sigma=sample_sigma(size, config.shift, generator),
        nobody=nobody,
        reads=_reads(part, config) | nobody[:, None],
        tokens=torch.where(mute[:, None], no_words(tokens), tokens),
        phrases=rows.phrases.where(by_name[:, None, None], PADDING),
        weight=(weight / weight.mean()).unsqueeze(1),
    )


def _reads(part: Tensor, config: SlotTraining) -> Tensor:
    """(B, A + S): without the anchors, without the slots, or all of the tokens, by `part` (B,) in 0…1."""
    anchor = torch.arange(config.slots.tokens, device=part.device) < config.slots.anchors
    slots_alone = (part < config.slots_alone)[:, None]
    anchor_alone = (part > 1 - config.anchor_alone)[:, None]
    return ~(slots_alone & anchor) & ~(anchor_alone & ~anchor)


def identity_loss(dit: WanDiT, encoder: SlotEncoder, text: TextEncoder, batch: MeetingBatch) -> Tensor:
    """Weighted squared error of the velocity, with the identities' tokens behind the text."""
    with torch.no_grad():
        context, bias = fold_padding(text.states(batch.tokens), batch.tokens)
    level, latent = batch.sigma[:, None, None, None, None], batch.rows.latent.float()
    noisy = (1 - level) * latent + level * batch.noise
    people = _people(dit, encoder, text, batch)
    condition = Condition({CONDITIONED.text: Text(context, bias)}, (people,))
    said = velocity(dit, noisy, batch.sigma, condition, CONDITIONED)
    return ((said.float() - (batch.noise - latent)).pow(2) * batch.weight).mean()


def _people(dit: WanDiT, encoder: SlotEncoder, text: TextEncoder, batch: MeetingBatch) -> People:
    """Everyone's tokens (B, n, C); of a row that reads nobody the learned ones once, the places of the others seen by nobody."""
    rows, people = batch.rows, batch.rows.clip.shape[1]
    given = (rows.clip, rows.cover, rows.anchor, rows.anchor_cover)
    encoded = encoder(*(one.flatten(0, 1).float() for one in given))
    tokens = torch.cat([encoded.anchors, encoded.slots], dim=1)
    tokens = tokens + _called(dit, text, batch.phrases.flatten(0, 1))
    tokens = tokens.unflatten(0, (-1, people))
    nobody = encoder.nobody().expand_as(tokens)
    tokens = torch.where(batch.nobody[:, None, None, None], nobody, tokens)
    seen = batch.reads[:, None].repeat(1, people, 1)
    seen[:, 1:] &= ~batch.nobody[:, None, None]
    persons = zip(tokens.unbind(1), seen.unbind(1), strict=True)
    return People(tuple(Person(one, seen=read) for one, read in persons), encoder.nobody())


@torch.no_grad()
def _called(dit: WanDiT, text: TextEncoder, phrases: Tensor) -> Tensor:
    """(B * K, 1, C): the mean of a phrase's words, embedded as the text is, without the closing token; 0 for only padding."""
    words = phrases.ne(PADDING) & phrases.roll(-1, 1).ne(PADDING)  # the last one closes
    words[:, -1] = False
    spoken = words.sum(1, keepdim=True)
    states = dit.embed_text(text.states(torch.where(spoken > 0, phrases, no_words(phrases))))
    mean = (states * words[..., None]).sum(1) / spoken.clamp_min(1)
    return mean.unsqueeze(1)


def _matrix(name: str, parameter: Tensor) -> bool:
    """Muon's: matrices between features; tables and the gate go to Adam."""
    return (
        parameter.ndim == 2 and min(parameter.shape) > 1 and not any(t in name for t in ("queries", "null"))
    )


def _recurrent(name: str) -> bool:
    """What runs once a picture, on what it made itself: Muon's rate takes out of the slots what they held (docs/log.md)."""
    return name.startswith(("encoder.reader.", "encoder.first_slots."))
