"""Given frames measured: clips that are the truth by construction score as it, others as what they are."""

import json
from types import SimpleNamespace

import pytest
import torch

from refvid.core.long_video import LongVideo
from refvid.demo import casting, world
from refvid.evidence.toy_figures import segment
from refvid.evidence.trials import frames as measured
from refvid.evidence.trials.clips import seeded
from refvid.evidence.trials.frames import EVERY, JOINT, KEYS_ALONE, TEXT
from refvid.evidence.trials.references import Trial
from refvid.hosts.plain.pipeline import Settings

TOYS, SEEDS, SIZE = 3, 2, 64
PLAN = LongVideo(4, 6, 4)


class Mirror:
    """A VAE that keeps what it is given."""

    encode = decode = staticmethod(lambda clip: clip)
    device, dtype = torch.device("cpu"), torch.float32


BACKBONE = SimpleNamespace(recipe="saber", settings=Settings(width=SIZE, height=SIZE, frames=5), vae=Mirror)


def report(monkeypatch, tmp_path, generate, long_clip):
    monkeypatch.setattr(measured, "generate", generate)
    monkeypatch.setattr(measured, "_long_clip", long_clip)
    monkeypatch.setattr(measured, "LONG", PLAN)
    made = measured.evaluate_frames(BACKBONE, TOYS, SEEDS, tmp_path, lambda *_: None)  # pyright: ignore[reportArgumentType]
    return made, {one.name: one for one in made.intervals}


def test_toys_between_two_pictures_travel_on_the_paths_of_the_world():
    clips, prompts = measured.travelling(64, 48)
    assert clips.shape == (64, 3, measured.APART + 1, 48, 48)
    assert not any("still" in one for one in prompts) and all(one.endswith("at stride 1") for one in prompts)
    masks, places = segment(clips)[:, 0], torch.linspace(-1, 1, 48)
    centre = torch.stack([(masks * one).sum((2, 3)) for one in (places, places[:, None])], 2)
    centre = centre / masks.sum((2, 3))[..., None]
    sideways = torch.tensor(["left" in one or "right" in one for one in prompts])
    along = torch.where(sideways[:, None], centre[..., 0], centre[..., 1])
    across = torch.where(sideways[:, None], centre[..., 1], centre[..., 0])
    assert along.abs().max() < world.TRAVEL + 0.05
    assert (along[:, -1] - along[:, 0]).abs().min() > 0.08, "an eighth of the way, but for pixels"
    begins = along[:, 0] * (along[:, -1] - along[:, 0]).sign()  # of a way from -TRAVEL to TRAVEL
    assert begins.min() < -0.4 and begins.max() > 0.25, "anywhere in a scene"
    lanes = torch.tensor(casting.TOY_PLACES)
    assert (across[..., None] - lanes).abs().amin(2).max() < 0.13


def test_the_truth_scores_as_the_truth_and_a_video_that_stands_still_does_not_move(monkeypatch, tmp_path):
    trial, (between, _) = Trial(TOYS, 5, SIZE), measured.travelling(TOYS, SIZE)
    lasting = Trial(measured.LONG_TOYS, 5, SIZE).truth

    def generate(backbone, asked):
        toy = asked.settings.seed % 1000
        if asked.settings.frames == 17:
            assert asked.given.indices == [0, 16]
            return torch.cat([between[toy], between[toy, :, -1:].expand(-1, 4, -1, -1)], 1)
        assert asked.given.indices == [0]
        first = trial.truth[toy, :, :1]
        together = asked.guidance.image.value == asked.guidance.text.value
        return trial.truth[toy] if together else first.expand(-1, 5, -1, -1)

    def long_clip(backbone, trial, plan, toy, seed, every):
        assert plan is PLAN
        middle = lasting[toy, :, 2:3].expand(-1, plan.length, -1, -1)
        return middle if every else middle.flip(1) * 0

    made, intervals = report(monkeypatch, tmp_path, generate, long_clip)
    one = measured.FrameReport(3, 1, {}, {}, [])
    assert measured.frame_table(one).startswith("3 unseen toys, 1 noise each;")
    joint, text, truth = (made.rows[f"first frame, {name}"] for name in (JOINT, TEXT, "truth"))
    assert made.rows["first frame, truth through the VAE"] == pytest.approx(truth)
    assert truth["direction"] == 1, "of its own caption"
    assert joint == pytest.approx(truth) and text["motion"] == 0 and joint["motion"] > 0.01
    assert intervals[f"{JOINT} minus {TEXT}, motion"].mean > 0.01  # one of the three stands still
    assert (
        made.rows["between, model"]["decibels"]
        == made.rows["between, truth through the VAE"]["decibels"]
        > 90
    )
    held, blended = (made.rows[f"between, {name}"]["decibels"] for name in ("first held", "blended"))
    assert held < blended
    assert intervals["between: model minus blended, decibels"].low > 10
    assert len(made.along[EVERY]) == 10 and max(made.along[EVERY]) == pytest.approx(min(made.along[EVERY]))
    assert intervals["long: reference in every segment minus for the keys alone, own"].low > 0.3
    assert intervals["long: last tenth minus first, own"].mean == 0
    said = json.loads((tmp_path / "frames.json").read_text(), parse_constant=pytest.fail)
    assert said["along"][KEYS_ALONE] == made.along[KEYS_ALONE] and JOINT in measured.frame_table(made)
    assert {file.name for file in tmp_path.iterdir()} == {
        "frames.json",
        "first_frame.png",
        "between.png",
        "long.png",
    }


@pytest.mark.parametrize(("jump", "share"), [(0.0, 1.0), (0.5, 0.0)])
def test_a_jump_at_a_join_is_seen(jump, share):
    """Every picture is 0.01 brighter than the one before, and at the joins by `jump` more."""
    steps = torch.full((PLAN.length,), 0.01, dtype=torch.float64)
    steps[torch.arange(PLAN.length) % PLAN.stride == 0] += jump
    video = steps.cumsum(0)[None, :, None, None].expand(3, -1, 4, 4)
    within, higher = measured._joins([video.round(decimals=6)], PLAN)
    assert within.mean == pytest.approx(share)
    assert higher.mean == pytest.approx(jump)


@pytest.mark.parametrize("every", [True, False])
def test_keys_of_a_long_video_are_asked_for_far_apart_and_what_lies_between_next_to_each_other(
    every, monkeypatch
):
    asked, trial = [], Trial(2, 5, 48)
    monkeypatch.setattr(measured, "generate_long", lambda *given: asked.append(given[:4]) or torch.zeros(()))
    measured._long_clip(BACKBONE, trial, PLAN, 1, 3, every)  # pyright: ignore[reportArgumentType]
    ((backbone, plan, keys, between),) = asked
    assert backbone is BACKBONE and plan is PLAN
    assert keys.prompt == f"{trial.prompts[1]} at stride {measured.APART}"
    assert between.prompt == f"{trial.prompts[1]} at stride 1"
    assert keys.settings == between.settings == seeded(BACKBONE.settings, 1, 3)
    (shown,) = keys.references
    assert torch.equal(shown.picture, trial.reference(1).picture)
    assert between.references == (keys.references if every else ())
