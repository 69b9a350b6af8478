"""The shipped model does what the README says: its sample reference reaches the clip, the caption does
too."""

from dataclasses import replace

import pytest
import torch

from refvid import cli, media
from refvid.backbones.wan.lora import merge_lora_file
from refvid.core.controls import Controls
from refvid.core.references import make_reference
from refvid.demo import models, world
from refvid.evidence import showcase, toy_figures
from refvid.evidence.trials.references import Trial
from refvid.hosts.plain import pipeline


@pytest.fixture(scope="module")
def backbone():
    return models.load_demo()


def test_the_files_together_stay_under_40_megabytes():
    shipped = [path for path in models.DEMO_MODELS.rglob("*") if path.is_file()]
    assert len(shipped) == 6 and sum(path.stat().st_size for path in shipped) < 40e6


def test_the_sample_reference_reaches_the_clip(backbone, tmp_path):
    shown = showcase.show(backbone, tmp_path)
    assert shown.with_reference > shown.without + 0.2
    assert shown.video.stat().st_size > 1000 and shown.sheet.stat().st_size > 1000


def test_the_caption_moves_the_toy_and_paints_the_background(backbone):
    reference = showcase.sample_reference()
    clips = [
        pipeline.generate(backbone, pipeline.Request(f"a toy moving {direction} on {background} background", backbone.settings, (reference,)))
        for direction, background in (("right", "light"), ("down", "sunset"))
    ]  # fmt: skip
    clips = torch.stack(clips)
    assert [world.DIRECTIONS[i] for i in toy_figures.direction_of(clips)] == ["right", "down"]
    assert [world.BACKGROUNDS[i] for i in toy_figures.background_of(clips)] == ["light", "sunset"]


def test_the_sample_picture_is_what_the_world_renders(tmp_path):
    showcase.write_samples(tmp_path)
    for path in (showcase.SAMPLE_PICTURE, showcase.SECOND, showcase.MASK, showcase.FIRST, showcase.LAST):
        fresh, shipped = (media.read_picture(file, "sample") for file in (tmp_path / path.name, path))
        assert torch.equal(fresh, shipped)


def test_the_sample_film_is_what_the_world_renders_up_to_a_video_codec():
    film, alpha = showcase.sample_film()
    shipped = media.read_video(showcase.SAMPLE_FILM, "sample").movedim(-1, 0)
    assert (shipped - (film / 2 + 0.5)).abs().mean() < 0.02
    masks = media.read_masks(showcase.FILM_MASK, "sample")
    assert ((masks > 0.5) == (alpha[0] > 0.5)).float().mean() > 0.995


def test_the_sample_scene_is_what_the_world_renders_up_to_a_video_codec():
    shipped = media.read_film(showcase.SCENE, "sample", showcase.SCENE_LENGTH)
    assert (shipped.pictures.movedim(-1, 0) - (showcase.sample_scene() / 2 + 0.5)).abs().mean() < 0.02
    assert shipped.rate == showcase.SCENE_FPS


def test_the_editing_adapter_changes_the_background_and_keeps_the_toy(tmp_path):
    out = tmp_path / "edited.mp4"
    asked = ("--video", str(showcase.SCENE), "--instruction", "change the background to light")
    cli.main(["edit", *asked, "--steps", "8", "--out", str(out)])
    source, edited = (
        media.read_film(file, "clip", showcase.SCENE_LENGTH).pictures for file in (showcase.SCENE, out)
    )
    clips = torch.stack([source, edited]).movedim(-1, 1) * 2 - 1
    assert [world.BACKGROUNDS[i] for i in toy_figures.background_of(clips)] == ["sunset", "light"]
    assert len(set(toy_figures.direction_of(clips).tolist())) == 1
    toy = toy_figures.segment(clips)[:1] > 0.5
    assert ((clips[0] - clips[1]).abs().mean(0, keepdim=True) * toy[0]).sum() / toy.sum() < 0.3


def test_the_videomaker_adapter_reads_the_sample_picture():
    adapted, reference = models.load_demo(), showcase.sample_reference()
    recipe = merge_lora_file(adapted.dit, models.VIDEOMAKER, 1.0, "adapter")
    asked = pipeline.Request(showcase.PROMPT, replace(adapted.settings, steps=8), recipe=recipe or "auto")
    clips = [pipeline.generate(adapted, replace(asked, references=given)) for given in ((reference,), ())]
    clips = torch.stack(clips)
    picture = (reference.picture * 2 - 1).movedim(-1, 0)
    with_reference, without = toy_figures.toy_similarity(clips, picture[None], reference.mask[None, None])[
        :, 0
    ].tolist()
    assert with_reference > without + 0.2


def test_unseen_toys_of_a_trial_are_pictured_elsewhere_and_their_masks_fit():
    trial = Trial(8, 9, 96)
    assert (trial.scenes.background != trial.elsewhere.background).all()
    for index in range(8):
        reference = trial.reference(index)
        assert torch.equal(reference.mask, trial.masks[index, 0])
        assert make_reference(reference.picture, reference.mask).controls == Controls()
    alike = trial.similarity(trial.truth)
    assert (alike.diagonal() > alike.sum(1).sub(alike.diagonal()).div(7)).float().mean() > 0.9
