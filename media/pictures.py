"""Pictures and masks: a file of any bit depth, palette, orientation or transparency as numbers in [0, 1], and
back."""

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..core.files import replacing

logger = logging.getLogger(__name__)
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000")
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif")  # of a folder's frames
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's "L"
# Pillow's readers raise all of these for a file that is cut short or damaged.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error)


class Unreadable(ValueError):
    """A file that cannot be read, in a whole sentence."""


class Damaged(Unreadable):
    """A file that is cut short or damaged."""


def read_picture(path: str | Path, what: str) -> Tensor:
    """-> (H, W, 3), or (H, W, 4) where the file has transparency, float32 in [0, 1], upright as EXIF says.

    `what` names the input in errors. Of an animated file the first picture, which is said. ValueError for no
    such file, no picture, a damaged one, and more pixels than Pillow's limit.
    """
    with opened(path, what) as picture:
        if count_of(picture) > 1:
            logger.warning("%s: %s holds %d pictures; the first is used", what, path, count_of(picture))
        return values_of(picture, path, what)


def read_mask(path: str | Path, what: str) -> Tensor:
    """-> (H, W) in [0, 1]: white is the subject; of a file that is transparent anywhere, what is opaque.
    Errors as `read_picture`'s."""
    return mask_of(read_picture(path, what)[None])[0]


def mask_of(pictures: Tensor) -> Tensor:
    """Pictures (F, H, W, 3 or 4) as masks (F, H, W): their alpha where any is below 1, else luminance."""
    if pictures.shape[-1] == 4 and bool((pictures[..., 3] < 1).any()):
        return pictures[..., 3]
    return (pictures[..., :3] @ torch.tensor(LUMINANCE)).clamp(0, 1)


def write_picture(path: str | Path, picture: Tensor) -> None:
    """picture (H, W, 3 or 4) in [0, 1] -> a file in the format of its ending, whole or not at all."""
    save_image(Image.fromarray(to_bytes(picture)), path)


def save_image(image: Image.Image, path: str | Path, **options: Any) -> None:
    """An image in the format of the path's ending, whole or not at all. `options` are Pillow's."""
    data = BytesIO()  # on a disk that fills up Pillow leaves out what was not written, and says nothing
    image.save(data, Image.registered_extensions()[Path(path).suffix.lower()], **options)
    with replacing(path) as partial:
        partial.write_bytes(data.getbuffer())


def to_bytes(values: Tensor) -> np.ndarray:
    """Numbers in [0, 1], rounded to 8 bits."""
    return values.detach().float().cpu().clamp(0, 1).mul_(255).round_().to(torch.uint8).contiguous().numpy()


@contextmanager
def opened(path: str | Path, what: str) -> Iterator[Image.Image]:
    """An image file, its size checked before anything is decoded; whatever is wrong with it, in the block
    too, is a ValueError."""
    if Path(path).is_dir():
        raise Unreadable(f"{what}: {path} is a folder; needed a picture")
    if not Path(path).is_file():
        raise Unreadable(f"{what}: there is no file {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=FORMATS)
        with picture:
            require_pixels(*picture.size, path, what)
            yield picture
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable(f"{what}: {path} is too large a picture ({error})") from error
    except _BROKEN as error:
        raise Damaged(
            f"{what}: {path} is not a picture that can be read (PNG, JPEG, WebP, TIFF …), or is damaged: {error}"
        ) from error


def is_image(path: Path) -> bool:
    """True where Pillow knows the file's kind, whatever state it is in."""
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except (OSError, SyntaxError, ValueError):
        return False
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return True


def count_of(picture: Image.Image) -> int:
    """Pictures of an open file; one where the others show the same, smaller or from aside."""
    return 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)


def require_pixels(width: int, height: int, path: str | Path, what: str) -> None:
    """ValueError above Pillow's limit on pixels."""
    most = Image.MAX_IMAGE_PIXELS or width * height
    if width * height > most:
        raise Unreadable(
            f"{what}: {path} is {width}x{height} pixels; at most {most:,} pixels are read. Make it smaller"
        )


def values_of(picture: Image.Image, path: str | Path, what: str) -> Tensor:
    """An open image as (H, W, 3 or 4) in [0, 1], upright."""
    _require_known(picture, path, what)
    deep = _sixteen_bit_colour(picture, path, what)
    if deep is not None:
        values = deep
    elif picture.mode.startswith("I") or picture.mode == "F":
        values = _deep_grey(picture, path, what)
    else:
        values = _eight_bit(picture)
    return _upright(values, picture)


def _require_known(picture: Image.Image, path: str | Path, what: str) -> None:
    """ValueError for what Pillow and FFmpeg read wrongly in silence; and its own scale for a grey of few bits
    that is transparent."""
    tags, tiles = getattr(picture, "tag_v2", {}), getattr(picture, "tile", ())
    bits, turned = tags.get(_BITS, (8,)), tags.get(_ORIENTATION, 1) > 4
    if len(bits) > 1 and max(bits) > 8 and tags.get(_PLANAR) == 2:
        raise Unreadable(
            f"{what}: {path} keeps its 16-bit colours in planes; save it with colours side by side"
        )
    if picture.mode.startswith("I;16") and turned and tiles and tiles[0][0] == "raw":
        raise Unreadable(
            f"{what}: {path} is a 16-bit TIFF that lies on its side; save it upright, or compressed"
        )
    few = str(tiles[0][3]) if tiles else ""
    clear = picture.info.get("transparency")
    if isinstance(clear, int) and few in ("L;2", "L;4"):
        picture.info["transparency"] = clear * 255 // (2 ** int(few[2]) - 1)


def has_alpha(picture: Image.Image) -> bool:
    """True where an image has a channel of transparency, or a colour that is transparent."""
    return picture.has_transparency_data


def _eight_bit(picture: Image.Image) -> Tensor:
    picture.load()
    converted = picture.convert("RGBA" if has_alpha(picture) else "RGB")
    return torch.from_numpy(np.array(converted, dtype=np.float32)) / 255


def _deep_grey(picture: Image.Image, path: str | Path, what: str) -> Tensor:
    """Grey of 9 to 16 bits, of 32 bits where a PNG or PGM has 16 (Pillow widens them), or floating. The one
    grey that is transparent comes with it, if any is."""
    stored = np.asarray(picture)
    values, tags = stored.astype(np.float64), getattr(picture, "tag_v2", {})
    if picture.mode == "F":
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise Unreadable(
                f"{what}: {path} holds floating values from {values.min():g} to {values.max():g}; needed 0 (black) to 1 (white)"
            )
    elif picture.mode == "I" and picture.format not in ("PNG", "PPM"):
        raise Unreadable(
            f"{what}: {path} holds 32-bit integers or signed ones, whose white is not known; save it in 8 or 16 bits"
        )
    else:
        values = values / (2 ** tags.get(_BITS, (16,))[0] - 1)
    if tags.get(_PHOTOMETRIC) == 0:  # white is zero
        values = 1 - values
    grey = torch.from_numpy(values.astype(np.float32)).unsqueeze(-1).expand(-1, -1, 3)
    clear = picture.info.get("transparency")
    if not isinstance(clear, int):
        return grey
    return torch.cat([grey, torch.from_numpy(stored != clear).float().unsqueeze(-1)], dim=-1)


def _sixteen_bit_colour(picture: Image.Image, path: str | Path, what: str) -> Tensor | None:
    """All bits of a PNG or TIFF of 16 bits a channel, of which Pillow reads the upper 8, by FFmpeg; None for
    any other."""
    tiles = getattr(picture, "tile", ())
    raw = tiles[0][3] if tiles else ""
    form = raw if isinstance(raw, str) else raw[0] if raw else ""
    deep = picture.format in ("PNG", "TIFF") and ";16" in str(form) and not picture.mode.startswith("I")
    if not deep or count_of(picture) > 1:
        return None
    values = _decoded(str(picture.format).lower(), path, "rgba64" if has_alpha(picture) else "rgb48")
    if values is None:
        logger.warning("%s: of the 16 bits of %s the upper 8 are read", what, path)
        return None
    return torch.from_numpy(values.astype(np.float32)) / 65535


def _decoded(codec: str, path: str | Path, pixels: str) -> np.ndarray | None:
    """The one picture of a file, uint16 (H, W, 3 or 4); None where FFmpeg reads no such pixels out of it."""
    import av
    from av.error import FFmpegError

    decoder: Any = av.CodecContext.create(codec, "r")
    try:
        frames = [*decoder.decode(av.Packet(Path(path).read_bytes())), *decoder.decode(None)]
    except FFmpegError:
        return None
    alike = len(frames) == 1 and frames[0].format.name.startswith(pixels)
    return frames[0].to_ndarray(format=f"{pixels}le") if alike else None


# EXIF's orientations: which of `oriented`'s turns.
_ORIENTATIONS = {
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
_ORIENTATION, _BITS, _PHOTOMETRIC, _PLANAR = 0x0112, 258, 262, 284  # of EXIF and of TIFF


def _upright(values: Tensor, picture: Image.Image) -> Tensor:
    """Turned as EXIF says: the numbers and not the image, since not every mode of Pillow's can be turned."""
    return oriented(values, *_ORIENTATIONS.get(picture.getexif().get(_ORIENTATION, 1), (False, False, False)))


def oriented(values: Tensor, transposed: bool, upside_down: bool, mirrored: bool) -> Tensor:
    """A picture (H, W, C) with its diagonal as axis, then top and bottom, then left and right changed for
    each other."""
    values = values.transpose(0, 1) if transposed else values
    flips = [axis for axis, flip in ((0, upside_down), (1, mirrored)) if flip]
    return (values.flip(flips) if flips else values).contiguous()
