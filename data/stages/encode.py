"""Stage `encode`: clips as latents, words as states of the text encoder, and the pictures that references are
drawn from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.files import write_text
from ..buckets import Bucket, longest, require_lengths, sides_for
from ..fitting import fitted
from ..index import A_FILM, HELD_OUT, Clip, Refused, sort_key
from ..pictures import at_rate, pictures_of, spread
from ..shards import pack_rows, packed_places, row_file, write_row
from ..stage import PlainStage, StageContext, keys_of
from ..weights import Weights
from ..windows import STARTS, Windowing, whole_length

_VAE, _TEXT, _SIGLIP = "vae", "text_encoder", "siglip"
ENCODED, ENCODING = "encoded", "encoded/encoding.json"  # clips, and how they were encoded
POOL = 8  # pictures of a clip that references are drawn from


@dataclass(frozen=True)
class EncodeOptions:
    """Options of `encode`.

    fps        pictures a second that clips are read at: 16 for Wan 2.1 and 2.2, 24 for TI2V-5B
    frames     lengths in pictures, 4n + 1; each clip goes to the longest that fits
    pixels     area of a picture: 832 x 480
    multiple   sides are multiples of it, a token's side: 16, of TI2V-5B 32
    window     which windows of a clip: random, head, middle, full, chunk, slide, uniform
    windows    random and uniform: windows that are kept of a clip; training draws one each time
    step       slide: pictures from one window to the next
    quality    of the JPEGs that references are drawn from
    semantic   keep SigLIP's features of each window's first picture, for SAMA
    held_out   clips that are never trained on, by the digest of their film, so that a film's shots stay
               together, and its edits with them
    """

    fps: float = 16.0
    frames: tuple[int, ...] = (33, 81)
    pixels: int = 832 * 480
    multiple: int = 16
    window: str = "random"
    windows: int = 4
    step: int = 16
    quality: int = 95
    semantic: bool = False
    held_out: int = 0


class Encode(PlainStage):
    """Encoding of clips that have a caption."""

    name = "encode"
    version = 2
    defaults = EncodeOptions()
    concluding = ("held_out",)

    def uses(self, options: EncodeOptions, weights: Weights) -> Sequence[str]:
        """The VAE and the text encoder, and SigLIP where its features are kept. ValueError for options that
        are wrong, too."""
        require_encoding(options)
        names = (_VAE, _TEXT, _SIGLIP) if options.semantic else (_VAE, _TEXT)
        for name in names:
            weights.path(name, self.name)
        return names

    def depends(self, clip: Clip, options: EncodeOptions) -> Any:
        """All that is read of it, and its words; a clip before an edit is encoded beside the one after it."""
        if not clip.caption and not clip.instruction:
            return None
        part = (clip.contents, clip.start, clip.stop, clip.crop, clip.fps)
        return [*part, clip.caption, clip.short_caption, clip.instruction]

    def look(self, clip: Clip, context: StageContext) -> dict[str, Any]:
        """Encode a clip into a file of its own."""
        options: EncodeOptions = context.options
        bucket, starts, shown = windows_of(clip, options)
        spans = [(shown[start], shown[start + bucket.frames - 1]) for start in starts]
        tensors = {"span": _numbers(spans), **_latents(clip, bucket, starts, shown, context)}
        tensors.update(_words(clip, context))
        tensors.update(_pool(clip, bucket, options.quality))
        (key,) = keys_of(self, [clip], context).values()
        write_row(context.folder / ENCODED, key, tensors)
        size = sum(one.numel() * one.element_size() for one in tensors.values())
        return {"bucket": [bucket.width, bucket.height, bucket.frames], "windows": len(starts), "bytes": size}

    def standing(self, results: Mapping[str, Any], context: StageContext) -> Mapping[str, Any]:
        """Results of clips that were refused, or whose tensors are there."""
        folder = context.folder / ENCODED
        packed = packed_places(folder)

        def stands(key: str) -> bool:
            return "bucket" not in results[key] or key in packed or row_file(folder, key).is_file()

        return {key: one for key, one in results.items() if stands(key)}

    def settle(
        self, results: Mapping[str, dict[str, Any]], clips: Sequence[Clip], context: StageContext
    ) -> None:
        """Pack encoded clips into shards, in the order of the index, clips of one bucket together."""
        keys = keys_of(self, sorted(clips, key=sort_key), context).values()
        encoded = [key for key in keys if "bucket" in results.get(key, {})]
        # Old rows with new options would be taken for what they are not: between the two there are none.
        (context.folder / ENCODING).unlink(missing_ok=True)
        pack_rows(context.folder / ENCODED, sorted(encoded, key=lambda key: results[key]["bucket"]))

    def finish(self, context: StageContext) -> None:
        """Write down by which options and weights the index's clips were encoded."""
        told = {"options": asdict(context.options), "weights": dict(context.digests)}
        write_text(context.folder / ENCODING, json.dumps(told, indent=1))

    def conclude(
        self, clips: list[Clip], found: Mapping[str, dict[str, Any]], context: StageContext
    ) -> list[Clip]:
        """Shard and row of each clip, and which are held out."""
        packed, keys = packed_places(context.folder / ENCODED), keys_of(self, clips, context)
        encoded = [clip for clip in clips if clip.id in found]
        held = held_out(encoded, context.sources, context.options.held_out)

        def told(clip: Clip) -> Clip:
            if clip.id not in found or keys[clip.id] not in packed:
                return clip
            shard, row = packed[keys[clip.id]]
            bucket, windows = tuple(found[clip.id]["bucket"]), found[clip.id]["windows"]
            split = HELD_OUT if clip.id in held else clip.split
            return replace(
                clip, shard=f"{ENCODED}/{shard}", row=row, bucket=bucket, windows=windows, split=split
            )

        return [told(clip) for clip in clips]


def require_encoding(options: EncodeOptions) -> None:
    """ValueError for options that no clip could be encoded by."""
    require_lengths(options.frames, "encode: frames")
    if options.window not in STARTS:
        raise ValueError(f"encode: window is {options.window}; needed one of {', '.join(STARTS)}")
    bounds = {"windows": 1, "step": 1, "multiple": 1, "held_out": 0, "pixels": options.multiple**2}
    for name, least in bounds.items():
        if getattr(options, name) < least:
            raise ValueError(f"encode: {name} is {getattr(options, name)}; needed {least} or more")
    if not 0 < options.fps < 1000 or not 1 <= options.quality <= 100:
        raise ValueError(
            f"encode: fps is {options.fps} and quality {options.quality}; needed more than 0, and 1 to 100"
        )


def windows_of(clip: Clip, options: EncodeOptions) -> tuple[Bucket, list[int], list[int]]:
    """Bucket of a clip, the places at which its windows start, and the clip's pictures that are shown at the
    stated rate. `Refused` where it is too short or too small."""
    width, height = sides_for(clip, options.pixels, options.multiple)
    if clip.kind != A_FILM:
        return Bucket(width, height, 1), [0], [0]
    shown = at_rate(clip, options.fps)
    frames = longest(len(shown), options.frames)
    if options.window == "full":
        frames = whole_length(len(shown), max(options.frames))
    how = Windowing(options.windows, options.step)
    starts = STARTS[options.window](len(shown), frames, how, f"{clip.contents}/{clip.start}")
    return Bucket(width, height, frames), starts, shown


def bucket_of(clip: Clip, options: EncodeOptions) -> Bucket:
    """Bucket of a clip; `Refused` as `windows_of` says."""
    return windows_of(clip, options)[0]


def held_out(clips: Sequence[Clip], sources: Mapping[str, Clip], count: int) -> set[str]:
    """Ids of `count` clips or a few more, whole films, in the order of their digests. An edit is of the film
    before it, which it shows too."""
    films = {clip.id: sources.get(clip.source, clip).contents for clip in clips}
    held: set[str] = set()
    for film in sorted(set(films.values())):
        if len(held) >= count:
            break
        held |= {name for name, its in films.items() if its == film}
    return held


def _latents(
    clip: Clip, bucket: Bucket, starts: list[int], shown: list[int], context: StageContext
) -> dict[str, Any]:
    """Latents (windows, channels, F, h, w) of the clip, of the clip before the edit where there is one, and
    semantic tokens (windows, 65, width) where they are asked for."""
    import torch

    vae = context.weights.load(_VAE, Encode.name, lambda path: load_frozen_vae(path, context))
    kinds = {"latent": clip}
    if clip.source:
        kinds["source"] = _before_edit(clip, context)
    found: dict[str, Any] = {}
    for name, film in kinds.items():
        windows = list(_windows(film, bucket, starts, shown))
        found[name] = torch.stack([_encoded(vae, window) for window in windows])
        if context.options.semantic and name == "latent":
            found["semantic"] = torch.stack([_semantic(window[0], context) for window in windows])
    return found


def _before_edit(clip: Clip, context: StageContext) -> Clip:
    """The clip before an edit, which has to be as long, as fast and as large as the one after it."""
    before = context.sources.get(clip.source)
    if before is None:
        raise Refused("no clip before the edit", clip.source)
    for what in ("kind", "frames", "fps", "size"):
        mine, its = getattr(clip, what), getattr(before, what)
        if mine != its:
            raise Refused("before and after the edit differ", f"{what} {its}, then {mine}")
    return before


def _windows(clip: Clip, bucket: Bucket, starts: list[int], shown: list[int]) -> Iterator[np.ndarray]:
    """Windows (F, H, W, 3) uint8 of a clip at its bucket's size; the film is decoded once."""
    wanted = sorted({shown[start + one] for start in starts for one in range(bucket.frames)})
    read = {
        place: fitted(picture, bucket.width, bucket.height)
        for place, picture in zip(wanted, pictures_of(clip, wanted), strict=True)
    }
    for start in starts:
        yield np.stack([read[shown[start + one]] for one in range(bucket.frames)])


def _encoded(vae: Any, window: np.ndarray) -> Any:
    """Latent (channels, F, h, w) of a window, in fp16 on the CPU."""
    import torch

    with torch.no_grad():
        video = torch.from_numpy(window).to(vae.device, vae.dtype).movedim(-1, 0) / 127.5 - 1
        return vae.encode(video.unsqueeze(0), chunk=2 * vae.geometry.group)[0].half().cpu()


def _semantic(picture: np.ndarray, context: StageContext) -> Any:
    """Semantic tokens (65, width) of a picture."""
    import torch

    from ..models.siglip import Siglip, semantic_tokens

    siglip = context.weights.load(_SIGLIP, Encode.name, lambda path: Siglip(path, context.device))
    values = torch.from_numpy(picture).movedim(-1, 0).unsqueeze(0) / 127.5 - 1
    return semantic_tokens(siglip(values))[0].half()


def load_frozen_vae(path: Path, context: StageContext) -> Any:
    """The VAE on the device. ValueError for one whose tokens are of other sides than the options say."""
    import torch

    from ...backbones.wan.loading import load_vae

    half = torch.float32 if context.device == "cpu" else torch.bfloat16
    vae = load_vae(path, half, context.device, _VAE).requires_grad_(False)
    if context.options.multiple % vae.geometry.token:
        raise ValueError(
            f"encode: multiple is {context.options.multiple}; {path.name} needs a multiple of {vae.geometry.token}"
        )
    return vae


def _words(clip: Clip, context: StageContext) -> dict[str, Any]:
    """States (tokens, width) of the caption, of the short one, of the instruction and of no words, without
    padding."""
    import torch

    from ...backbones.wan.text import load_text_encoder

    half = torch.float32 if context.device == "cpu" else torch.bfloat16
    encoder = context.weights.load(
        _TEXT, Encode.name, lambda path: load_text_encoder(path, half, context.device, _TEXT)
    )
    said = {"text": clip.caption, "short_text": clip.short_caption, "instruction": clip.instruction}
    found = {}
    for name, words in {**said, "no_text": ""}.items():
        if words or name not in said:
            tokens = encoder.tokenize([words])
            with torch.no_grad():
                found[name] = encoder.states(tokens.to(context.device))[0].half().cpu()
    return found


def _pool(clip: Clip, bucket: Bucket, quality: int) -> dict[str, Any]:
    """Pictures that references are drawn from, as JPEG in their bucket's size: `pool.N`, and the clip's
    picture that each is."""
    import cv2
    import torch

    places = spread(clip.frames, POOL)
    found = {"pool": _numbers(places)}
    for number, picture in enumerate(pictures_of(clip, places)):
        bgr = cv2.cvtColor(fitted(picture, bucket.width, bucket.height), cv2.COLOR_RGB2BGR)
        _, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        found[f"pool.{number}"] = torch.from_numpy(coded.reshape(-1).copy())
    return found


def _numbers(values: Sequence[Any]) -> Any:
    import torch

    return torch.tensor(values, dtype=torch.int64)
