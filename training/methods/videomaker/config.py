"""Training a VideoMaker adapter: a LoRA on self-attention learns to read a clean picture behind the video, which the model itself encodes, and to
recognise it there (arXiv 2412.19645, on Wan's attention over all frames; numbers without a source are our choice)."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from ....backbones.wan.dit import WanDiT
from ....backbones.wan.text import TextEncoder, fold_padding
from ....core.checkpoint import KIND, VERSION, save_model
from ....core.controls import Controls
from ....core.guidance import CONDITIONED
from ....core.layout import Stream
from ....core.lora import FORMAT, SELF, VIDEOMAKER
from ....core.recipes import TRAINED_FOR, recipe_named
from ....hosts.plain.evaluation import Text
from ....hosts.plain.pipeline import load_pipeline
from ....hosts.plain.references import References, references_in_rows
from ....hosts.plain.run import Condition, evaluate
from ...engine.loop import AdapterRun, Models, adapter_state, train_adapter
from ...engine.lora import add_lora, lora_state
from ...engine.optimise import Optimiser
from ...engine.state import RunFiles
from ..saber.batch import no_words, sample_sigma
from ..saber.config import compile_blocks
from .rows import Clips, Photographed, cached_photographed

CLIPS_SEED = 0
FILES = RunFiles("videomaker", ("videomaker.safetensors",))
SEES = "refvid.sees"  # metadata: what the reference was trained to read


@dataclass(frozen=True)
class VideoMakerTraining:
    """Everything an adapter's run depends on. The chances of leaving out the picture, the text, or both exclude each other.

    recipe  `videomaker`, the reference's own clock, or `videomaker_shared`, the video's
    sees    what the reference reads, as `core.controls.Controls` says: "all" in one softmax with the video, "frames" as
            published, "itself" alone
    noise_ratio, recognition_weight  α and β of guidance-recognition loss, as published; both 0: without it
    """

    steps: int
    recipe: str = "videomaker"
    sees: str = "all"
    noise_ratio: float = 0.01
    recognition_weight: float = 0.1
    clips: Clips = field(default_factory=lambda: Clips(4096))
    batch: int = 32
    rank: int = 32
    rate: float = 7e-3
    image_dropout: float = 0.1
    text_dropout: float = 0.1
    both_dropout: float = 0.05
    named_share: float = 0.4
    subject_weight: float = 1.5
    shift: float = 4.0
    seed: int = 0


def demo_videomaker() -> VideoMakerTraining:
    """The demo's adapter."""
    return VideoMakerTraining(steps=600)


def smoke_videomaker() -> VideoMakerTraining:
    """A few steps on a few clips, for tests."""
    return replace(demo_videomaker(), steps=3, clips=Clips(64, frames=5, stride=24, size=48), batch=4)


def train_videomaker(
    config: VideoMakerTraining,
    models: Models,
    folder: Path,
    resume: bool = False,
    device: str = "cpu",
    clips: Path | None = None,
    compiled: bool = False,
) -> None:
    """Train on the demo world and leave `videomaker.safetensors` (fp16) in `folder`. Encoded clips are kept in `clips`, or there too; they
    are the same for every seed."""
    state = adapter_state(FILES, config, models, folder, resume, device)
    torch.manual_seed(config.seed)
    backbone = load_pipeline(models.dit, models.vae, models.text_encoder, device=device)
    made = (backbone.vae, backbone.text.tokenize, config.clips, CLIPS_SEED, clips or folder)
    data = cached_photographed(*made).to(torch.device(device))
    torch.manual_seed(config.seed)  # again: making clips may have drawn
    lora = add_lora(backbone.dit, config.rank, SELF).to(device)
    parts = videomaker_losses(backbone.dit, backbone.text, config)
    optimiser = Optimiser(lora, _up, config.rate, adam_share=0.1, average=0.995, weight_decay=0.01)
    if compiled:
        compile_blocks(backbone.dit, dynamic=None)  # of symbols torch cannot make "frames" (docs/log.md)

    def losses(_step: int, generator: Generator) -> dict[str, tuple[float, Tensor]]:
        video, recognition = parts(draw_photographed(data, config, generator))
        return {"video": (1.0, video), "recognition": (config.recognition_weight, recognition)}

    train_adapter(AdapterRun(state, config.seed, config.steps, lora, optimiser, losses), device)
    _export(optimiser.average.module, config, folder / "videomaker.safetensors")


def _export(lora: nn.Module, config: VideoMakerTraining, path: Path) -> None:
    """A plain LoRA file of ComfyUI's, which says what it was trained for."""
    metadata = {
        KIND: VIDEOMAKER,
        VERSION: FORMAT,
        TRAINED_FOR: config.recipe,
        SEES: config.sees,
        "refvid.training": json.dumps(asdict(config)),
    }
    save_model(lora_state(lora, SELF), path, metadata)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True)
class PhotographedBatch:
    """One step: clips with their photographs; noise for both (B, 16, F, h, w), (B, 16, h, w); noise levels (B,); which rows see no picture (B,);
    tokens of the text (B, S); weight (B, 1, F, h, w) of mean 1."""

    rows: Photographed
    noise: Tensor
    reference_noise: Tensor
    sigma: Tensor
    dropped: Tensor
    tokens: Tensor
    weight: Tensor


def draw_photographed(
    data: Photographed, config: VideoMakerTraining, generator: Generator
) -> PhotographedBatch:
    """`config.batch` clips with their photographs; the same whatever the loss and the recipe are."""
    size, device = config.batch, generator.device
    rows = data[torch.randint(0, len(data.latent), (size,), generator=generator, device=device)]
    left_out, named = torch.rand(2, size, generator=generator, device=device)
    mute = left_out < config.text_dropout + config.both_dropout
    until = config.text_dropout + config.both_dropout + config.image_dropout
    tokens = torch.where((named < config.named_share)[:, None], rows.tokens[:, 1], rows.tokens[:, 0])
    weight = 1 + config.subject_weight * rows.coverage.float()
    return PhotographedBatch(
        rows=rows,
        noise=torch.randn(rows.latent.shape, generator=generator, device=device),
        reference_noise=torch.randn(rows.reference.shape, generator=generator, device=device),
        sigma=sample_sigma(size, config.shift, generator),
        dropped=(left_out >= config.text_dropout) & (left_out < until),
        tokens=torch.where(mute[:, None], no_words(tokens), tokens),
        weight=(weight / weight.mean()).unsqueeze(1),
    )


Losses = Callable[[PhotographedBatch], tuple[Tensor, Tensor]]


def videomaker_losses(dit: WanDiT, text: TextEncoder, config: VideoMakerTraining) -> Losses:
    """The weighted squared error of the video's velocity, and that of the reference's over the tokens that are kept (guidance-recognition
    loss, §3; 0 where its weight is 0).

    The reference is shown as (1 - αs) r + αs ε at the video's noise level s; its velocity is ε - r. A dropped one is a zero latent, as in the recipe's
    null pass, and is not recognised (our choice). Its timestep is that of its own noise, αs, or the video's, as the recipe says.
    """
    own = recipe_named(config.recipe).clock == "own"

    def losses(batch: PhotographedBatch) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            words = Text(*fold_padding(text.states(batch.tokens), batch.tokens))
        level, latent = batch.sigma[:, None, None, None, None], batch.rows.latent.float()
        little = config.noise_ratio * batch.sigma * ~batch.dropped
        noisy = (1 - level) * latent + level * batch.noise
        rider = photograph(dit, config, _shown(batch, little), batch.rows.keep, little)
        condition = Condition({CONDITIONED.text: words}, (rider,))
        said, after = evaluate(dit, noisy, batch.sigma, condition, CONDITIONED)
        video = ((said.float() - (batch.noise - latent)).pow(2) * batch.weight).mean()
        if not config.recognition_weight:
            return video, torch.zeros_like(video)
        return video, _recognition(dit, after, little if own else batch.sigma, batch)

    return losses


def _shown(batch: PhotographedBatch, level: Tensor) -> Tensor:
    """References (B, 16, h, w) as the model sees them, with a little of noise; zero where they are dropped."""
    level = level[:, None, None, None]
    noisy = (1 - level) * batch.rows.reference.float() + level * batch.reference_noise
    return noisy.masked_fill(batch.dropped[:, None, None, None], 0.0)


def photograph(
    dit: WanDiT, config: VideoMakerTraining, reference: Tensor, keep: Tensor, level: Tensor | None = None
) -> References:
    """The references (B, 16, h, w) of a batch, of which each row keeps its own tokens (B, tokens); their noise levels (B,), or None
    where they are clean."""
    _, rows, columns = dit.geometry.tokens(1, *reference.shape[2:])
    stream = Stream(rows, columns, rows * columns, Controls(sees=config.sees))
    recipe = recipe_named(config.recipe)
    made = references_in_rows(reference.unsqueeze(2), keep, stream, recipe, dit.geometry)
    return replace(made, level=level)


def _recognition(dit: WanDiT, after: Tensor, clock: Tensor, batch: PhotographedBatch) -> Tensor:
    """Squared error of the references' velocity, by the DiT's own head on their tokens after the last block (B, R, C), over kept tokens."""
    reference, keep = batch.rows.reference.float(), batch.rows.keep & ~batch.dropped[:, None]
    rows, columns = reference.shape[2:]
    told, _ = dit.embed_time(clock * dit.geometry.clock)
    velocity = dit.to_latent(after, told, (1, rows, columns))[:, :, 0].float()
    patch, grid = dit.geometry.patch, dit.geometry.tokens(1, rows, columns)
    seen = keep.view(-1, *grid).repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    error = (velocity - (batch.reference_noise - reference)).pow(2) * seen
    return error.sum() / (seen.sum() * reference.shape[1]).clamp_min(1)


def _up(name: str, parameter: Tensor) -> bool:
    """Muon's: what begins at zero; the other factors go to Adam."""
    return parameter.ndim == 2 and ".up." in name
