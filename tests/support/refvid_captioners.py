"""Small Qwen2.5-VL and Qwen3-VL with random weights, in folders as the released ones; a film for them."""

import json
from pathlib import Path

import torch
from refvid_footage import bikes
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from refvid.data.index import A_FILM, Clip

MARKS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
KINDS = ("qwen2_5_vl", "qwen3_vl")


def save_tokenizer(folder: Path) -> dict[str, int]:
    """Tokenizer of single bytes and Qwen's marks, in the released format. -> its vocabulary."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS])
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    said = {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return made.get_vocab()


def save_captioner(folder: Path, kind: str, seed: int = 0, tied: bool = False) -> Path:
    """A whole model of a kind: two layers for words, two for pictures."""
    import transformers as library

    known = save_tokenizer(folder)
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>",
             "vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}  # fmt: skip
    marks = {name: known[mark] for name, mark in names.items()}
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}
    text = {
        "vocab_size": len(known), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "rope_parameters": rope,
        "bos_token_id": known["<|endoftext|>"], "eos_token_id": known["<|im_end|>"], "pad_token_id": known["<|endoftext|>"],
    }  # fmt: skip
    vision = {"depth": 2, "intermediate_size": 40, "num_heads": 2, "out_hidden_size": 32, "hidden_size": 24}
    torch.manual_seed(seed)
    if kind == "qwen2_5_vl":
        config = library.Qwen2_5_VLConfig(
            text_config=text, vision_config={**vision, "fullatt_block_indexes": [1]}, tie_word_embeddings=tied, **marks
        )  # fmt: skip
        model = library.Qwen2_5_VLForConditionalGeneration(config)
    else:
        config = library.Qwen3VLConfig(
            text_config={**text, "head_dim": 8},
            vision_config={**vision, "deepstack_visual_indexes": [0], "num_position_embeddings": 16},
            tie_word_embeddings=tied, **marks,
        )  # fmt: skip
        model = library.Qwen3VLForConditionalGeneration(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)  # so that what is seen changes what is said
    model.save_pretrained(folder)
    return folder


def film(**known) -> Clip:
    """Row of `bikes`, with what is known besides."""
    facts = {
        "id": "film", "kind": A_FILM, "stop": 250, "frames": 250, "fps": 25.0, "width": 640, "height": 272,
        "contents": "c0ffee",
    }  # fmt: skip
    return Clip(path=str(bikes()), **{**facts, **known})
