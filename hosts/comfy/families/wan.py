"""Wan in ComfyUI: which of its models references work in, their numbers, and the parts of their forward that
tokens beside the video need.

Other models are refused by name. A `model` is a ModelPatcher, a `module` what it patches: the diffusion
model, whose forward runs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.conds
import comfy.latent_formats
import comfy.ldm.common_dit
import comfy.ldm.wan.model
import comfy.model_base
import torch
from comfy.ldm.wan.model import sinusoidal_embedding_1d
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....backbones.wan.geometry import WAN_2_1, WAN_2_2, geometry_of
from ....core.geometry import Geometry
from ....core.inspection import Sizes
from ....core.plan import PlannedModel
from ....core.recipe import Place, Placement
from ....core.recognition import module_keys, require_runnable

# Exact classes: a subclass has a forward of its own that would drop our tokens without a word.
DIFFUSION_MODELS = (comfy.ldm.wan.model.WanModel, comfy.ldm.wan.model.VaceWanModel)
BASE_MODELS = (comfy.model_base.WAN21, comfy.model_base.WAN21_Vace, comfy.model_base.WAN22)
VAE_MODULES = ("comfy.ldm.wan.vae", "comfy.ldm.wan.vae2_2")
# By channels of the latents: the VAE that makes them, and how the model sees them.
VAES = {WAN_2_1.channels: "Wan 2.1 VAE", WAN_2_2.channels: "Wan 2.2 VAE"}
LATENT_FORMATS = {
    WAN_2_1.channels: comfy.latent_formats.Wan21,
    WAN_2_2.channels: comfy.latent_formats.Wan22,
}
IMAGE_FEATURES = (257, 1280)  # CLIP's of one picture
MODULATIONS = 6  # vectors that modulate a block
ROPE = "rope_options"  # in transformer_options, by core's name: how rotations are shifted and scaled
RAN = "block_index"  # in transformer_options: the forward leaves the number of the block there


def require(model: ModelPatcher, what: str = "model") -> None:
    """ValueError unless the model is a Wan variant the reference path works in."""
    base, diffusion = type(model.model), type(model.model.diffusion_model)
    if not isinstance(model.model, comfy.model_base.WAN21):
        raise ValueError(
            f"{what} is {base.__name__}, not a Wan model; connect Wan 2.1 or 2.2 (T2V, I2V, Fun-InP, VACE, "
            "TI2V)"
        )
    require_runnable(module_keys(model.model.diffusion_model), what)
    if base not in BASE_MODELS or diffusion not in DIFFUSION_MODELS:
        raise ValueError(
            f"{what} is the Wan variant {base.__name__} ({diffusion.__name__}), whose forward references do "
            "not reach; connect Wan T2V, I2V, Fun-InP, VACE or TI2V"
        )


def geometry(model: ModelPatcher) -> Geometry:
    """The model's numbers, by the latents it makes. ValueError for those of no Wan."""
    return geometry_of(model.model.latent_format.latent_channels)


def require_vae(vae, model: ModelPatcher) -> None:
    """ValueError unless the VAE makes the latents this model was trained on."""
    made, channels, needed = type(vae.first_stage_model), vae.latent_channels, geometry(model).channels
    if made.__module__ not in VAE_MODULES or channels != needed:
        raise ValueError(
            f"vae is of another family ({made.__name__}, {channels} channels); "
            f"this model needs the {VAES[needed]} ({needed} channels)"
        )


def video_latent(latent: dict[str, Tensor], model: ModelPatcher) -> Tensor:
    """The samples (B, C, F, h, w) of a video latent. ValueError where they are no video's, or not of the
    model's tokens and channels."""
    samples = latent["samples"]
    if getattr(samples, "is_nested", False) or samples.ndim != 5:
        raise ValueError(
            "latent is not a video's: connect EmptyHunyuanLatentVideo (Wan22ImageToVideoLatent for TI2V-5B)"
        )
    (rows, columns), numbers = samples.shape[-2:], geometry(model)
    patch = numbers.patch
    if rows % patch or columns % patch or not samples.numel():
        raise ValueError(
            f"latent is {columns}x{rows} cells; a token is {patch}x{patch}, so both must be multiples of "
            f"{patch}: use sizes in steps of {numbers.token}"
        )
    if samples.shape[1] != numbers.channels:
        raise ValueError(
            f"latent has {samples.shape[1]} channels, the model makes {numbers.channels}; connect the empty "
            "latent node of its family (Wan22ImageToVideoLatent for TI2V-5B)"
        )
    return samples


def input_channels(model: ModelPatcher) -> int:
    """Channels that the patch embedding takes: the latent's, or, for image-to-video, those of a masked
    input."""
    return model.model.diffusion_model.in_dim


def weights_of(model: ModelPatcher) -> dict[str, Tensor]:
    """Weights of the diffusion model by name, of the sizes they act with. (The `state_dict` of a GGUF file
    has packed sizes.)"""
    return dict(model.model.diffusion_model.named_parameters())


def takes_image_features(model: ModelPatcher) -> bool:
    """True for image-to-video weights with a CLIP branch."""
    return model.model.diffusion_model.img_emb is not None


def takes_hints(model: ModelPatcher) -> bool:
    """True for VACE: a hint branch is shown frames beside the video's, and all have one timestep."""
    return type(model.model.diffusion_model) is comfy.ldm.wan.model.VaceWanModel


def describe(model: ModelPatcher) -> str:
    """One line on what was loaded."""
    base = type(model.model).__name__
    return f"{base}: {input_channels(model)} input channels, latents of {geometry(model).channels} channels"


def width(model: ModelPatcher) -> int:
    """Features of a token."""
    return model.model.diffusion_model.dim


def sizes(model: ModelPatcher) -> Sizes:
    """Sizes by which the model's work is counted."""
    module = model.model.diffusion_model
    return Sizes(module.dim, module.ffn_dim, blocks(module), module.text_len)


def planned_model(model: ModelPatcher) -> PlannedModel:
    """Sizes by which a training is planned; quantised layers have those that they act with."""
    named = model.model.diffusion_model.named_modules()
    linear = {name: layer for name, layer in named if isinstance(layer, torch.nn.Linear)}
    shapes = {name: (layer.out_features, layer.in_features) for name, layer in linear.items()}
    matrices = {f"{name}.weight" for name in shapes}
    beside = sum(weight.numel() for name, weight in weights_of(model).items() if name not in matrices)
    parameters = beside + sum(rows * columns for rows, columns in shapes.values())
    return PlannedModel(**vars(sizes(model)), geometry=geometry(model), parameters=parameters, linear=shapes)


def zero_image_features() -> dict[str, Any]:
    """Image features of zero, for a model that takes some: a condition's part of the forward's arguments."""
    return {"clip_fea": comfy.conds.CONDRegular(torch.zeros(1, *IMAGE_FEATURES))}


@dataclass
class ForwardCall:
    """One call of the forward: its arguments, which a wrapper may change before it runs."""

    x: Tensor  # (B, channels, F, h, w)
    timestep: Tensor  # (B,), or one for each frame (B, F)
    context: Tensor  # (B, S, text width)
    clip_fea: Tensor | None
    time_dim_concat: Tensor | None  # frames that another node puts behind the video (Phantom)
    options: dict[str, Any]  # transformer_options
    rest: dict[str, Any]

    @property
    def frames(self) -> int:
        """Latent frames of the sequence."""
        behind = self.time_dim_concat
        return self.x.shape[2] + (0 if behind is None else behind.shape[2])

    @property
    def streams(self) -> int:
        """Latents that another node puts in the context (Bernini), which take the first source ids."""
        return len(self.rest.get("context_latents") or ())

    @property
    def reads_text(self) -> int:
        """The number of the attention in a block that reads the text. Self-attention is number 0; an image's
        features are read before the text."""
        return 1 if self.clip_fea is None else 2

    def require_plain_sequence(self) -> None:
        """ValueError where the call brings tokens of another node into the sequence."""
        require_plain_sequence({"time_dim_concat": self.time_dim_concat, **self.rest})

    def run(self, executor) -> Tensor:
        """The forward, or the wrapper behind this one."""
        given = (self.x, self.timestep, self.context, self.clip_fea, self.time_dim_concat, self.options)
        return executor(*given, **self.rest)


def call_of(
    x, timestep, context, clip_fea=None, time_dim_concat=None, transformer_options=None, **rest
) -> ForwardCall:
    """The arguments as the forward takes them."""
    options = {} if transformer_options is None else transformer_options
    return ForwardCall(x, timestep, context, clip_fea, time_dim_concat, options, rest)


def require_plain_sequence(arguments: dict[str, Any]) -> None:
    """ValueError where arguments of an evaluation bring tokens of another node into the sequence."""
    for name in ("time_dim_concat", "context_latents", "reference_latent"):
        if arguments.get(name) is not None:
            raise ValueError(
                f"the conditioning also carries {name} of another node (Phantom, Bernini, Fun-Control), "
                "whose tokens have no region, frames, visibility or clock of their own; leave those controls "
                "neutral, the clock shared, or that node out"
            )


def blocks(module) -> int:
    """Number of blocks."""
    return len(module.blocks)


def heads(module) -> tuple[int, int]:
    """Number of attention heads, and features of each."""
    return module.num_heads, module.dim // module.num_heads


def embed_text(module, states: Tensor) -> Tensor:
    """States of the text encoder (1, S, text width) as blocks read them, (1, S, C)."""
    return module.text_embedding(states)


def embed(module, call: ForwardCall, latent: Tensor, at: Placement) -> tuple[Tensor, Tensor]:
    """Tokens (B, n, C) of a latent (B, channels, F, h, w) beside the video, and their rotations (1, n, 1,
    D/2, 2, 2)."""
    x = call.x
    latent = comfy.ldm.common_dit.pad_to_patch_size(latent.to(x), module.patch_size)
    tokens = module.patch_embedding(latent.float()).to(x.dtype).flatten(2).transpose(1, 2)
    return tokens, rotations(module, call, tuple(latent.shape[-3:]), at)


def rotations(module, call: ForwardCall, grid: tuple[int, ...], at: Placement) -> Tensor:
    """Rotations (1, n, 1, D/2, 2, 2) of a latent's tokens beside the video. grid: (frames, rows, columns) in
    cells."""
    return module.rope_encode(
        *grid, t_start=at.frame, device=call.x.device, dtype=call.x.dtype,
        transformer_options=_shifted(call.options, at),
        source_id=at.source + call.streams if at.source else 0,
    )  # fmt: skip


def _shifted(options: dict[str, Any], at: Placement) -> dict[str, Any]:
    """Options of the forward whose rotations begin at a placement's row and column, beside what another node
    shifts."""
    if not (at.row or at.column):
        return options
    asked = options.get(ROPE) or {}
    shifts = {"shift_y": asked.get("shift_y", 0.0) + at.row, "shift_x": asked.get("shift_x", 0.0) + at.column}
    return {**options, ROPE: {**asked, **shifts}}


def require_places(model: ModelPatcher, place: Place) -> None:
    """ValueError where a recipe places references beyond rows or columns and this ComfyUI shifts none."""
    if not (place.rows or place.columns):
        return
    module = model.model.diffusion_model
    turned = [
        module.rope_encode(1, *module.patch_size[1:], dtype=torch.float32, transformer_options=options)
        for options in ({}, _shifted({}, Placement(row=1, column=1)))
    ]
    if torch.equal(*turned):
        raise ValueError(
            "recipe: it places references beside the rows and columns of the video, which this ComfyUI "
            "cannot do (its rope_encode reads no rope_options); update ComfyUI, or choose another recipe"
        )


def clean_modulation(module, call: ForwardCall) -> Tensor:
    """The modulation (1, 1, 6, C) of tokens at timestep 0, as the forward makes it."""
    clock = call.timestep.new_zeros(1)
    time = module.time_embedding(sinusoidal_embedding_1d(module.freq_dim, clock).to(call.x.dtype))
    return module.time_projection(time).unflatten(1, (MODULATIONS, module.dim)).unsqueeze(1)


def join_modulation(
    vec: Tensor, clean: Tensor | None, noisiest: Tensor | None, video: Tensor, added: int
) -> Tensor:
    """A block's modulation for a video's tokens (B, n, C) with `added` tokens behind.

    vec       (B, 6, C), or one for each frame (B, F, 6, C)
    clean     the modulation of the added tokens; None: that of the noisiest frame
    noisiest  (B,), which frame that is

    One modulation for all tokens stays. Else it has as many rows as the video and what is added share evenly;
    core's repeat_e spreads these over the tokens.
    """
    if clean is None and (vec.ndim < 4 or vec.shape[1] == 1 or noisiest is None):
        return vec
    last = clean
    if last is None:
        last = vec[torch.arange(len(vec), device=vec.device), noisiest].unsqueeze(1)
    vec, length = vec if vec.ndim == 4 else vec.unsqueeze(1), video.shape[1]  # VACE's has no axis of frames
    each = math.ceil(length / vec.shape[1])
    if each * vec.shape[1] != length:
        vec, each = vec.repeat_interleave(each, dim=1)[:, :length], 1
    # Tokens that a row of both stands for. A compiled model takes one: sizes that may change have no divisor.
    row = 1 if torch.compiler.is_compiling() else math.gcd(each, added)
    both = [vec.repeat_interleave(each // row, dim=1), last.expand(len(vec), added // row, -1, -1)]
    # In the tokens' dtype: core's fused modulation kernel on CUDA takes it for granted.
    return torch.cat([one.to(video.dtype) for one in both], dim=1)


def unread(module, count: int, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a block whose last `count` tokens read no text, with a patch that takes back what its output
    layer adds to nothing."""
    layer, patches = module.blocks[options[RAN]].cross_attn.o, options.get("patches", {})

    def take_back(args: dict[str, Any]) -> Tensor:
        x = args["x"]
        return torch.cat([x[:, :-count], x[:, -count:] - layer(torch.zeros_like(x[:, :1]))], dim=1)

    first: list[Callable] = [take_back, *patches.get("attn2_patch", ())]
    return {"patches": {**patches, "attn2_patch": first}}
