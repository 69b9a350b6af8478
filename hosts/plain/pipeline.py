"""The pipeline without ComfyUI: from three model files, references and a prompt to a video."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...backbones.base import VideoVAE
from ...backbones.wan.dit import WanDiT
from ...backbones.wan.files import bare_dit
from ...backbones.wan.geometry import CONTEXT_LENGTH
from ...backbones.wan.loading import known_dit, load_dit, load_modules, load_vae
from ...backbones.wan.sampler import flow_sigmas
from ...backbones.wan.text import TextEncoder, fold_padding, load_text_encoder
from ...backbones.wan.vace import VaceDiT
from ...backbones.wan.vae import WanVAE
from ...core.checkpoint import read_metadata, read_shapes
from ...core.editing import Windows
from ...core.frames import Placed
from ...core.guidance import Guidance, Scale, joint
from ...core.inspection import Inspection, Sizes, inspect
from ...core.recipe import Recipe
from ...core.recipes import AUTO_RECIPE, EDITING, RECIPES, TRAINED_FOR, choose_recipe, recipe_for
from ...core.recognition import Recognised, recognise
from ...core.records import bounded, read_record, require_bounds
from ...core.references import Reference, with_empty_places
from ...core.semantic import SemanticModules
from ...core.token_lora import TokenLora, read_token_lora
from ...kernels.paths import ANY_ATTENTION
from . import sampling
from .attention_choice import PlainAttentionNeed, choose_plain_attention
from .evaluation import Rider, Text
from .frames import encode_frames
from .identities import PeopleRider
from .references import ReferencesRider, arrange_references, encode_pictures, encode_references
from .source import SourceRider
from .vace import HintsRider, encode_hints, require_carrier

Progress = Callable[[int, int], None]  # (steps done, of how many)
_TOGETHER = 16  # clips that are generated in one batch
SETTINGS = "refvid.settings"  # metadata of a DiT's file: the Settings it was made for


@dataclass(frozen=True)
class Settings:
    """Settings that a model is run with; the defaults are Wan 2.1's."""

    width: int = bounded(1, 8192, 832)
    height: int = bounded(1, 8192, 480)
    frames: int = bounded(1, 100000, 81)
    steps: int = bounded(1, 10000, 50)
    scale: float = bounded(0, 100, 5.0)
    shift: float = bounded(0.01, 100, 5.0)
    fps: int = bounded(1, 1000, 16)
    seed: int = bounded(-(2**63), 2**64 - 1, 0)

    def __post_init__(self) -> None:
        require_bounds(self)

    def published(self, recipe: Recipe) -> "Settings":
        """A copy with the settings that the recipe's weights were published with, the scale being that of the
        text. ValueError where none are known."""
        hints = recipe.hints
        if hints is None:
            raise ValueError(
                f"recipe {recipe.name}: no settings are known that its weights were published with; give "
                "your own"
            )
        (width, height), shift = hints.size, self.shift if hints.shift is None else hints.shift
        return replace(
            self, width=width, height=height, frames=hints.frames, steps=hints.steps, scale=hints.text_scale,
            shift=shift, fps=hints.fps,
        )  # fmt: skip


@dataclass(frozen=True)
class Pipeline:
    """A loaded model: DiT, VAE and text encoder, and what the DiT's file says of itself. SAMA's modules and a
    LoRA on reference tokens are there where files of them are. Where the file says no recipe, `found` are
    public weights that it is recognised as."""

    dit: WanDiT
    vae: WanVAE
    text: TextEncoder
    recipe: str | None
    settings: Settings
    modules: SemanticModules | None = None
    found: Recognised | None = None
    token_lora: TokenLora | None = None


def load_pipeline(
    dit: str | Path, vae: str | Path, text_encoder: str | Path, dtype: torch.dtype = torch.float32,
    device: str = "cpu", hints: bool = False,
) -> Pipeline:  # fmt: skip
    """Load three files in original format; a VACE where the caller shows its branch `hints`, as `generate`
    does. ValueError names the one that does not fit."""
    model, metadata = load_dit(dit, dtype, device, hints=hints)
    _require_input(model, f"--dit: {Path(dit).name}")
    text = load_text_encoder(text_encoder, dtype, device)
    width = text.model.config.d_model
    if width != model.config.text_width:
        raise ValueError(
            f"--text-encoder gives states of width {width}, --dit takes {model.config.text_width}"
        )
    coder = load_vae(vae, dtype, device, needed=model.geometry, by=f"--dit: {Path(dit).name}")
    modules = load_modules(dit, dtype, device)
    settings = settings_of(dit)
    recipe = recipe_for(modules, metadata.get(TRAINED_FOR))
    return Pipeline(
        model, coder, text, recipe, settings, modules, recognise(dit, read_shapes(dit, "--dit")[0])
    )


def with_reference_adapter(backbone: Pipeline, path: str | Path, what: str) -> Pipeline:
    """The pipeline with a LoRA on reference tokens from its file, and with the recipe that it is for.
    ValueError as `core.token_lora.read_token_lora` says."""
    dit = backbone.dit
    sizes, state, recipe = read_token_lora(path, dit.width, dit.config.layers, what)
    with torch.device("meta"):
        lora = TokenLora(sizes)
    lora.load_state_dict(state, assign=True)
    lora = lora.to(dit.device, dit.dtype).requires_grad_(False)
    return replace(backbone, token_lora=lora, recipe=recipe)


def _require_input(dit: WanDiT, name: str) -> None:
    """ValueError for a DiT that takes something beside its latents which no run here has."""
    channels, masked = dit.geometry.channels, dit.geometry.masked_channels
    if dit.in_channels not in (channels, masked):
        raise ValueError(
            f"{name} takes {dit.in_channels} input channels to make {channels}; needed {channels} (T2V, "
            f"TI2V) or {masked} (I2V, Fun-InP)"
        )


def settings_of(dit: str | Path) -> Settings:
    """Settings that a DiT's file names."""
    return read_record(Settings, read_metadata(dit, "--dit"), SETTINGS, f"--dit: {Path(dit).name}")


def inspect_references(
    dit: str | Path,
    references: list[Reference],
    settings: Settings,
    recipe: str = AUTO_RECIPE,
    attention: str = ANY_ATTENTION,
) -> tuple[Inspection, list[Tensor]]:
    """Inspect references on a DiT, of which only the shapes are read. ValueError without an active reference.

    -> what they would add to a run, and their prepared pictures (H, W, 3).
    """
    state, metadata = read_shapes(dit, "--dit")
    name = f"--dit: {Path(dit).name}"
    config = known_dit(bare_dit(state, name), metadata, name, hints=True)
    chosen = choose_recipe(recipe, metadata.get(TRAINED_FOR), found=recognise(dit, state))
    require_carrier(chosen, bool(config.hint_layers))
    if chosen.carrier == "hints":
        raise ValueError(
            f"recipe is {chosen.name}, whose references are not shown here: each is a frame of the video's sequence"
        )
    geometry = config.geometry
    grid = geometry.latent(settings.frames, settings.height, settings.width)
    arranged, cells, prepared = arrange_references(references, chosen, grid, geometry)
    if not prepared:
        raise ValueError("--reference: none acts; give one with a strength above 0")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    layout, video = arranged.layout, geometry.count(*grid)
    heads = (config.heads, config.width // config.heads)
    inspection = inspect(
        layout,
        arranged.keep,
        cells,
        arranged.soft,
        grid,
        Sizes(config.width, config.ffn_width, config.layers, CONTEXT_LENGTH),
        lambda now: choose_plain_attention(
            PlainAttentionNeed(
                *heads, layout, now, 1, video, now.count(layout), torch.device(device), torch.bfloat16
            ),
            attention,
            hold=False,
        ),
    )
    return inspection, list(with_empty_places([reference.picture for reference in prepared], chosen))


@dataclass(frozen=True)
class Request:
    """One video that is asked of a pipeline.

    recipe    by name, or as the DiT's file says
    guidance  None: JIT-CFG at the settings' scale
    source    a video that the prompt is to change
    windows   that a long one is evaluated in
    riders    that travel with the run besides
    """

    prompt: str
    settings: Settings
    references: tuple[Reference, ...] = ()
    negative: str = ""
    recipe: str = AUTO_RECIPE
    attention: str = ANY_ATTENTION
    people: PeopleRider | None = None
    guidance: Guidance | None = None
    given: Placed | None = None
    source: SourceRider | None = None
    windows: Windows | None = None
    riders: tuple[Rider, ...] = ()


def generate(backbone: Pipeline, request: Request, progress: Progress | None = None) -> Tensor:
    """Generate a video (3, frames, height, width) in [-1, 1]. ValueError for a recipe that neither the
    request nor the DiT's file names, and for what does not fit the DiT."""
    dit, settings = backbone.dit, request.settings
    condition, empty = _condition(backbone, request)
    noise = torch.randn(empty.shape, generator=torch.Generator().manual_seed(settings.seed))
    noise = condition.begin(noise, settings.seed)
    video = sampling.run_steps(
        dit,
        backbone.vae,
        condition,
        request.guidance or joint(Scale(settings.scale)),
        noise.to(dit.device),
        flow_sigmas(settings.steps, settings.shift),
        progress,
    )
    return video[0].cpu()


def _condition(backbone: Pipeline, request: Request) -> tuple[sampling.Condition, Tensor]:
    """Conditions of the video, and its empty latent."""
    dit, vae, settings = backbone.dit, backbone.vae, request.settings
    grid = dit.geometry.latent(settings.frames, settings.height, settings.width)
    among = RECIPES if request.source is None else EDITING
    recipe = choose_recipe(request.recipe, backbone.recipe, among, backbone.found)
    encoded = _references(backbone, request, recipe, grid)
    masked = dit.in_channels != dit.geometry.channels
    if masked and request.given is not None:
        raise ValueError(
            f"--given: the DiT takes {dit.in_channels} input channels (image-to-video), whose frames are "
            "given by its input: not supported"
        )
    empty = torch.zeros(1, dit.geometry.channels, *grid)
    frames = None if request.given is None else encode_frames(vae, request.given, empty)
    riders = (encoded, request.people, frames, request.source, *request.riders)
    said = {"positive": request.prompt, "negative": request.negative}
    condition = sampling.Condition(
        texts={name: Text(backbone.text.encode([words])) for name, words in said.items()},
        riders=tuple(rider for rider in riders if rider is not None),
        padding=grey_padding(vae, settings.frames, settings.height, settings.width) if masked else None,
        shift=settings.shift,
        attention=request.attention,
        windows=request.windows,
    )
    return condition, empty


def _references(
    backbone: Pipeline, request: Request, recipe: Recipe, grid: tuple[int, int, int]
) -> ReferencesRider | HintsRider | None:
    """References of a request as the DiT takes them, beside a grey control where that has a hint branch."""
    dit, references = backbone.dit, list(request.references)
    require_carrier(recipe, isinstance(dit, VaceDiT))
    if not isinstance(dit, VaceDiT):
        return encode_references(dit, backbone.vae, references, recipe, grid, backbone.token_lora)
    if request.given is not None:
        raise ValueError(
            "--given: a VACE is given frames by its control video, which is grey here: not supported"
        )
    return encode_hints(dit, backbone.vae, references, recipe, grid)


def grey_padding(vae: VideoVAE, frames: int, height: int, width: int) -> Tensor:
    """Mask (0, unknown) and condition channels of the video itself for a backbone of masked input: a grey
    video.

    frames, height and width are in pictures and pixels. -> (1, group + channels, F, h, w).
    """
    grey = encode_pictures(vae, torch.full((frames, height, width, 3), 0.5))
    return torch.cat([torch.zeros_like(grey[:, : vae.geometry.group]), grey], dim=1)


@torch.no_grad()
def generate_in_rows(
    backbone: Pipeline,
    prompts: Sequence[str],
    seeds: Sequence[int],
    riders: Callable[[slice], tuple[Rider, ...]] = lambda rows: (),
    negative: str = "",
) -> Tensor:
    """Generate many clips (N, 3, pictures, height, width), some together, each as `generate` makes it by
    itself.

    They have the backbone's settings, and each the noise of its own seed and the riders of its row. `riders`
    gives those of some rows. The padding of prompts is folded, which is exact.
    """
    settings, dit, clips = backbone.settings, backbone.dit, []
    size = (1, dit.geometry.channels, *dit.geometry.latent(settings.frames, settings.height, settings.width))
    for start in range(0, len(prompts), _TOGETHER):
        rows = slice(start, start + _TOGETHER)
        texts = {"positive": _folded(backbone, prompts[rows]), "negative": _folded(backbone, [negative])}
        condition = sampling.Condition(texts, riders(rows), shift=settings.shift)
        drawn = (torch.randn(size, generator=torch.Generator().manual_seed(seed)) for seed in seeds[rows])
        noise = torch.cat([condition.begin(one, seed) for one, seed in zip(drawn, seeds[rows], strict=True)])
        guidance, sigmas = joint(Scale(settings.scale)), flow_sigmas(settings.steps, settings.shift)
        clips.append(
            sampling.run_steps(dit, backbone.vae, condition, guidance, noise.to(dit.device), sigmas).cpu()
        )
    return torch.cat(clips)


def _folded(backbone: Pipeline, prompts: Sequence[str]) -> Text:
    tokens = backbone.text.tokenize(list(prompts)).to(backbone.dit.device)
    return Text(*fold_padding(backbone.text.states(tokens), tokens))
