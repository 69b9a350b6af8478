"""Names of a Wan DiT's tensors in the formats of public weights, as data. ComfyUI reads the original ones
alone.

Sources: diffusers' scripts/convert_wan_to_diffusers.py and WanTransformer3DModel; zai-org/Kaleido's
convert_ckpt_init_wan2sat.py. Both go from the original names to theirs; here it is the way back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .files import PREFIXES

# Published module -> the original modules that its rows are, one after another. {} is a block's number; a
# module's tensors are itself, its .weight and its .bias.
_Modules = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class PublishedFormat:
    """Format of published weights: how it is called, and a key by which it is known.

    modules  None where they have the original names
    recipe   the one that all weights in it were trained for
    """

    name: str
    mark: str
    modules: _Modules | None = None
    recipe: str | None = None


@dataclass(frozen=True)
class PublishedRows:
    """Rows of a published tensor: part `index` of `of` equal ones."""

    key: str
    index: int = 0
    of: int = 1


@dataclass(frozen=True)
class OriginalNames:
    """Original keys, and what each is in the published file; `beside` are keys of other models in it."""

    format: PublishedFormat
    rows: dict[str, PublishedRows]
    beside: tuple[str, ...] = ()


def _own(prefix: str, to: str, names: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {prefix + name: (to + original,) for name, original in names.items()}


_DIFFUSERS = {
    "patch_embedding": ("patch_embedding",),
    "condition_embedder.time_embedder.linear_1": ("time_embedding.0",),
    "condition_embedder.time_embedder.linear_2": ("time_embedding.2",),
    "condition_embedder.time_proj": ("time_projection.1",),
    "condition_embedder.text_embedder.linear_1": ("text_embedding.0",),
    "condition_embedder.text_embedder.linear_2": ("text_embedding.2",),
    "condition_embedder.image_embedder.norm1": ("img_emb.proj.0",),
    "condition_embedder.image_embedder.ff.net.0.proj": ("img_emb.proj.1",),
    "condition_embedder.image_embedder.ff.net.2": ("img_emb.proj.3",),
    "condition_embedder.image_embedder.norm2": ("img_emb.proj.4",),
    "scale_shift_table": ("head.modulation",),
    "proj_out": ("head.head",),
    "blocks.{}.scale_shift_table": ("blocks.{}.modulation",),
    # The original forward takes its norms in the order 1, 3, 2; diffusers numbers them as they come.
    "blocks.{}.norm2": ("blocks.{}.norm3",),
    "blocks.{}.ffn.net.0.proj": ("blocks.{}.ffn.0",),
    "blocks.{}.ffn.net.2": ("blocks.{}.ffn.2",),
    **{
        f"blocks.{{}}.{theirs}.{name}": (f"blocks.{{}}.{ours}.{original}",)
        for theirs, ours in (("attn1", "self_attn"), ("attn2", "cross_attn"))
        for name, original in (
            ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "o"), ("norm_q", "norm_q"),
            ("norm_k", "norm_k"),
        )
    },
    **_own(
        "blocks.{}.attn2.",
        "blocks.{}.cross_attn.",
        {"add_k_proj": "k_img", "add_v_proj": "v_img", "norm_added_k": "norm_k_img"},
    ),
}  # fmt: skip
_LAYER, _BLOCK = "transformer.layers.{}.", "blocks.{}."
_SAT = {
    "mixins.patch_embed.proj": ("patch_embedding",),
    "text_embedding.0": ("text_embedding.0",),
    "text_embedding.2": ("text_embedding.2",),
    "time_embed.0": ("time_embedding.0",),
    "time_embed.2": ("time_embedding.2",),
    "adaln_projection.1": ("time_projection.1",),
    "mixins.final_layer.adaLN_modulation": ("head.modulation",),
    "mixins.final_layer.linear": ("head.head",),
    f"{_LAYER}attention.query_key_value": tuple(f"{_BLOCK}self_attn.{one}" for one in "qkv"),
    f"{_LAYER}cross_attention.key_value": tuple(f"{_BLOCK}cross_attn.{one}" for one in "kv"),
    **_own(
        _LAYER,
        _BLOCK,
        {
            "attention.dense": "self_attn.o",
            "cross_attention.dense": "cross_attn.o",
            "cross_attention.query": "cross_attn.q",
            "post_cross_attention_layernorm": "norm3",
            "mlp.dense_h_to_4h": "ffn.0",
            "mlp.dense_4h_to_h": "ffn.2",
        },
    ),
    "mixins.adaln_layer.adaLN_modulations.{}": (f"{_BLOCK}modulation",),
    "mixins.adaln_layer.query_layernorm_list.{}": (f"{_BLOCK}self_attn.norm_q",),
    "mixins.adaln_layer.key_layernorm_list.{}": (f"{_BLOCK}self_attn.norm_k",),
    "mixins.adaln_layer.cross_query_layernorm_list.{}": (f"{_BLOCK}cross_attn.norm_q",),
    "mixins.adaln_layer.cross_key_layernorm_list.{}": (f"{_BLOCK}cross_attn.norm_k",),
}
# Of a SAT file's other models: its VAE and its text encoder (diffusion_video.py, `untrainable_prefixs`).
_SAT_BESIDE = ("first_stage_model.", "conditioner.")

DIFFUSERS = PublishedFormat("diffusers", "condition_embedder.time_proj.weight", _DIFFUSERS)
SAT = PublishedFormat("SAT", "mixins.patch_embed.proj.weight", _SAT)
TOKEN_LORA = PublishedFormat(
    "a LoRA on reference tokens", "blocks.0.self_attn.q_loras.down.weight", recipe="stand_in"
)
ORIGINAL = PublishedFormat("original", "patch_embedding.weight")
PUBLISHED_FORMATS = (DIFFUSERS, SAT, TOKEN_LORA, ORIGINAL)  # the first whose mark is there
# Prefixes that all keys of a file may have: of ComfyUI, and of what saved it.
_WRAPPERS = (
    *PREFIXES, "diffusion_model.", "pipe.dit.", "dit.", "module.", "_orig_mod.", "_fsdp_wrapped_module.",
)  # fmt: skip


def original_names(keys: Iterable[str], name: str) -> OriginalNames | None:
    """Original keys of a DiT, or of an adapter for references, by what each is in a published file.

    None for a file of no format that is known here. ValueError for a key that has no original name; `name` is
    the file's.
    """
    every = list(keys)
    mine = [key for key in every if not key.startswith(_SAT_BESIDE)]
    prefix = _common_prefix(mine)
    bare = {key.removeprefix(prefix): key for key in mine}
    found = next((one for one in PUBLISHED_FORMATS if one.mark in bare), None)
    if found is None:
        return None
    if found is not SAT and len(mine) < len(every):
        raise ValueError(
            f"{name} also has {min(set(every) - set(mine))}; needed the weights of one model alone"
        )
    rows: dict[str, PublishedRows] = {}
    for key, published in bare.items():
        originals = (key,) if found.modules is None else _originals(key, found.modules)
        if not originals:
            raise ValueError(
                f"{name} has {published}, which has no name in a Wan in original format; needed the weights of a "
                f"text-to-video or image-to-video Wan in {found.name} format, and nothing beside them"
            )
        rows |= {one: PublishedRows(published, index, len(originals)) for index, one in enumerate(originals)}
    return OriginalNames(found, rows, tuple(key for key in every if key.startswith(_SAT_BESIDE)))


def _common_prefix(keys: list[str]) -> str:
    """Prefix of all keys: the wrappers that every one has, one inside another."""
    prefix = ""
    while True:
        more = next(
            (one for one in _WRAPPERS if keys and all(k.startswith(prefix + one) for k in keys)), None
        )
        if more is None:
            return prefix
        prefix += more


def _originals(key: str, modules: _Modules) -> tuple[str, ...]:
    """Original keys of a published one; none where it is not known."""
    suffix = next((one for one in (".weight", ".bias") if key.endswith(one)), "")
    stem = key.removesuffix(suffix)
    parts = stem.split(".")
    for at, part in enumerate(parts):
        known = modules.get(".".join([*parts[:at], "{}", *parts[at + 1 :]])) if part.isdecimal() else None
        if known:
            return tuple(one.format(part) + suffix for one in known)
    return tuple(one + suffix for one in modules.get(stem, ()))
