"""Clips of the demo world and their masked references as latents, made once and kept in a file."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Generator, Tensor
from torch.nn import functional as F

from ..core.masks import TOKEN_STRIDE
from ..demo import world
from ..wan.vae import WanVAE
from .references import masked_frames

PART = 64
MADE_BY = "made_by"  # metadata: the VAE and the numbers


@dataclass(frozen=True)
class Latents:
    """N clips: latent (N, 16, F, h, w); R references each (N, R, 16, h, w); keep (N, R, tokens) bool, the tokens their
    masks keep; coverage (N, F, h, w), the share of each latent cell that the toy covers; captions twice (N,), as
    rows of `sentences`: with "toy", and with the shape's word."""

    latent: Tensor
    reference: Tensor
    keep: Tensor
    coverage: Tensor
    caption: Tensor
    named_caption: Tensor


def sentences() -> list[str]:
    """Every caption the world can give, in a fixed order; the empty one first."""
    toys = world.sample_identities(1, Generator().manual_seed(0))
    found = {""}
    for direction in range(len(world.DIRECTIONS)):
        for background in range(len(world.BACKGROUNDS)):
            scene = world.sample_scenes(1, Generator().manual_seed(0))
            scene.direction[0], scene.background[0] = direction, background
            for shape in range(len(world.SHAPES)):
                toys.shape[0] = shape
                for named in (False, True):
                    found |= set(world.captions(toys, scene, torch.tensor([named])))
    return sorted(found)


def cached_latents(vae: WanVAE, path: Path, clips: int, references: int, seed: int) -> Latents:
    """Read the file if it was made by this VAE with these numbers; otherwise render, encode and write it."""
    if clips % PART:
        raise ValueError(f"clips is {clips}; clips are rendered in parts of {PART}: give a multiple")
    weights = b"".join(value.numpy().tobytes() for value in vae.state_dict().values())
    made_by = f"{sha256(weights).hexdigest()} {clips} {references} {seed}"
    if not path.exists() or _made_by(path) != made_by:
        parts = [_encode_part(vae, references, seed + start) for start in range(0, clips, PART)]
        columns = {name: torch.cat([getattr(part, name) for part in parts]) for name in parts[0].__dict__}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(columns, path, {MADE_BY: made_by})
    return Latents(**load_file(path))


def _made_by(path: Path) -> str | None:
    with safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get(MADE_BY)


@torch.no_grad()
def _encode_part(vae: WanVAE, references: int, seed: int) -> Latents:
    generator, rows = Generator().manual_seed(seed), {text: row for row, text in enumerate(sentences())}
    toys, scenes = world.sample_identities(PART, generator), world.sample_scenes(PART, generator)
    video, alpha = world.render(toys, scenes)
    frames = [masked_frames(video, alpha, generator) for _ in range(references)]
    pictures, masks = (torch.stack(part, 1).flatten(0, 1) for part in zip(*frames, strict=True))
    tokens = F.max_pool2d(masks, TOKEN_STRIDE).flatten(1).gt(0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        latent = vae.encode(video, chunk=8)
        reference = vae.encode(pictures.unsqueeze(2))[:, :, 0]
    named = torch.ones(PART, dtype=torch.bool)
    return Latents(
        latent=latent.half(),
        reference=reference.unflatten(0, (PART, references)).half(),
        keep=tokens.unflatten(0, (PART, references)),
        coverage=_coverage(alpha).half(),
        caption=torch.tensor([rows[text] for text in world.captions(toys, scenes)]),
        named_caption=torch.tensor([rows[text] for text in world.captions(toys, scenes, named)]),
    )


def _coverage(alpha: Tensor) -> Tensor:
    """alpha (N, 1, 4k + 1, H, W) -> (N, k + 1, H/8, W/8): the most any of a latent frame's pictures covers a cell."""
    cells = F.avg_pool3d(alpha, (1, 8, 8))[:, 0]
    return torch.cat([cells[:, :1], cells[:, 1:].unflatten(1, (-1, 4)).amax(2)], dim=1)
