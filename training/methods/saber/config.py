"""Masked training of a small Wan DiT and its text encoder on the demo world (Saber, arXiv 2512.06905, §3), with
replaced frames (STIV, arXiv 2412.07730, §3.2) and clips of several lengths."""

import json
import logging
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from torch import Generator, Tensor, nn

from ....backbones.wan.dit import DiTConfig, WanDiT
from ....backbones.wan.geometry import WAN_2_1
from ....backbones.wan.loading import load_dit, load_vae
from ....backbones.wan.text import TextEncoder, load_text_encoder
from ....core.checkpoint import save_model
from ....core.recipes import TRAINED_FOR
from ....demo import world
from ....hosts.plain.pipeline import SETTINGS, Settings
from ...base.text import fresh_text_encoder, take_over
from ...engine.optimise import Optimiser, warm_hold_decay
from ...engine.parallel import Ranks, average_gradients, join
from ...engine.state import RunFiles, RunState, weights_digest
from ...masks.references import Augmentation, MaskedFrames
from .batch import Drawing, draw_batch
from .losses import masked_reference_loss
from .rows import Encoder, Kind, Latents, cached_latents

logger = logging.getLogger(__name__)
SAVE_EVERY = 60.0  # seconds
CHANNELS = (WAN_2_1.channels, WAN_2_1.channels)  # in, out
FILES = RunFiles("dit", ("dit.safetensors", "text_encoder.safetensors"))
VAE, VAE_NEEDED = "vae.safetensors", "--out (run `refvid train vae` first)"


@dataclass(frozen=True)
class Stage:
    """A part of a run: so many steps that see each of the run's kinds by its share, drawn in one way."""

    steps: int
    shares: tuple[float, ...]
    drawing: Drawing = field(default_factory=Drawing)

    def drawing_of(self, kind: Kind) -> Drawing:
        """How steps of a kind are drawn: a kind may have patterns of its own."""
        return self.drawing if kind.patterns is None else replace(self.drawing, patterns=kind.patterns)


@dataclass(frozen=True)
class TrainingConfig:
    """Everything a DiT run depends on."""

    model: DiTConfig
    kinds: tuple[Kind, ...]
    stages: tuple[Stage, ...]
    recipe: str = "saber"
    size: int = world.SIZE
    references: int = 4  # masked frames cached per clip; a step draws one to four of them
    # Not mirrored, unlike the paper's: which side a toy's second colour is on belongs to who it is.
    how: MaskedFrames = field(default_factory=lambda: MaskedFrames(augmentation=Augmentation(flip=0.0)))
    attention_mask: bool = True  # False: masked-out reference tokens stay visible, as grey (an ablation)
    rate: float = 7e-3
    hold: float = 0.6  # share of the run before the rate decays
    seed: int = 0
    settings: Settings = field(default_factory=Settings)  # how the result likes to be run; kept in its file

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def stage_of(self, step: int) -> Stage:
        """The stage that a step belongs to."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        raise ValueError(f"step lies {step} past the end of the run's {self.steps}")


def demo_dit() -> TrainingConfig:
    """The demo's DiT: 6 M parameters, 80 x 80 pixels. It learns to draw named toys in single pictures, then to
    copy and recognise them in references, then everything: mostly whole scenes in 9 pictures, beside 25 of them,
    17 in a row for what lies between two key pictures 12 apart of a long video, and pictures. Everything at once from the start
    leaves blobs for silhouettes (docs/log.md)."""
    run = Settings(width=world.SIZE, height=world.SIZE, frames=9, steps=20, scale=2.0, shift=3.0, fps=8)
    kinds = (
        Kind("toy", 1, 48, 8192, 64, easy=True),
        Kind("scene", 9, 12, 8192, 64),
        Kind("long", 25, 4, 1024, 24),
        Kind("between", 17, 1, 2048, 40, patterns=(0.25, 0.1, 0.05, 0.5, 0.1)),
        Kind("picture", 1, 12, 2048, 128),
    )
    # Where a toy stands is decided at high noise, and what is given decides it instead: direction is learned from such steps.
    everything = Drawing((0.7, 0.2, 0.05, 0.05), (0.75, 0.1, 0.05, 0.05, 0.05), shift=4.0)
    stages = (
        Stage(2000, (1, 0, 0, 0, 0), Drawing(named_share=1.0, reference_dropout=1.0)),
        Stage(3000, (1, 0, 0, 0, 0), Drawing(named_share=0.15, reference_counts=(1.0,))),
        Stage(7000, (0.1, 0.6, 0.1, 0.15, 0.05), everything),
    )
    return TrainingConfig(DiTConfig(256, 768, 2, 6, *CHANNELS, 128), kinds, stages, settings=run)


def smoke_dit() -> TrainingConfig:
    """A few steps of a tiny model, for tests."""
    kinds = (Kind("toy", 1, 48, 64, 4, easy=True), Kind("scene", 9, 12, 64, 4))
    first, *_, last = demo_dit().stages
    stages = (replace(first, steps=1, shares=(1, 0)), replace(last, steps=2, shares=(0.5, 0.5)))
    tiny = DiTConfig(48, 64, 2, 1, *CHANNELS, 32)
    return replace(demo_dit(), model=tiny, kinds=kinds, stages=stages, references=2, size=64)


class Trainee(nn.Module):
    """The DiT and the text model, trained as one."""

    def __init__(self, dit: WanDiT, text: TextEncoder):
        super().__init__()
        self.dit = dit
        self.text: nn.Module = text.model


@dataclass(frozen=True)
class Start:
    """The weights a run begins with: a DiT of its sizes, and the text encoder that was trained with it."""

    dit: Path
    text_encoder: Path


def train_dit(
    config: TrainingConfig,
    folder: Path,
    resume: bool = False,
    compiled: bool = False,
    device: str = "cpu",
    start: Start | None = None,
) -> None:
    """Train on `folder`/vae.safetensors and leave `dit.safetensors` and `text_encoder.safetensors` (fp16) there."""
    ranks = join(device)
    state = RunState(FILES, folder, _made_by(config, folder, device, ranks, start), resume)
    torch.manual_seed(config.seed)
    text = fresh_text_encoder(config.model.text_width)
    begun = None if start is None else begun_dit(config.model, text, start)
    data = shared_latents(config, text, folder, device, ranks)
    torch.manual_seed(config.seed)  # again: making latents may have drawn
    dit = fresh_dit(config.model) if begun is None else begun
    trainee = Trainee(dit, text).to(device)
    generator, common = Generator(device), Generator(device)
    optimiser = Optimiser(
        trainee, _hidden, config.rate, adam_share=0.5, average=0.997, weight_decay=0.02, ranks=ranks
    )
    first = state.first_step(trainee, optimiser, generator, config.steps)
    if compiled:
        compile_blocks(trainee.dit)
    loss = masked_reference_loss(trainee.dit, text, config.recipe, config.attention_mask)
    shown, seen = time.monotonic(), []
    for step in range(first, config.steps):
        stage = config.stage_of(step)
        kind, latents = data[_turn(stage.shares, step)]
        seed = (config.seed * config.steps + step) * (ranks.count + 1)
        common.manual_seed(seed)
        generator.manual_seed(seed + 1 + ranks.rank)
        with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
            value = loss(
                draw_batch(latents, ranks.share(kind.batch), stage.drawing_of(kind), generator, common)
            )
        value.backward()
        average_gradients(optimiser.parameters, ranks)
        optimiser.step(trainee, warm_hold_decay(step, config.steps, hold=config.hold))
        seen.append(value.detach())
        if ranks.first and (time.monotonic() - shown > SAVE_EVERY or step + 1 == config.steps):
            logger.info(
                "dit step %d of %d: loss %.4f", step + 1, config.steps, torch.stack(seen).mean().item()
            )
            shown, seen = time.monotonic(), []
            state.save(trainee, optimiser, generator, step + 1)
    if ranks.first:
        export(cast(Trainee, optimiser.average.module), text, config, folder)


def _made_by(config: TrainingConfig, folder: Path, device: str, ranks: Ranks, start: Start | None) -> dict:
    """All that a run's result depends on. ValueError where a file is missing."""
    return {
        "config": asdict(config),
        "vae": weights_digest(folder / VAE, VAE_NEEDED),
        "--from": start and weights_digest(start.dit, "--from"),
        "--from-text": start and weights_digest(start.text_encoder, "--from-text"),
        "device": torch.device(device).type,
        "processes": ranks.count,
    }


def compile_blocks(dit: WanDiT, dynamic: bool | None = True) -> None:
    """torch.compile every block, a LoRA on it included: a slower start, faster steps (an adapter's in three quarters of the time, docs/log.md).
    `dynamic` is torch's: True where sizes change between steps, None to begin with the sizes that are met."""
    for block in dit.blocks:
        block.compile(dynamic=dynamic)


def export_run(config: TrainingConfig, folder: Path) -> None:
    """Write the averaged weights of a run that has not ended as `train_dit` writes those of one that has.
    ValueError where there is no whole state of this configuration."""
    if not FILES.found_states(folder):
        raise ValueError(f"--out: {folder} holds no {FILES.states(folder)[0].name}; needed a run to export")
    state = RunState(FILES, folder, {"config": asdict(config)}, resume=True)
    text = fresh_text_encoder(config.model.text_width)
    trainee = Trainee(fresh_dit(config.model), text)
    optimiser = Optimiser(trainee, _hidden, config.rate)
    step = state.restore(trainee, optimiser)
    logger.info("exporting step %d of %d", step, config.steps)
    export(cast(Trainee, optimiser.average.module), text, config, folder)


def shared_latents(
    config: TrainingConfig, text: TextEncoder, folder: Path, device: str, ranks: Ranks
) -> list[tuple[Kind, Latents]]:
    """`latents_of`, made by the first process and read by the others."""
    if not ranks.first:
        ranks.wait()
    data = latents_of(config, text, folder, device)
    if ranks.first:
        ranks.wait()
    return data


def latents_of(
    config: TrainingConfig, text: TextEncoder, folder: Path, device: str
) -> list[tuple[Kind, Latents]]:
    """The clips of every kind, made or read, on the device."""
    vae = load_vae(folder / VAE, device=device, what=VAE_NEEDED, needed=WAN_2_1)
    encoder = Encoder(vae, text.tokenize, config.how, config.references, config.size, config.seed)
    return [(kind, cached_latents(encoder, kind, folder).to(torch.device(device))) for kind in config.kinds]


def fresh_dit(model: DiTConfig) -> WanDiT:
    """Wan's initialisation: xavier for projections, zero for the output of the head."""
    dit = WanDiT(model)
    for name, module in dit.named_modules():
        if isinstance(module, nn.Linear) and ("_attn." in name or "ffn." in name):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    nn.init.zeros_(dit.head.head.weight)
    nn.init.zeros_(dit.head.head.bias)
    return dit


def begun_dit(model: DiTConfig, text: TextEncoder, start: Start) -> WanDiT:
    """The DiT of `start`; `text` takes its text encoder over. ValueError where either is of another size."""
    dit, _ = load_dit(start.dit, what="--from")
    if dit.config != model:
        raise ValueError(f"--from: {start.dit.name} is {dit.config}; the run needs {model}")
    take_over(text, load_text_encoder(start.text_encoder, what="--from-text"), "--from-text")
    return dit.train().requires_grad_()


def export(average: Trainee, text: TextEncoder, config: TrainingConfig, folder: Path) -> None:
    """Write the averaged weights as ComfyUI and this package load them."""
    sizes = {"transformer": {"num_heads": config.model.heads, "text_dim": config.model.text_width}}
    metadata = {
        "config": json.dumps(sizes),
        TRAINED_FOR: config.recipe,
        SETTINGS: json.dumps(asdict(config.settings)),
        "refvid.training": json.dumps(asdict(config)),
    }
    save_model(dict(average.dit.state_dict()), folder / "dit.safetensors", metadata)
    tensors = TextEncoder(average.text, text.spiece_model).tensors()
    save_model(tensors, folder / "text_encoder.safetensors")


def _turn(shares: tuple[float, ...], step: int) -> int:
    """Which kind a step sees: each by its share, spread evenly, from the step alone, so that a resumed run agrees."""
    whole = torch.tensor(shares, dtype=torch.float64)
    place = (step * 0.6180339887498949) % 1 * whole.sum()  # the golden ratio's multiples fill [0, 1) evenly
    return int((whole.cumsum(0) <= place).sum().clamp_max(len(shares) - 1))


def _hidden(name: str, parameter: Tensor) -> bool:
    return name.startswith("dit.blocks.") and parameter.ndim == 2
