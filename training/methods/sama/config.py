"""Training a SAMA adapter: a LoRA and SAMA's modules learn to edit a source video by an instruction, the DiT and the text stay as they are
(arXiv 2603.19228; sizes and rates are our choice)."""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from torch import Generator, Tensor, nn

from ....backbones.wan.dit import WanDiT
from ....backbones.wan.text import PADDING, TextEncoder, fold_padding
from ....core.checkpoint import KIND, VERSION, save_model
from ....core.editing import PREFIX
from ....core.guidance import CONDITIONED
from ....core.lora import CROSS, SELF
from ....core.recipes import TRAINED_FOR, Recipe, sama
from ....core.semantic import EDITING_ADAPTER, FORMAT, SemanticConfig, SemanticModules, as_frames, as_tokens
from ....hosts.plain.evaluation import Text
from ....hosts.plain.pipeline import load_pipeline
from ....hosts.plain.run import Condition, velocity
from ....hosts.plain.source import Source
from ...engine.loop import AdapterRun, Models, adapter_state, train_adapter
from ...engine.lora import add_lora, lora_state
from ...engine.optimise import Optimiser
from ...engine.state import RunFiles
from ..saber.batch import sample_sigma
from ..saber.config import compile_blocks
from .rows import EditPairs, Pairs, cached_pairs
from .targets import Extractor, HandMade

PAIRS_SEED = 0
FILES = RunFiles("sama", ("sama.safetensors",))
FEATURES = "refvid.features"  # metadata: what semantic tokens were made of
HAND_MADE = HandMade()
ATTENTIONS = (SELF, CROSS)


@dataclass(frozen=True)
class SamaTraining:
    """Everything an adapter's run depends on. `motion_steps` of motion alignment come first (stage 0, on pretexts), then `steps` of edits
    (stage 1); `semantic_weight` λ is that of semantic anchoring, 0 leaves the tokens out."""

    motion_steps: int
    steps: int
    semantic_weight: float = 0.1
    edits: Pairs = field(default_factory=lambda: Pairs("edits", 4096))
    pretexts: Pairs = field(default_factory=lambda: Pairs("pretexts", 2048))
    batch: int = 16
    rank: int = 32
    hidden: int = 128  # of the MLP that takes semantic tokens in
    rate: float = 7e-3
    text_dropout: float = 0.1
    region_weight: float = 3.0
    shift: float = 4.0
    seed: int = 0

    @property
    def recipe(self) -> Recipe:
        """`sama`, without its semantic tokens where they are not learned."""
        return sama() if self.semantic_weight else replace(sama(), semantic_tokens=0)


def demo_sama() -> SamaTraining:
    """The demo's adapter."""
    return SamaTraining(motion_steps=360, steps=840)


def smoke_sama() -> SamaTraining:
    """A few steps on a few clips, for tests."""
    few = {"count": 64, "frames": 9, "size": 32}
    pairs = Pairs("edits", **few), Pairs("pretexts", **few)
    return replace(demo_sama(), motion_steps=2, steps=3, edits=pairs[0], pretexts=pairs[1], batch=4, rank=4)


class SamaTrainee(nn.Module):
    """What learns: SAMA's modules, for semantic tokens of so many features, and the LoRA on both attentions of a frozen DiT."""

    def __init__(self, config: SamaTraining, dit: WanDiT, features: int):
        super().__init__()
        self.semantics = SemanticModules(SemanticConfig(dit.width, features, config.hidden))
        self.semantics.start()
        self.lora = nn.ModuleDict({name: add_lora(dit, config.rank, name) for name in ATTENTIONS})


def train_sama(
    config: SamaTraining,
    models: Models,
    folder: Path,
    resume: bool = False,
    device: str = "cpu",
    clips: Path | None = None,
    compiled: bool = False,
    extractor: Extractor = HAND_MADE,
) -> None:
    """Train on the demo world and leave `sama.safetensors` (fp16) in `folder`. Encoded pairs, with the extractor's features, are kept in
    `clips`, or there too; they are the same for every seed."""
    state = adapter_state(FILES, config, models, folder, resume, device, features=extractor.name)
    torch.manual_seed(config.seed)
    backbone = load_pipeline(models.dit, models.vae, models.text_encoder, device=device)
    dit, text, where = backbone.dit, backbone.text, torch.device(device)
    wanted = (config.pretexts,) * (config.motion_steps > 0) + (config.edits,)
    made = (backbone.vae, text.tokenize, extractor)
    data = {one.name: cached_pairs(*made, one, PAIRS_SEED, clips or folder).to(where) for one in wanted}
    torch.manual_seed(config.seed)  # again: making pairs may have drawn
    trainee = SamaTrainee(config, dit, data[config.edits.name].semantic.shape[2]).to(device)
    mute = text.tokenize([PREFIX])[0].to(where)
    optimiser = Optimiser(trainee, _matrix, config.rate, adam_share=0.3, average=0.995, weight_decay=0.01)
    if compiled:
        compile_blocks(dit)

    def losses(step: int, generator: Generator) -> dict[str, tuple[float, Tensor]]:
        rows = data[config.pretexts.name if step < config.motion_steps else config.edits.name]
        batch = draw_pairs(rows, config, mute, generator)
        video, semantic = sama_losses(dit, trainee.semantics, text, config.recipe, batch)
        return {"video": (1.0, video), "semantic": (config.semantic_weight, semantic)}

    steps = config.motion_steps + config.steps
    train_adapter(AdapterRun(state, config.seed, steps, trainee, optimiser, losses), device)
    _export(cast(SamaTrainee, optimiser.average.module), config, extractor.name, folder / "sama.safetensors")


def _export(trainee: SamaTrainee, config: SamaTraining, features: str, path: Path) -> None:
    """The modules under the released file's names, and a LoRA of ComfyUI's, in one file; of what features is said in it."""
    state = dict(trainee.semantics.state_dict())
    for attention, layers in trainee.lora.items():
        state |= lora_state(cast(nn.ModuleDict, layers), attention)
    metadata = {
        KIND: EDITING_ADAPTER,
        VERSION: FORMAT,
        TRAINED_FOR: "sama",
        FEATURES: features,
        "refvid.training": json.dumps(asdict(config)),
    }
    save_model(state, path, metadata)


@dataclass(frozen=True)
class PairBatch:
    """One step: pairs; noise for targets (B, 16, F, h, w) and for semantic tokens (B, 65, features); noise levels (B,); tokens of the prompt
    (B, S), the prefix alone where it is dropped; weight (B, 1, F, h, w) of mean 1."""

    rows: EditPairs
    noise: Tensor
    semantic_noise: Tensor
    sigma: Tensor
    tokens: Tensor
    weight: Tensor


def draw_pairs(data: EditPairs, config: SamaTraining, mute: Tensor, generator: Generator) -> PairBatch:
    """`config.batch` pairs; the same whatever the loss is."""
    size, device = config.batch, generator.device
    rows = data[torch.randint(0, len(data.target), (size,), generator=generator, device=device)]
    dropped = torch.rand(size, generator=generator, device=device) < config.text_dropout
    prefix = nn.functional.pad(mute, (0, rows.tokens.shape[1] - len(mute)), value=PADDING)
    weight = 1 + config.region_weight * rows.coverage.float()
    return PairBatch(
        rows=rows,
        noise=torch.randn(rows.target.shape, generator=generator, device=device),
        semantic_noise=torch.randn(rows.semantic.shape, generator=generator, device=device),
        sigma=sample_sigma(size, config.shift, generator),
        tokens=torch.where(dropped[:, None], prefix, rows.tokens),
        weight=(weight / weight.mean()).unsqueeze(1),
    )


def sama_losses(
    dit: WanDiT, modules: SemanticModules, text: TextEncoder, recipe: Recipe, batch: PairBatch
) -> tuple[Tensor, Tensor]:
    """The weighted squared error of the video's velocity, and the mean absolute error of the semantic tokens' (SAMA, §3.2, and the released
    head, which predicts a velocity; 0 without them)."""
    with torch.no_grad():
        words = Text(*fold_padding(text.states(batch.tokens), batch.tokens))
    target, level = batch.rows.target.float(), batch.sigma[:, None, None, None, None]
    noisy, frames = (1 - level) * target + level * batch.noise, target.shape[2]
    source = Source(batch.rows.source.float(), recipe, modules)
    meant = batch.rows.semantic.float()
    said = (1 - level[..., 0, 0]) * meant + level[..., 0, 0] * batch.semantic_noise
    state = torch.cat([noisy, as_frames(said, tuple(noisy.shape))], dim=2) if source.count else noisy
    out = velocity(dit, state, batch.sigma, Condition({CONDITIONED.text: words}, (source,)), CONDITIONED)
    video = ((out[:, :, :frames].float() - (batch.noise - target)).pow(2) * batch.weight).mean()
    if not source.count:
        return video, torch.zeros_like(video)
    predicted = as_tokens(out[:, :, frames:], *meant.shape[1:])
    return video, (predicted.float() - (batch.semantic_noise - meant)).abs().mean()


def _matrix(name: str, parameter: Tensor) -> bool:
    """Muon's: matrices between features; the table of types and the head, which begin at zero, go to Adam."""
    return parameter.ndim == 2 and not any(part in name for part in ("embedding", "proj"))
