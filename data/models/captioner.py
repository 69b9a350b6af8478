"""Captions of films and stills by Qwen2.5-VL or Qwen3-VL (Instruct), from a local folder.

Pictures are prepared here, as transformers' own processors do, because those need torchvision for films."""

import inspect
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from .folders import load_whole_model, read_config, read_preparation

# [choice: caption-prompts]
FILM_PROMPT = (
    "Describe this film in one paragraph of 80 to 120 words. Say who or what is in it and how they look, what "
    "they do from beginning to end, how the camera stands or moves, and the ground and the light behind them. "
    "Say only what can be seen. Begin with the subject. Write no headline, no list and no opinion."
)
STILL_PROMPT = (
    "Describe this picture in one paragraph of 80 to 120 words. Say who or what is in it and how they look, "
    "what they do, from where the camera sees them, and the ground and the light behind them. "
    "Say only what can be seen. Begin with the subject. Write no headline, no list and no opinion."
)
SHORT_PROMPT = (
    "Shorten this description to one sentence of about 15 words, in its own language: the subject and what it "
    "does. Keep names as they are. Answer with that sentence alone.\n\n"
)
_MOST_TOKENS = 320  # of an answer: 120 words and a good half more
_TOKENS = (128, 768)  # of a picture, at least and at most: qwen-vl-utils' VIDEO_MIN and MAX_TOKEN_NUM
_NEEDED = "Qwen2.5-VL or Qwen3-VL"
_START, _END = "<|vision_start|>", "<|vision_end|>"
_STILL, _FILM = "<|image_pad|>", "<|video_pad|>"
_STOPS = ("<|im_end|>", "<|endoftext|>")
_SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"  # of Qwen2.5-VL's chat template
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_KINDS = {  # by config.json's model_type: class, mean and deviation of a channel in [0, 1]
    "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", _CLIP),
    "qwen3_vl": ("Qwen3VLForConditionalGeneration", _HALF),
}
_ENDED = re.compile(r".*[.!?。！？]", re.DOTALL)


class Captioner:
    """Model that describes pictures in words, by greedy decoding, so that the same pictures give the same
    words."""

    def __init__(self, model: Any, tokenizer: Any, mean: Sequence[float], std: Sequence[float]):
        vision = model.config.vision_config
        self._model, self._tokenizer = model, tokenizer
        self._mean, self._std = torch.tensor(mean), torch.tensor(std)
        self._patch, self._merge = int(vision.patch_size), int(vision.spatial_merge_size)
        self._span = int(vision.temporal_patch_size)  # pictures that are one token together
        self._timed = model.config.model_type == "qwen3_vl"  # times are words, not positions
        known = tokenizer.get_vocab()
        self._stops = [known[word] for word in _STOPS if word in known]

    def long(self, pictures: Sequence[np.ndarray], times: Sequence[float]) -> str:
        """Caption of 80 to 120 words of pictures (H, W, 3) uint8 of one size, at times in seconds; a single
        one is a still."""
        return self.answer(STILL_PROMPT if len(pictures) == 1 else FILM_PROMPT, pictures, times)

    def short(self, caption: str) -> str:
        """Caption of about 15 words, of a longer one. Its pictures are not seen again, so that chosen names
        stay."""
        return self.answer(SHORT_PROMPT + caption)

    def answer(self, words: str, pictures: Sequence[np.ndarray] = (), times: Sequence[float] = ()) -> str:
        """Answer to words about pictures; what ran out of tokens ends with its last whole sentence."""
        given = self.inputs(words, pictures, times)
        answered = self._model.generate(
            **{name: one.to(self._model.device) for name, one in given.items()},
            do_sample=False, num_beams=1, temperature=None, top_p=None, top_k=None,
            max_new_tokens=_MOST_TOKENS, eos_token_id=self._stops, pad_token_id=self._stops[0],
        )[0, given["input_ids"].shape[1] :].tolist()  # fmt: skip
        text = " ".join(self._tokenizer.decode(answered, skip_special_tokens=True).split())
        whole = None if answered and answered[-1] in self._stops else _ENDED.match(text)
        return whole[0] if whole else text

    def inputs(
        self, words: str, pictures: Sequence[np.ndarray] = (), times: Sequence[float] = ()
    ) -> dict[str, Tensor]:
        """Inputs of the model: its words as tokens, and pictures as patches."""
        given, seen = self._seen(pictures, times) if len(pictures) else ({}, "")
        words = words.replace("<|", "< |")  # the model's own marks
        system = "" if self._timed else _SYSTEM
        text = f"{system}<|im_start|>user\n{seen}{words}<|im_end|>\n<|im_start|>assistant\n"
        tokens = self._tokenizer([text], return_tensors="pt")
        given = {**given, "input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        if "mm_token_type_ids" in inspect.signature(self._model.forward).parameters:  # since transformers 5
            config, ids = self._model.config, tokens["input_ids"]
            given["mm_token_type_ids"] = (ids == config.image_token_id) + 2 * (ids == config.video_token_id)
        return given

    def _seen(self, pictures: Sequence[np.ndarray], times: Sequence[float]) -> tuple[dict[str, Tensor], str]:
        """Patches of the pictures, and their places among the words."""
        film = len(pictures) > 1
        over = -len(pictures) % self._span
        pictures = [*pictures, *[pictures[-1]] * over]
        times = [*times, *[times[-1]] * over]
        patches, grid = self._patches(pictures)
        count = int(grid[0, 1] * grid[0, 2]) // self._merge**2
        if not film:
            return {"pixel_values": patches, "image_grid_thw": grid}, _START + _STILL * count + _END
        given = {"pixel_values_videos": patches, "video_grid_thw": grid}
        groups = len(pictures) // self._span
        if self._timed:
            firsts, lasts = times[:: self._span], times[self._span - 1 :: self._span]
            place = _START + _FILM * count + _END
            ends = zip(firsts, lasts, strict=True)
            return given, "".join(f"<{(first + last) / 2:.1f} seconds>{place}" for first, last in ends)
        step = (times[-1] - times[0]) / (len(times) - over - 1)
        given["second_per_grid_ts"] = torch.tensor([step * self._span])
        return given, _START + _FILM * (groups * count) + _END

    def _patches(self, pictures: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Patches (n, 3 * span * patch * patch) of pictures, cells of merge x merge together, and their grid
        (1, 3): groups of pictures, rows, columns."""
        cell = self._patch * self._merge
        height, width = cell_sides(pictures[0].shape[0], pictures[0].shape[1], cell)
        scaled = [
            np.array(Image.fromarray(one).resize((width, height), Image.Resampling.BICUBIC))
            for one in pictures
        ]
        values = torch.from_numpy(np.stack(scaled)).float() / 255
        values = ((values - self._mean) / self._std).movedim(-1, 1)
        groups, down, across = len(scaled) // self._span, height // cell, width // cell
        parts = values.reshape(
            groups, self._span, 3, down, self._merge, self._patch, across, self._merge, self._patch
        )
        grid = torch.tensor([[groups, down * self._merge, across * self._merge]])
        return parts.permute(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(int(grid.prod()), -1), grid


def cell_sides(height: int, width: int, cell: int) -> tuple[int, int]:
    """Height and width in whole cells (a token each) that a picture is scaled to: its own as nearly as its
    number of tokens allows (Qwen's smart_resize)."""
    least, most = (count * cell**2 for count in _TOKENS)
    down, across = round(height / cell) * cell, round(width / cell) * cell
    if down * across > most:
        scale = math.sqrt(height * width / most)
        return tuple(max(cell, math.floor(side / scale / cell) * cell) for side in (height, width))  # pyright: ignore[reportReturnType]
    if down * across < least:
        scale = math.sqrt(least / (height * width))
        return tuple(math.ceil(side * scale / cell) * cell for side in (height, width))  # pyright: ignore[reportReturnType]
    return down, across


def load_captioner(folder: str | Path, device: str = "cpu") -> Captioner:
    """Captioner of a folder: in bfloat16 on a GPU, in float32 on the CPU. ValueError for a model of another
    kind, for one that is not whole, and for a tokenizer that is missing or another model's."""
    import transformers

    folder = Path(folder)
    kind = str(read_config(folder, "captioner", _NEEDED).get("model_type"))
    if kind not in _KINDS:
        raise ValueError(f"captioner: {folder} holds a {kind}; needed {_NEEDED} ({', '.join(_KINDS)})")
    name, (mean, std) = _KINDS[kind]
    if not hasattr(transformers, name):
        raise ValueError(
            f"captioner: transformers {transformers.__version__} has no {name}; needed 4.57 or later"
        )
    said = read_preparation(folder, "captioner")
    model = load_whole_model(getattr(transformers, name), folder, "captioner", _NEEDED)
    tokenizer = _tokenizer(folder, model.config)
    model = nn.Module.to(model, device, torch.float32 if device == "cpu" else torch.bfloat16)
    return Captioner(model, tokenizer, said.get("image_mean", mean), said.get("image_std", std))


def _tokenizer(folder: Path, config: Any) -> Any:
    from transformers import AutoTokenizer

    wanted = {_STILL: config.image_token_id, _FILM: config.video_token_id}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        known = tokenizer.get_vocab()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"captioner: {folder} holds no tokenizer (tokenizer.json): {error}") from error
    for word, number in wanted.items():
        if known.get(word) != number or _STOPS[0] not in known:
            raise ValueError(
                f"captioner: {folder}: {word} is {known.get(word)} of the tokenizer and {number} of the model; "
                f"needed the tokenizer of {_NEEDED} in the same folder (tokenizer.json, tokenizer_config.json)"
            )
    return tokenizer
