"""Index of clips: a row a clip with its status and reason, as JSONL, and as parquet where pyarrow is."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..core.files import replacing, write_text

OK, REFUSED = "ok", "refused"
A_STILL, A_FILM = "picture", "film"
TRAIN, HELD_OUT = "train", "held_out"
MOST_DENOMINATOR = 1001  # largest denominator of a rate: 30000/1001 is television's


@dataclass(frozen=True)
class Clip:
    """Row of the index: one clip, a part of a film or a still.

    id             of the clip
    path           of a film's file, a still or a folder of frames
    status         ok or refused
    reason         of a refusal, few and fixed, so that they can be counted
    detail         of this refusal
    set            name of the folder that the clip lies in
    repeats        times that an epoch shows it
    split          train or held_out
    licence        as its list or folder says
    caption, short_caption
    identity       name of whom it shows; empty where that is not known
    pair_of        ids of other clips that show the same identity
    mask           path of given masks: a film, a picture, a folder
    subject        masks of sampled pictures (`stages.subjects`)
    source         id of the clip before an edit, of which this is the result
    instruction, edit, reference  of an edit: words, kind, path of a picture
    contents       digest of the file
    kind           film or picture
    start, stop    frames of the file, stop not included
    frames         number of them
    fps            mean rate, frames a second; 0 of a still
    begin          seconds at which the file's first frame is shown
    variable       whether the rate varies
    width, height  as shown: upright, with square pixels, before the crop
    crop           (left, top, width, height)
    rotation, pixel_aspect, range, interlaced, alpha, sound  of the file
    motion         mean flow in pixels of 256 a second
    sharpness      median variance of the Laplacian
    flash          flashes in the worst second
    aesthetic, text_area  by local models
    hash           difference hashes of three pictures, 64 bits each, in hex
    shard, row     place of the encoded clip
    bucket         (width, height, pictures) that it is encoded at
    windows        number of encoded windows
    """

    id: str
    path: str
    status: str = OK
    reason: str = ""
    detail: str = ""
    set: str = ""
    repeats: int = 1
    split: str = TRAIN
    licence: str = ""
    caption: str = ""
    short_caption: str = ""
    identity: str = ""
    pair_of: tuple[str, ...] = ()
    mask: str = ""
    subject: dict[str, Any] | None = None
    source: str = ""
    instruction: str = ""
    edit: str = ""
    reference: str = ""
    contents: str = ""
    kind: str = ""
    start: int = 0
    stop: int = 0
    frames: int = 0
    fps: float = 0.0
    begin: float = 0.0
    variable: bool = False
    width: int = 0
    height: int = 0
    crop: tuple[int, int, int, int] | None = None
    rotation: int = 0
    pixel_aspect: float = 1.0
    range: str = ""
    interlaced: bool = False
    alpha: bool = False
    sound: bool = False
    motion: float | None = None
    sharpness: float | None = None
    flash: float | None = None
    aesthetic: float | None = None
    text_area: float | None = None
    hash: str = ""
    shard: str = ""
    row: int = -1
    bucket: tuple[int, int, int] | None = None
    windows: int = 0

    @property
    def ok(self) -> bool:
        """True where nothing speaks against the clip so far."""
        return self.status == OK

    @property
    def rate(self) -> Fraction:
        """Pictures a second; 0 of a still."""
        return Fraction(self.fps).limit_denominator(MOST_DENOMINATOR)

    @property
    def seconds(self) -> float:
        """Length; 0 of a still."""
        return self.frames / self.fps if self.fps else 0.0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the pictures after the crop."""
        return (self.width, self.height) if self.crop is None else self.crop[2:]

    def refused(self, reason: str, detail: str = "") -> "Clip":
        """Row that is refused. One that was refused before keeps its first reason."""
        return replace(self, status=REFUSED, reason=reason, detail=detail) if self.ok else self


class Refused(ValueError):
    """Refusal of a clip: a reason of few words, the same for all like it, and the details. One that is
    `passing` is of the moment, a disk that is not there: the next run looks again."""

    def __init__(self, reason: str, detail: str = "", passing: bool = False):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail, self.passing = reason, detail, passing


def clip_id(path: str | Path) -> str:
    """Id of the clip at a path: its name, and a digest that tells it from others of that name."""
    path = Path(path).absolute()
    return f"{path.stem}-{sha256(path.as_posix().encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def found_clip(path: str | Path, **known: Any) -> Clip:
    """A row of a clip that somebody's folder or list names; its set is the folder's name where none is
    given."""
    path = Path(path).absolute()
    return Clip(id=clip_id(path), path=path.as_posix(), **{"set": path.parent.name, **known})


def sort_key(clip: Clip) -> tuple[str, int, str]:
    """Order of the index."""
    return clip.path, clip.start, clip.id


def write_index(clips: Iterable[Clip], folder: Path) -> None:
    """Write index.jsonl, whole or not at all, and index.parquet where pyarrow is installed."""
    _write_parquet(write_rows(clips, folder / "index.jsonl"), folder / "index.parquet")


def write_rows(clips: Iterable[Clip], path: Path) -> list[dict[str, Any]]:
    """Write rows in the order of the index, a line each. -> what was written."""
    rows = [asdict(clip) for clip in sorted(clips, key=sort_key)]
    write_text(path, "".join(f"{line(row)}\n" for row in rows))
    return rows


def read_index(path: str | Path, what: str = "--data") -> list[Clip]:
    """The rows of index.jsonl in a folder, or of a file like it. ValueError where there is none, and for a
    line that is no row."""
    path = Path(path)
    path = path / "index.jsonl" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(
            f"{what}: there is no index {path}; make one by `refvid data scan FOLDER --out DATA`"
        )
    with path.open(encoding="utf-8") as file:
        return [row_of(text, f"{what}: {path}, line {number}") for number, text in enumerate(file, 1)]


def line(row: dict[str, Any]) -> str:
    """A row as a line of JSON."""
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"))


_TUPLES = ("pair_of", "crop", "bucket")
_NAMES = frozenset(field.name for field in fields(Clip))


def row_of(text: str, what: str) -> Clip:
    """A row from its line of JSON. ValueError, naming `what`, for one that is none."""
    try:
        row = json.loads(text)
        unknown = sorted(set(row) - _NAMES)
        if unknown:
            raise ValueError(f"no column is called {unknown[0]}")
        row.update({name: tuple(row[name]) for name in _TUPLES if row.get(name) is not None})
        return Clip(**row)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{what} is no row of an index: {error}") from error


def _write_parquet(rows: Sequence[dict[str, Any]], path: Path) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return
    told = [{**row, "subject": None if row["subject"] is None else line(row["subject"])} for row in rows]
    with replacing(path) as partial:
        parquet.write_table(pyarrow.Table.from_pylist(told), partial)
