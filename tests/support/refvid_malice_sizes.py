"""Files that say enormous sizes, each of which fits the file that says it: zeros that take no place on the
disk, and names alone."""

from pathlib import Path

import torch
from refvid_malice import Corpus, Malice
from refvid_malice_metadata import telling
from refvid_malice_tensors import besides, changed, sparse

END = 1 << 22  # a side; files of a gigabyte
BEYOND = 1 << 32  # a side whose square has more numbers than can be counted


def unnamed(*ways: Malice) -> Malice:
    """One after the other; where sizes are read from what is large, another tensor is found at fault."""

    def make(whole: Path, where: Path) -> None:
        for number, way in enumerate(ways):
            step = where.with_name(f"{number}.safetensors")
            way(whole, step)
            whole = step
        whole.replace(where)

    return make


def large(dtype: str = "F16", **shapes: list[int]) -> Malice:
    """Tensors of these shapes, every dot of their keys written as two underscores."""
    return unnamed(sparse({key.replace("__", "."): shape for key, shape in shapes.items()}, dtype))


def layers(prefix: str, end: str, count: int) -> Malice:
    """So many layers of one small tensor each."""
    return changed(lambda state: state.update({f"{prefix}{n}.{end}": torch.zeros(1) for n in range(count)}))


def _wan(width: int) -> Corpus:
    free = telling("config", '{"transformer": {"num_heads": 2}}')
    beyond = {"patch_embedding.weight": [BEYOND, 16, 1, 2, 2], "head.modulation": [1, 2, BEYOND]}
    return {
        "channels without end": large(patch_embedding__weight=[width, END, 1, 2, 2]),
        "text without end": unnamed(free, sparse({"text_embedding.0.weight": [width, END]}, "F16")),
        "a clock without end": large(time_embedding__0__weight=[width, END]),
        "a feed-forward without end": large(blocks__0__ffn__0__weight=[END, width]),
        "outputs without end": large(head__head__weight=[END, width], head__head__bias=[END]),
        "a width beyond numbers": unnamed(sparse(beyond, "F8_E4M3")),
        "256 blocks": layers("blocks.", "norm3.weight", 256),
        "10,000 blocks": layers("blocks.", "norm3.weight", 10_000),
        "features of pictures without end": large("U8", img_emb__proj__1__weight=[END, 1024]),
    }


def _text(width: int) -> Corpus:
    first = "encoder.block.0.layer."
    return {
        "words without end": large(shared__weight=[END, width]),
        "words beyond numbers": large("F8_E4M3", shared__weight=[BEYOND * 8, width]),
        "heads without end": unnamed(
            sparse({first + "0.SelfAttention.relative_attention_bias.weight": [32, END]}, "F16")
        ),
        "queries without end": unnamed(sparse({first + "0.SelfAttention.q.weight": [END, width]}, "F16")),
        "a feed-forward without end": unnamed(
            sparse({first + "1.DenseReluDense.wi_0.weight": [END, width]}, "F16")
        ),
        "a tokenizer without end": large("U8", spiece_model=[BEYOND]),
        **{f"{n} layers": layers("encoder.block.", "layer.0.layer_norm.weight", n) for n in (23, 24, 10_000)},
    }


def _editing(width: int) -> Corpus:
    return {
        "features without end": large(
            siglip_feat_mlp__norm__weight=[END], siglip_feat_mlp__norm__bias=[END], siglip_feat_mlp__fc1__weight=[20, END],
            semantic_head__proj__weight=[END, width], semantic_head__proj__bias=[END],
        ),
    }  # fmt: skip


def _rank(attention: str, width: int) -> Corpus:
    layer = f"diffusion_model.blocks.0.{attention}.q."
    pair = {layer + "lora_A.weight": [END, width], layer + "lora_B.weight": [width, END]}
    return {
        "a rank without end": unnamed(sparse(pair, "F16")),
        "10,000 layers": layers("diffusion_model.blocks.", f"{attention}.q.diff", 10_000),
        "a layer far away": besides(f"diffusion_model.blocks.999.{attention}.q.diff", torch.zeros(1)),
    }


def sizes(kind: str, width: int) -> Corpus:
    """Sizes that can be said to be large in a file of this kind, of a DiT or a text encoder of this width."""
    return {
        "dit": _wan(width),
        "sama": _wan(width) | _editing(width),
        "vae": {
            "a width without end": large(decoder__head__0__gamma=[END, 1, 1, 1]),
            "a width beyond numbers": large("F8_E4M3", decoder__head__0__gamma=[BEYOND, 1, 1, 1]),
        },
        "vae22": {
            "a width without end": large(encoder__conv1__weight=[END, 12, 3, 3, 3]),
            "a last layer without end": large(decoder__head__0__gamma=[END, 1, 1, 1]),
            "a width beyond numbers": large("F8_E4M3", encoder__conv1__weight=[BEYOND, 12, 3, 3, 3]),
        },
        "text": _text(width),
        "lora": _rank("self_attn", width),
        "adapter": _rank("cross_attn", width),
        "editing": _rank("cross_attn", width) | _editing(width),
        "identity": {
            "anchors without end": large("F32", anchors=[END, width]),
            "slots without end": large("F32", slots=[END, width]),
            "a picture without end": large("U8", preview=[END, 8, 3]),
            "a wide picture": large("U8", preview=[END >> 8, END >> 8, 3]),
        },
    }[kind]
