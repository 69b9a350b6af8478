"""Sizes of Wan's models, from their files in original format, for both hosts: by shapes and metadata alone,
before anything is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ...core.checkpoint import Shapes
from ...core.geometry import Geometry
from ...core.header import shown
from ...core.lora import MOST_LAYERS
from ...core.plan import PlannedModel
from ...core.records import read_object
from ...core.semantic import is_module_key
from .geometry import CONTEXT_LENGTH, HEAD_SIZE, WAN_2_1, geometry_of

_ValueT = TypeVar("_ValueT")
PREFIXES = (
    "model.diffusion_model.",
    "model.model.",
    "net.",
    "model.",
)  # of a DiT's keys, as ComfyUI knows them
# Ends of keys that quantised files hold beside their weights, as ComfyUI knows them; and one key of the file.
QUANTISED = (
    ".comfy_quant",
    ".weight_scale",
    ".weight_scale_2",
    ".input_scale",
    ".weight_s_rel",
    ".weight_s_channel",
    ".weight_codebook",
    ".pre_quant_scale",
    ".scale_weight",
    ".scale_input",
)
QUANTISED_FILE = "scaled_fp8"
CONFIG, TRANSFORMER = "config", "transformer"  # metadata that core reads: {"transformer": {…}}
HINT_BRANCH = "vace_patch_embedding.weight"  # in a VACE, and in no other
TIME_WIDTH = 256  # of every Wan; core knows no other
MOST_TOKENIZER = 64 << 20  # bytes
MOST_WORDS = 1 << 19  # in a text encoder's table
UMT5_FIRST = "encoder.block.0.layer."
RELATIVE = UMT5_FIRST + "0.SelfAttention.relative_attention_bias.weight"
TOKENIZER = "spiece_model"
SECOND_NAME = "encoder.embed_tokens.weight"  # of shared.weight
UMT5 = "a UMT5 in ComfyUI's format"
WAN_VAE = "a Wan VAE in original format"
WAN_2_2_VAE = "decoder.upsamples.0.upsamples.0.residual.2.weight"  # in it, and in no other


def bare_dit(state: Mapping[str, _ValueT], name: str) -> dict[str, _ValueT]:
    """A DiT's tensors without the prefix that all of them have, SAMA's modules left out. ValueError where
    some have another prefix than the others: what loads them would lose one kind."""
    mine = [key for key in state if not is_module_key(key)]
    prefix = prefix_of(mine[0]) if mine else ""
    odd = [key for key in mine if prefix_of(key) != prefix]
    if odd:
        raise ValueError(
            f"{name}: {mine[0]} and {odd[0]} have different prefixes; needed one, or none: a file of one model"
        )
    return {key.removeprefix(prefix): state[key] for key in mine}


def prefix_of(key: str) -> str:
    """The prefix of a DiT's key, empty where it has none."""
    return next((prefix for prefix in PREFIXES if key.startswith(prefix)), "")


def is_quantised(key: str) -> bool:
    """True for a tensor that says how others are quantised."""
    return key.endswith((*QUANTISED, QUANTISED_FILE))


@dataclass(frozen=True)
class DiTConfig:
    """Sizes of a Wan DiT; every one but `heads` can be read from the parameter shapes."""

    width: int
    ffn_width: int
    heads: int
    layers: int
    in_channels: int
    out_channels: int
    text_width: int
    time_width: int = TIME_WIDTH
    image_width: int | None = None  # CLIP features of the image-to-video variants: 1280
    hint_layers: int = 0  # of VACE's hint branch
    hint_channels: int = 0  # that it is shown: 96

    @property
    def geometry(self) -> Geometry:
        """By the latents it makes. ValueError for those of no Wan."""
        return geometry_of(self.out_channels)


def dit_config(state: Mapping[str, Tensor], metadata: dict[str, str], name: str) -> DiTConfig:
    """Sizes from `bare_dit`'s shapes; the number of heads from metadata "config", else width / 128.
    ValueError for a key that is missing or of another rank, and for metadata that says something else."""
    shape = Shapes(state, name)
    width, in_channels = shape.sides("patch_embedding.weight", 5)[:2]
    mark = shape.sides("head.modulation", 3)  # by which core knows a Wan, and its width
    if mark != [1, 2, width]:
        raise ValueError(f"{name}: head.modulation is {mark}, needed {[1, 2, width]}")
    text_width = shape.sides("text_embedding.0.weight", 2)[1]
    time_width = shape.sides("time_embedding.0.weight", 2)[1]
    if time_width != TIME_WIDTH:
        raise ValueError(
            f"{name}: time_embedding.0.weight takes {time_width} features of a timestep; needed {TIME_WIDTH}"
        )
    image = "img_emb.proj.1.weight"
    return DiTConfig(
        width=width,
        ffn_width=shape.sides("blocks.0.ffn.0.weight", 2)[0],
        heads=_heads(metadata, width, text_width, name),
        layers=_layers(state, "blocks.", name),
        in_channels=in_channels,
        out_channels=shape.sides("head.head.weight", 2)[0] // WAN_2_1.patch**2,
        text_width=text_width,
        time_width=time_width,
        image_width=shape.sides(image, 2)[1] if image in state else None,
        hint_layers=_layers(state, "vace_blocks.", name) if HINT_BRANCH in state else 0,
        hint_channels=shape.sides(HINT_BRANCH, 5)[1] if HINT_BRANCH in state else 0,
    )


def planned_from_shapes(state: Mapping[str, Tensor], config: DiTConfig) -> PlannedModel:
    """A DiT of `bare_dit`'s shapes, as a plan of its training needs it."""
    return PlannedModel(
        config.width,
        config.ffn_width,
        config.layers,
        CONTEXT_LENGTH,
        config.geometry,
        sum(tensor.numel() for tensor in state.values()),
        linear_layers(state),
    )


def linear_layers(state: Mapping[str, Tensor]) -> dict[str, tuple[int, int]]:
    """Shapes (out, in) of a DiT's linear layers by name: of its weights they alone have two sides."""
    matrices = {key: weight for key, weight in state.items() if key.endswith(".weight") and weight.ndim == 2}
    return {key.removesuffix(".weight"): (len(weight), weight.shape[1]) for key, weight in matrices.items()}


def _heads(metadata: dict[str, str], width: int, text_width: int, name: str) -> int:
    said = read_object(metadata, CONFIG, name).get(TRANSFORMER, {})
    known = {"num_heads", "text_dim"}
    if not isinstance(said, dict) or not said.keys() <= known:
        raise ValueError(
            f'{name}: its metadata "{CONFIG}" has a {TRANSFORMER} of {str(said)[:80]}; needed num_heads and '
            "text_dim, whole numbers"
        )
    if said.get("text_dim", text_width) != text_width or isinstance(said.get("text_dim"), bool):
        raise ValueError(
            f'{name}: its metadata "{CONFIG}" says text_dim = {str(said["text_dim"])[:80]}; needed {text_width}, '
            "as text_embedding.0.weight has it"
        )
    heads = said.get("num_heads", width / HEAD_SIZE)
    whole = type(heads) is int or (type(heads) is float and "num_heads" not in said and heads == int(heads))
    if not whole or not 1 <= heads <= width or width % heads or width // int(heads) % 2:
        raise ValueError(
            f"{name}: width {width} does not split into {str(heads)[:80]} heads of even size; name the number of "
            'heads in the file\'s metadata: config = {"transformer": {"num_heads": …}}'
        )
    return int(heads)


@dataclass(frozen=True)
class UMT5Sizes:
    """Sizes of a UMT5 encoder."""

    vocabulary: int
    width: int
    layers: int
    heads: int
    head_size: int
    ffn_width: int


XXL = UMT5Sizes(256384, 4096, 24, 64, 64, 10240)  # which core knows by its last layer


def encoder_weights(state: dict[str, _ValueT]) -> dict[str, _ValueT]:
    """A text encoder's weights among its file's tensors: without the tokenizer, and the second name that some
    files have for the table of words."""
    return {key: value for key, value in state.items() if key not in (TOKENIZER, SECOND_NAME)}


def umt5_sizes(state: Mapping[str, Tensor], name: str) -> UMT5Sizes:
    """Sizes from the shapes of a text encoder's file. ValueError where it is no UMT5, or has no tokenizer."""
    shape = Shapes(state, name, UMT5)
    vocabulary, width = shape.sides("shared.weight", 2, MOST_WORDS)
    pieces = shape.sides(TOKENIZER, 1, MOST_TOKENIZER)
    if state[TOKENIZER].dtype != torch.uint8:
        raise ValueError(f"{name}: {TOKENIZER} is {state[TOKENIZER].dtype} of {pieces}; needed torch.uint8")
    heads, inner = shape.sides(RELATIVE, 2)[1], shape.sides(UMT5_FIRST + "0.SelfAttention.q.weight", 2)[0]
    if inner % heads:
        raise ValueError(
            f"{name}: {inner} features of a query do not split into the {heads} heads of {RELATIVE}; needed "
            "a multiple of them"
        )
    layers = _layers(state, "encoder.block.", name)
    if layers >= XXL.layers and (vocabulary, width, layers) != (XXL.vocabulary, XXL.width, XXL.layers):
        raise ValueError(
            f"{name} has {layers} layers of width {width}; needed fewer than {XXL.layers}, or UMT5-XXL, of width {XXL.width}"
        )
    ffn_width = shape.sides(UMT5_FIRST + "1.DenseReluDense.wi_0.weight", 2)[0]
    return UMT5Sizes(vocabulary, width, layers, heads, inner // heads, ffn_width)


def require_tokenizer(pieces: bytes, vocabulary: int, name: str) -> None:
    """ValueError where a file's tokenizer is none of sentencepiece's, or knows more than the encoder has rows
    for."""
    from sentencepiece import SentencePieceProcessor

    try:
        tokenizer = SentencePieceProcessor(model_proto=pieces)
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(
            f"{name}: {TOKENIZER} is no tokenizer ({error}); needed the bytes of a sentencepiece model"
        ) from error
    if not 0 < tokenizer.get_piece_size() <= vocabulary or tokenizer.eos_id() < 0:
        raise ValueError(
            f"{name}: {TOKENIZER} knows {tokenizer.get_piece_size()} pieces, the last of a text being number "
            f"{tokenizer.eos_id()}; needed up to {vocabulary}, and one that ends a text"
        )


def _layers(state: Mapping[str, Tensor], prefix: str, name: str) -> int:
    """Number of layers in a file, numbered from 0."""
    numbers = {key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)}
    if len(numbers) > MOST_LAYERS:
        raise ValueError(f"{name} has {len(numbers)} layers {prefix}…; needed at most {MOST_LAYERS}")
    odd = numbers - {str(number) for number in range(len(numbers))}
    if odd:
        raise ValueError(
            f"{name} has a layer {prefix}{shown(min(odd))} among {len(numbers)}; needed numbers from 0 on, none "
            "left out"
        )
    return len(numbers)


def vae_width(state: Mapping[str, Tensor], name: str) -> int:
    """Channels of a Wan VAE's last layer's input, and of a 2.1's first layer; ValueError where it is no Wan
    VAE."""
    return Shapes(state, name, WAN_VAE).sides("decoder.head.0.gamma", 4)[0]


def vae22_widths(state: Mapping[str, Tensor], name: str) -> tuple[int, int]:
    """Channels of a Wan 2.2 VAE's first layer and of its last one's input. ValueError where it is no
    Wan VAE."""
    return Shapes(state, name, WAN_VAE).sides("encoder.conv1.weight", 5)[0], vae_width(state, name)
