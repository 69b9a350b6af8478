"""Prepared clips and models of a few numbers, for Saber's trainer. Every picture of a pool is of one colour,
by which it is known again."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import cv2
import numpy as np
import refvid_tiny as tiny
import torch
from torch import Generator, Tensor

from refvid.backbones.wan.dit import DiTConfig, WanDiT
from refvid.core.files import write_text
from refvid.data.index import A_FILM, HELD_OUT, TRAIN, Clip, write_index
from refvid.data.prepared import Prepared
from refvid.data.run_lengths import pack_mask
from refvid.data.settings import filled, merged
from refvid.data.shards import pack_rows, packed_places, write_row
from refvid.data.stages.encode import ENCODED, ENCODING, EncodeOptions
from refvid.data.weights import Weights
from refvid.training.engine.models import Models
from refvid.training.methods.saber.config import SaberSettings

SIDE, LENGTH = 48, 5  # of the clips, where nothing else is said
NUMBERS = (1, 4, 7, 10, 13, 16, 19, 22)  # of the pool's pictures in a clip of 24
SPANS = ((0, 7), (8, 15), (16, 23))  # of the windows
SHOWN = ((0, 1, 2), (3, 4), (5, 6, 7))  # places in the pool of the pictures that each window shows
CHANNELS = 16


def colour(clip: int, place: int) -> tuple[int, int, int]:
    """Colour of a picture of a pool: red tells the clip, green the place."""
    return 30 * clip + 20, 30 * place + 20, 128


def known_by(picture: Tensor) -> tuple[int, int]:
    """Clip and place of a reference's colour (3,) in [-1, 1]."""
    red, green, _ = ((picture + 1) * 127.5).tolist()
    return round((red - 20) / 30), round((green - 20) / 30)


def masks_of_subject(places: Sequence[int]) -> dict[str, Any]:
    """Good masks of pictures of a pool: a bar at the picture's own place."""
    masks = [subject_mask(place) for place in places]
    return {
        "frames": [NUMBERS[place] for place in places],
        "masks": [pack_mask(mask) for mask in masks],
        "quality": ["" for _ in masks],
        "size": [16, 16],
    }


def subject_mask(place: int) -> np.ndarray:
    """Mask (16, 16) of a picture's subject: two columns of its own."""
    mask = np.zeros((16, 16), bool)
    mask[4:12, 2 * place : 2 * place + 2] = True
    return mask


def a_clip(number: int, length: int = LENGTH, **known: Any) -> Clip:
    """Row of a clip that is numbered."""
    facts: dict[str, Any] = {
        "set": "clips", "caption": f"clip {number}", "contents": f"film{number}", "kind": A_FILM, "stop": 24,
        "frames": 24, "fps": 8.0, "width": SIDE, "height": SIDE, "bucket": (SIDE, SIDE, length),
        "windows": len(SPANS),
    }  # fmt: skip
    return Clip(f"clip-{number}", f"/clips/{number}.mp4", **{**facts, **known})


def prepared_clips(
    folder: Path, clips: Sequence[Clip], weights: dict[str, str] | None = None, **options: Any
) -> Prepared:
    """Prepared clips in a folder, of random latents and words."""
    encoded = folder / ENCODED
    for number, clip in enumerate(clips):
        write_row(encoded, clip.id, _tensors(number, clip))
    pack_rows(encoded, [clip.id for clip in clips])
    told = asdict(EncodeOptions(fps=8.0, frames=(5, 9), pixels=SIDE * SIDE, windows=3))
    write_text(folder / ENCODING, json.dumps({"options": {**told, **options}, "weights": weights or {}}))
    places = packed_places(encoded)
    write_index(
        [replace(c, shard=f"{ENCODED}/{places[c.id][0]}", row=places[c.id][1]) for c in clips], folder
    )
    return Prepared(str(folder))


def _tensors(number: int, clip: Clip) -> dict[str, Tensor]:
    assert clip.bucket is not None
    width, height, length = clip.bucket
    draws = Generator().manual_seed(number)
    latent = torch.randn(clip.windows, CHANNELS, 1 + length // 4, height // 8, width // 8, generator=draws)
    words = {"text": 5, "short_text": 3, "no_text": 1}
    if not clip.short_caption:
        del words["short_text"]
    said = {
        name: torch.randn(count, tiny.TEXT_WIDTH, generator=draws).half() for name, count in words.items()
    }
    pool = {f"pool.{place}": _jpeg(number, place, width, height) for place in range(len(NUMBERS))}
    spans = torch.tensor(SPANS[: clip.windows])
    return {"latent": latent.half(), "span": spans, "pool": torch.tensor(NUMBERS), **said, **pool}


def _jpeg(number: int, place: int, width: int, height: int) -> Tensor:
    picture = np.full((height, width, 3), colour(number, place)[::-1], np.uint8)
    _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 100])
    return torch.from_numpy(coded.reshape(-1).copy())


@cache
def small_clips() -> Prepared:
    """Four clips to learn from and three that are held out, two of these of one film; some with a subject."""
    learned = [
        a_clip(0, subject=masks_of_subject(range(8)), short_caption="zero"),
        a_clip(1, subject=masks_of_subject([3]), short_caption="one"),
        a_clip(2),
        a_clip(3, repeats=2),
    ]
    held = [a_clip(4, split=HELD_OUT), a_clip(5, split=HELD_OUT, contents="film4"), a_clip(6, split=HELD_OUT)]
    assert all(clip.split == TRAIN for clip in learned)
    return prepared_clips(Path(mkdtemp(prefix="refvid-saber-")), [*learned, *held])


SIZES: DiTConfig = tiny.config()


@cache
def small_models() -> Models:
    """Files of a tiny DiT, VAE and text encoder, of random weights."""
    folder = Path(mkdtemp(prefix="refvid-saber-"))
    dit = tiny.save_dit(folder, "dit.safetensors", SIZES, tiny.dit_state(SIZES))
    return Models(dit, tiny.save_vae(folder), tiny.save_text_encoder(folder))


def small_dit() -> WanDiT:
    """A tiny DiT of random weights, frozen."""
    dit = WanDiT(SIZES)
    dit.load_state_dict(tiny.dit_state(SIZES))
    return dit.eval().requires_grad_(False)


def digests(models: Models) -> dict[str, str]:
    """Digests of the weights that clips are encoded by."""
    local = Weights({name: getattr(models, name) for name in ("vae", "text_encoder")})
    return {name: local.digest(name, "models") for name in local.paths}


def saber_settings(*tables: dict[str, Any]) -> SaberSettings:
    """Settings of a small run, with tables over them."""
    models = small_models()
    small = {
        "models": {
            "dit": str(models.dit), "vae": str(models.vae), "text_encoder": str(models.text_encoder),
            "base_dtype": "fp32",
        },
        "train": {"rank": 2, "steps": 3, "batch": 2, "accumulate": 1, "warmup": 0, "ema": 0.5, "rate": 1e-2},
        "memory": {"checkpointing": "none"},
        "report": {
            "every": 1, "validate_every": 0, "sample_every": 0, "export_every": 0, "tensorboard": False,
        },
    }  # fmt: skip
    return filled(SaberSettings, merged(small, *tables), "test")


def mean_latents(pictures: Tensor) -> Tensor:
    """An encoder of pictures (N, 3, H, W): means of cells, in 16 channels (N, 16, H/8, W/8)."""
    cells = torch.nn.functional.avg_pool2d(pictures, 8)
    return torch.cat([cells * (1 + one) for one in range(6)], 1)[:, :CHANNELS]
