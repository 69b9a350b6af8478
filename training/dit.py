"""Masked training of a small Wan DiT and its text encoder on the demo world (Saber, arXiv 2512.06905, §3)."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from torch import Generator, Tensor, nn

from ..core.layout import Layout, Stream
from ..core.positions import reference_angles
from ..core.recipes import TRAINED_FOR, recipe_named
from ..hosts.pipeline import SETTINGS, Settings
from ..wan.dit import DiTConfig, Tail, WanDiT
from ..wan.loading import load_vae, save_model
from ..wan.sampler import TRAINED_STEPS
from ..wan.text import TextEncoder, fold_padding
from .data import Latents, cached_latents, sentences
from .optimise import Optimiser, load_run, save_run, warm_hold_decay
from .text import fresh_text_encoder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingConfig:
    """Everything a DiT run depends on."""

    model: DiTConfig
    recipe: str = "saber"
    clips: int = 8192
    references: int = 4  # masked frames cached per clip; each step draws one
    steps: int = 4000
    batch: int = 64
    rate: float = 7e-3
    text_dropout: float = 0.1
    reference_dropout: float = 0.15
    named_share: float = 0.4  # captions that name the shape
    subject_weight: float = 1.5  # extra loss on latent cells the toy covers
    shift: float = 2.0
    seed: int = 0
    settings: Settings = field(default_factory=Settings)  # how the result likes to be run; kept in its file


def demo_dit() -> TrainingConfig:
    """The demo's DiT: 6 M parameters, 64 x 64 pixels, 9 pictures."""
    run = Settings(width=64, height=64, frames=9, steps=20, scale=2.0, shift=3.0, fps=8)
    return TrainingConfig(DiTConfig(256, 768, 2, 6, 16, 16, 128), settings=run)


def smoke_dit() -> TrainingConfig:
    """A few steps of a tiny model, for tests."""
    return replace(
        demo_dit(), model=DiTConfig(48, 64, 2, 1, 16, 16, 32), clips=64, steps=3, batch=4, references=1
    )


class Trainee(nn.Module):
    """The DiT and the text model, trained as one."""

    def __init__(self, dit: WanDiT, text: TextEncoder):
        super().__init__()
        self.dit = dit
        self.text: nn.Module = text.model


@dataclass(frozen=True)
class Batch:
    """What one step sees; everything random about it is drawn already."""

    latent: Tensor  # (B, 16, F, h, w)
    noise: Tensor
    sigma: Tensor  # (B,)
    reference: Tensor  # (B, 16, 1, h, w)
    keep: Tensor  # (B, tokens) bool; all False where the reference is dropped
    tokens: Tensor  # (B, S) of the caption; only </s> where the text is dropped
    weight: Tensor  # (B, 1, F, h, w)


def draw_batch(data: Latents, captions: Tensor, config: TrainingConfig, generator: Generator) -> Batch:
    """Clips, one reference each, text and reference dropped independently, logit-normal times with a shift."""
    size = config.batch

    def chance(share: float) -> Tensor:
        return torch.rand(size, generator=generator) < share

    rows = torch.randint(0, len(data.latent), (size,), generator=generator)
    pick = torch.randint(0, data.reference.shape[1], (size,), generator=generator)
    caption = torch.where(chance(config.named_share), data.named_caption[rows], data.caption[rows])
    caption = caption.masked_fill(chance(config.text_dropout), 0)
    latent = data.latent[rows].float()
    clock = torch.sigmoid(1.1 * torch.randn(size, generator=generator))
    weight = 1 + config.subject_weight * data.coverage[rows].float().unsqueeze(1)
    return Batch(
        latent=latent,
        noise=torch.randn(latent.shape, generator=generator),
        sigma=config.shift * clock / (1 + (config.shift - 1) * clock),
        reference=data.reference[rows, pick].float().unsqueeze(2),
        keep=data.keep[rows, pick] & ~chance(config.reference_dropout)[:, None],
        tokens=captions[caption],
        weight=weight / weight.mean(),
    )


def masked_reference_loss(
    trainee: Trainee, text: TextEncoder, config: TrainingConfig
) -> Callable[[Batch], Tensor]:
    """Flow-matching loss on the video; masked-out reference tokens are seen by nobody (a key bias of -inf here, since
    rows of a batch keep different tokens; the same numbers as their removal)."""
    dit, recipe = trainee.dit, recipe_named(config.recipe)
    angles: dict[tuple[int, int, int], Tensor] = {}

    def tail(reference: Tensor, keep: Tensor, frames: int) -> Tail:
        grid = (frames, reference.shape[3] // 2, reference.shape[4] // 2)
        if grid not in angles:
            layout = Layout(recipe, (Stream(grid[1], grid[2], grid[1] * grid[2]),))
            angles[grid] = reference_angles(layout, frames, dit.head_size)[None]
        bias = torch.zeros(keep.shape).masked_fill(~keep, float("-inf"))
        return Tail(dit.embed_patches(reference), angles[grid], bias)

    def loss(batch: Batch) -> Tensor:
        context, bias = fold_padding(text.states(batch.tokens), batch.tokens)
        sigma = batch.sigma.view(-1, 1, 1, 1, 1)
        noisy = (1 - sigma) * batch.latent + sigma * batch.noise
        references = tail(batch.reference, batch.keep, noisy.shape[2])
        velocity = dit(noisy, batch.sigma * TRAINED_STEPS, context, context_bias=bias, tail=references)
        error = (velocity.float() - (batch.noise - batch.latent)).pow(2)
        return (error * batch.weight).mean()

    return loss


def train_dit(config: TrainingConfig, folder: Path, resume: bool = False, compiled: bool = False) -> None:
    """Train on `folder`/vae.safetensors and leave `dit.safetensors` and `text_encoder.safetensors` (fp16) there."""
    torch.manual_seed(config.seed)
    vae = load_vae(folder / "vae.safetensors", what="--out (run `refvid train vae` first)")
    data = cached_latents(vae, folder / "latents.safetensors", config.clips, config.references, config.seed)
    text = fresh_text_encoder(config.model.text_width)
    trainee, generator = Trainee(fresh_dit(config.model), text), Generator().manual_seed(config.seed + 1)
    optimiser = Optimiser(trainee, _hidden, config.rate, adam_share=0.5, average=0.997, weight_decay=0.02)
    run, first = folder / "dit-run.safetensors", 0
    if resume and run.exists():
        first = load_run(run, trainee, optimiser, generator)
    captions = text.tokenize(sentences())
    loss = masked_reference_loss(trainee, text, config)
    loss = torch.compile(loss, dynamic=False) if compiled else loss
    shown, seen = time.monotonic(), []
    for step in range(first, config.steps):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = loss(draw_batch(data, captions, config, generator))
        value.backward()
        optimiser.step(trainee, warm_hold_decay(step, config.steps))
        seen.append(value.item())
        if time.monotonic() - shown > 60 or step + 1 == config.steps:
            logger.info("dit step %d of %d: loss %.4f", step + 1, config.steps, sum(seen) / len(seen))
            shown, seen = time.monotonic(), []
            save_run(run, trainee, optimiser, generator, step + 1)
    export(cast(Trainee, optimiser.average.module), text, config, folder)


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


def _hidden(name: str, parameter: Tensor) -> bool:
    return name.startswith("dit.blocks.") and parameter.ndim == 2
