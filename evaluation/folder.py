"""Rows of a folder of clips: from its manifest, or from names that pair a clip with its reference."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
VIDEOS = (".mp4", ".webm", ".mkv", ".mov", ".gif")
OWN_VARIANT = "own"  # the variant that the others are compared with, where there is one
WITHOUT = "none"  # the variant without a reference: the baseline of the others' leak
_FILES = ("video", "reference", "mask", "subject_mask", "baseline")
_KEYS = (*_FILES, "prompt", "variant", "seed")


@dataclass(frozen=True)
class Row:
    """One clip, and the files that it is compared with.

    reference     the subject asked for, whatever the clip was made with
    mask          the reference's, white = subject; None: its alpha channel, else all of it
    subject_mask  a clip, white = subject; None: looked for by colour
    baseline      the same prompt without the reference
    """

    video: Path
    reference: Path
    mask: Path | None = None
    subject_mask: Path | None = None
    baseline: Path | None = None
    prompt: str | None = None
    variant: str = OWN_VARIANT
    seed: int | None = None

    @property
    def files(self) -> list[Path]:
        """Every file that is read for it."""
        return [file for name in _FILES if (file := getattr(self, name)) is not None]

    @property
    def pair(self) -> tuple[Path, int | None, str | None]:
        """Clips of two variants that agree in this are a pair."""
        return self.reference, self.seed, self.prompt


def read_rows(folder: Path) -> list[Row]:
    """Read the rows of folder/manifest.json.

    Without one NAME.mp4 (webm, mkv, mov, gif, or a folder NAME of PNGs) goes with NAME.png and, where there
    is one, NAME_mask.png and NAME_subject.mp4. A clip of the variant "none" becomes the baseline of
    itself and of its pairs that name none. So leaks of a pair are read alike. ValueError says which row or
    file, what came and what is needed.
    """
    if not folder.is_dir():
        raise ValueError(f"FOLDER: {folder} is not a folder; give the one that holds the clips")
    rows = _manifest(folder) if (folder / MANIFEST).is_file() else _paired_by_name(folder)
    seen: dict[tuple, Row] = {}
    for row in rows:
        place = (row.variant, *row.pair)
        if place in seen:
            raise ValueError(
                f"{seen[place].video.name} and {row.video.name} have the same variant, reference, seed and prompt; give "
                "them different seeds, or leave one out"
            )
        seen[place] = row
    without = {row.pair: row.video for row in rows if row.variant == WITHOUT}
    return [replace(row, baseline=row.baseline or without.get(row.pair)) for row in rows]


def _manifest(folder: Path) -> list[Row]:
    file = folder / MANIFEST
    try:
        listed = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(listed, list) or not listed:
        raise ValueError(f"{file} holds {_kind(listed)}; needed a list of rows, one or more")
    return [_row(folder, f"{MANIFEST}, row {number}", given) for number, given in enumerate(listed, start=1)]


def _row(folder: Path, where: str, given: Any) -> Row:
    if not isinstance(given, dict):
        raise ValueError(f'{where} is {_kind(given)}; needed {{"video": …, "reference": …}}')
    unknown = sorted(given.keys() - set(_KEYS))
    if unknown:
        raise ValueError(f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(_KEYS)}")
    given = {key: value for key, value in given.items() if value is not None}
    for key in ("video", "reference"):
        if key not in given:
            raise ValueError(f'{where} has no "{key}"; needed the name of a file in the folder')
    for key, value in given.items():
        wanted = int if key == "seed" else str
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError(
                f'{where}: "{key}" is {_kind(value)}; needed a {"number" if key == "seed" else "text"}'
            )
    for key in given.keys() & set(_FILES):
        given[key] = folder / given[key]
        if not given[key].exists():
            raise ValueError(f'{where}: "{key}" names {given[key]}, which does not exist')
    return Row(**given)


def _paired_by_name(folder: Path) -> list[Row]:
    def beside(stem: str, mark: str) -> Path | None:
        return next((f for e in VIDEOS if (f := folder / f"{stem}_{mark}{e}").is_file()), None)

    clips = sorted(
        file
        for file in folder.iterdir()
        if not file.name.startswith(".")
        and (file.suffix.lower() in VIDEOS or (file.is_dir() and any(file.glob("*.png"))))
        and not file.stem.endswith("_subject")
    )
    if not clips:
        raise ValueError(
            f"FOLDER: {folder} holds neither {MANIFEST} nor a clip ({', '.join(VIDEOS)}, or a folder of PNGs)"
        )
    bare = [clip.name for clip in clips if not (folder / f"{clip.stem}.png").is_file()]
    if bare:
        shown = ", ".join(bare[:5]) + (f" and {len(bare) - 5} more" if len(bare) > 5 else "")
        raise ValueError(
            f"FOLDER: no reference picture for {shown}: without {MANIFEST} every NAME{clips[0].suffix} needs a NAME.png "
            "beside it (and NAME_mask.png, if the picture has no transparency)"
        )
    rows = []
    for clip in clips:
        mask = folder / f"{clip.stem}_mask.png"
        rows.append(
            Row(
                video=clip,
                reference=folder / f"{clip.stem}.png",
                mask=mask if mask.is_file() else None,
                subject_mask=beside(clip.stem, "subject"),
            )
        )
    return rows


def _kind(value: Any) -> str:
    return f"{type(value).__name__} {json.dumps(value)[:40]}"
