"""Showcase of `make demo`: one toy, cut out of one scene, generated in another; and the shipped samples.

`python -m refvid.evidence.showcase` writes the samples anew.
"""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from .. import media
from ..core.references import Reference, make_reference
from ..demo import casting, models, world
from ..drawing.sheet import FRAMES_OF_MOTION, contact_sheet, masked_cell
from ..hosts.plain.pipeline import Pipeline, Request, generate
from .toy_figures import toy_similarity

SAMPLES = models.DEMO_SAMPLES
SAMPLE_PICTURE, MASK = SAMPLES / "refvid_toy.png", SAMPLES / "refvid_toy_mask.png"
SECOND = SAMPLES / "refvid_toy_2.png"  # for workflows with two subjects
SAMPLE_FILM, FILM_MASK = (
    SAMPLES / "refvid_film.mp4",
    SAMPLES / "refvid_film_mask.mp4",
)  # a toy that turns
FIRST, LAST = SAMPLES / "refvid_first.png", SAMPLES / "refvid_last.png"  # of a clip of the shipped toy
FILM_LENGTH, FILM_FPS = 33, 16
SCENE = SAMPLES / "refvid_scene.mp4"  # a toy in a scene, to be edited
SCENE_LENGTH, SCENE_FPS = 17, 16
SEED, SECOND_SEED, FILM_SEED, SCENE_SEED = 9, 29, 8, 35
PROMPT = "a toy at the middle moving right on dark background"


@dataclass(frozen=True)
class Shown:
    """Files written, and similarity of the clip's toy to the reference, with it, without it, and of the
    truth."""

    video: Path
    sheet: Path
    seconds: float
    with_reference: float
    without: float
    truth: float


def sample_toy(seed: int = SEED) -> tuple[world.Looks, world.Scenes, world.Scenes]:
    """The shipped toy, the scene its picture was taken in, and the scene of `PROMPT`."""
    generator = Generator().manual_seed(seed)
    toy, scene, wanted = (
        casting.sample_identities(1, generator),
        casting.sample_photographs(1, generator),
        casting.sample_scenes(1, generator),
    )
    photographed = replace(scene, background=_index(world.BACKGROUNDS, "meadow"))
    return toy, photographed, _asked(wanted, "right", "dark")


def write_samples(folder: Path = SAMPLES) -> None:
    """Write the toys' pictures with their masks as alpha, whose hidden colours stay in the file. Beside them
    stand the first one's mask, how a clip of it begins and ends, a film with its mask, and a scene."""
    for path, seed in ((SAMPLE_PICTURE, SEED), (SECOND, SECOND_SEED)):
        toy, scene, _ = sample_toy(seed)
        video, alpha = world.render(toy, scene, 1)
        picture, cut = video[0, :, 0].permute(1, 2, 0) / 2 + 0.5, alpha[0, 0, 0].gt(0.5).float().unsqueeze(-1)
        media.write_picture(folder / path.name, torch.cat([picture, cut], dim=-1))
        if path is SAMPLE_PICTURE:
            media.write_picture(folder / MASK.name, cut.expand(-1, -1, 3))
    toy, _, moving = sample_toy()
    clip, _ = world.render(toy, moving, 2)
    for path, frame in zip((FIRST, LAST), clip[0].unbind(1), strict=True):
        media.write_picture(folder / path.name, frame.movedim(0, -1) / 2 + 0.5)
    film, alpha = sample_film()
    media.write_video(folder / SAMPLE_FILM.name, film, FILM_FPS)
    media.write_video(folder / FILM_MASK.name, alpha.gt(0.5).expand(3, -1, -1, -1) * 2.0 - 1, FILM_FPS)
    media.write_video(folder / SCENE.name, sample_scene(), SCENE_FPS)


def sample_film() -> tuple[Tensor, Tensor]:
    """Reference video (3, F, H, W) in [-1, 1] of a toy that turns, and its mask (1, F, H, W)."""
    generator = Generator().manual_seed(FILM_SEED)
    toy, scene = casting.sample_identities(1, generator), casting.sample_scenes(1, generator)
    turning = replace(toy, dynamics=_index(world.DYNAMICS, "turning"), tempo=torch.ones_like(toy.tempo))
    film, alpha = world.render(turning, _asked(scene, "still", "sunset"), FILM_LENGTH)
    return film[0], alpha[0]


def sample_scene() -> Tensor:
    """A video (3, F, H, W) in [-1, 1] of a toy that travels, in the length that the shipped model makes."""
    generator = Generator().manual_seed(SCENE_SEED)
    toy, scene = casting.sample_identities(1, generator), casting.sample_scenes(1, generator)
    return world.render(toy, _asked(scene, "left", "sunset"), SCENE_LENGTH)[0][0]


def sample_reference() -> Reference:
    """The shipped picture, masked by its alpha channel."""
    return make_reference(media.read_picture(SAMPLE_PICTURE, "sample"))


def show(backbone: Pipeline, folder: Path, progress=None) -> Shown:
    """Generate with and without the reference; write the clip and a contact sheet into `folder`."""
    reference = sample_reference()
    started = time.monotonic()
    asked = Request(PROMPT, backbone.settings, (reference,))
    with_reference = generate(backbone, asked, progress)
    seconds = time.monotonic() - started
    without = generate(backbone, replace(asked, references=()), progress)
    toy, _, moving = sample_toy()
    truth = world.render(toy, moving, backbone.settings.frames, backbone.settings.height)[0][0]
    picture = (reference.picture * 2 - 1).movedim(-1, 0)
    media.write_video(folder / "demo.mp4", with_reference, backbone.settings.fps)
    seen = masked_cell(picture, reference.mask)
    contact_sheet(
        [[seen, with_reference], [torch.zeros_like(seen), without], [picture, truth]],
        ["given", "clip"],
        folder / "demo.png",
        captions=[
            f'"{PROMPT}", with the masked reference',
            "without it",
            "the picture itself, and the truth",
        ],
        scale=2,
        shown=FRAMES_OF_MOTION,
    )
    clips = torch.stack([with_reference, without, truth])
    alike = toy_similarity(clips, picture[None], reference.mask[None, None])[:, 0].tolist()
    return Shown(folder / "demo.mp4", folder / "demo.png", seconds, *alike)


def _asked(scene: world.Scenes, direction: str, background: str) -> world.Scenes:
    """The scene in which a toy goes this way across such a background, past where it stood."""
    going = casting.heading(scene, _index(world.DIRECTIONS, direction))
    return replace(going, background=_index(world.BACKGROUNDS, background))


def _index(names: tuple[str, ...], name: str) -> Tensor:
    return torch.tensor([names.index(name)])


if __name__ == "__main__":
    write_samples()
