"""Films and masks of films: files, animations and folders of pictures as numbers in [0, 1], at a constant
rate."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .pictures import FORMATS, PICTURE_ENDINGS, Unreadable, count_of, is_image, mask_of, read_picture
from .timing import constant_rate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Film:
    """Pictures (F, H, W, 3) in [0, 1], and how many there are a second."""

    pictures: Tensor
    rate: Fraction


def read_film(path: str | Path, what: str, longest: int) -> Film:
    """A film's file of no more than `longest` pictures; decoding stops where it has more. ValueError as
    `read_video` says, and for those."""
    if not Path(path).is_file():
        raise ValueError(f"{what}: there is no file {path}")
    pictures, rate = _read(Path(path), what, longest)
    if rate is None:
        raise ValueError(f"{what}: {path} does not say how many pictures there are a second")
    return Film(_opaque(pictures, path, what), rate)


def read_video(path: str | Path, what: str) -> Tensor:
    """-> (F, H, W, 3) float32 in [0, 1]: a film's file, an animation, a picture, or a folder's pictures in
    the order of the numbers in their names.

    Upright; a variable rate is re-timed to a constant one, which is said. `what` names the input in errors.
    ValueError for no such file, no moving picture, one that is cut short or damaged, and more than
    `decoding.MOST_FILM_PIXELS` in all.
    """
    return _opaque(_read(Path(path), what)[0], path, what)


def read_masks(path: str | Path, what: str) -> Tensor:
    """-> (F, H, W) in [0, 1], a mask for each frame, or (H, W) from a picture: white is the subject; of what
    is transparent anywhere, what is opaque. Errors as `read_video`'s."""
    masks = mask_of(_read(Path(path), what)[0])
    return masks[0] if _is_picture(Path(path)) else masks


def _opaque(pictures: Tensor, path: str | Path, what: str) -> Tensor:
    if pictures.shape[-1] == 4 and bool((pictures[..., 3] < 1).any()):
        logger.warning("%s: the transparency of %s is not used here", what, path)
    return pictures[..., :3].contiguous()


def _read(path: Path, what: str, longest: int | None = None) -> tuple[Tensor, Fraction | None]:
    """Pictures (F, H, W, 3 or 4), and how many there are a second, if that is known."""
    if not path.is_file() and not path.is_dir():  # nor a pipe, which would be waited for
        raise ValueError(f"{what}: there is no file {path}")
    if path.is_dir():
        return _folder(path, what), None
    from .film_decoding import decode_animation, decode_film

    decode = decode_animation if is_image(path) else decode_film
    decoded = decode(path, what, _limit(path, what, longest))
    if decoded.damaged:
        logger.warning("%s: %d pictures of %s are damaged", what, decoded.damaged, path)
    return _timed(decoded, path, what, longest)


def _limit(path: Path, what: str, longest: int | None) -> Callable[[int, int, int], None]:
    """Raises where a film has more pictures than are read."""
    from .film_decoding import MOST_FILM_PIXELS

    def check(count: int, width: int, height: int) -> None:
        if longest is not None and count > longest:
            raise Unreadable(
                f"{what}: {path} has more than {longest} frames, the most that is edited at a time; cut it into parts"
            )
        if count * width * height > MOST_FILM_PIXELS:
            raise Unreadable(
                f"{what}: {path} has more than {count - 1} pictures of {width}x{height}; at most {MOST_FILM_PIXELS:,} pixels are "
                "read. Cut it, or make it smaller"
            )

    return check


def _timed(decoded, path: Path, what: str, longest: int | None) -> tuple[Tensor, Fraction | None]:
    """Decoded pictures at a constant rate. A file without times is taken as it is."""
    sizes = {tuple(one.shape[:2]) for one in decoded.pictures}
    if len(sizes) > 1:
        raise Unreadable(
            f"{what}: the pictures of {path} change their size, {_sizes(sizes)}; one size is needed"
        )
    count = len(decoded.pictures)
    if None in decoded.times or decoded.end is None:
        return _stacked(decoded.pictures), next((rate for rate in decoded.rates if rate), None)
    try:
        timed = constant_rate(decoded.times, decoded.end, decoded.rates)
    except ValueError as error:  # AVI keeps no order of H.264's pictures
        logger.warning("%s: of %s %s; its pictures are taken as they come", what, path, error)
        return _stacked(decoded.pictures), next((rate for rate in decoded.rates if rate), None)
    if timed.shown == list(range(count)):
        return _stacked(decoded.pictures), timed.rate
    limit = _limit(path, what, longest)
    limit(len(timed.shown), *reversed(decoded.pictures[0].shape[:2]))
    logger.warning(
        "%s: %s has a variable frame rate; its %d pictures were re-timed to %d, %g a second",
        what, path, count, len(timed.shown), float(timed.rate),
    )  # fmt: skip
    return _stacked(decoded.pictures)[timed.shown], timed.rate


def _stacked(pictures: list[Tensor]) -> Tensor:
    """(F, H, W, 3 or 4); the list is emptied on the way, so that a film lies in memory once."""
    channels = max(one.shape[-1] for one in pictures)
    stacked = torch.ones(len(pictures), *pictures[0].shape[:2], channels)
    for index in range(len(pictures)):
        stacked[index, ..., : pictures[index].shape[-1]] = pictures[index]
        pictures[index] = pictures[index][:0]
    return stacked


def frame_files(folder: Path) -> list[Path]:
    """Pictures of a folder in the order of the numbers in their names; hidden ones are left out."""
    found = (
        one
        for one in folder.iterdir()
        if one.suffix.lower() in PICTURE_ENDINGS and not one.name.startswith(".") and one.is_file()
    )
    return sorted(found, key=_natural)


def _folder(folder: Path, what: str) -> Tensor:
    files = frame_files(folder)
    if not files:
        raise ValueError(f"{what}: {folder} holds no frame ({', '.join(PICTURE_ENDINGS)})")
    check, pictures = _limit(folder, what, None), []
    for file in files:
        pictures.append(read_picture(file, what))
        check(len(pictures), *reversed(pictures[-1].shape[:2]))
    sizes = {tuple(one.shape[:2]) for one in pictures}
    if len(sizes) > 1:
        raise ValueError(f"{what}: the frames in {folder} have sizes {_sizes(sizes)}; one size is needed")
    return _stacked(pictures)


def _natural(file: Path) -> tuple:
    """1, 2, 10 rather than 1, 10, 2."""
    parts = re.split(r"(\d+)", file.stem)
    return tuple((int(part), part) if part.isdecimal() else (-1, part) for part in parts), file.name


def _sizes(sizes: set[tuple[int, ...]]) -> str:
    return ", ".join(f"{width}x{height}" for height, width in sorted(sizes))


def _is_picture(path: Path) -> bool:
    if path.is_dir() or not is_image(path):
        return False
    with Image.open(path, formats=FORMATS) as image:
        return count_of(image) == 1
