"""Reference gain: closed forms on losses whose gain is known, pairing, scenes, and what is said of it."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from refvid.core.statistics import Estimate
from refvid.training.reports.gain import (
    LEVELS,
    REFERENCES,
    GainReport,
    HeldOutLosses,
    gain_differences,
    gains_by_level,
    mean_losses,
    measure,
    other_rows,
    percent,
    reference_gains,
    verdict,
)

CLIPS, SCENES = 24, 8
LEVEL_GAINS = torch.linspace(0.01, 0.08, 8, dtype=torch.float64)
ROOT_OF_THREE = 3**0.5


def losses(own: Tensor | float, other: Tensor | float, seed: int = 0) -> HeldOutLosses:
    """Losses of clips of many sizes, whose gains are given: (N, 8) or what broadcasts to that."""
    none = torch.rand(CLIPS, 8, generator=Generator().manual_seed(seed), dtype=torch.float64) + 0.2
    values = torch.stack(
        [none, *(none * (1 - torch.as_tensor(one, dtype=none.dtype)) for one in (own, other))]
    )
    names = tuple(f"clip {one}" for one in range(CLIPS))
    return HeldOutLosses(names, tuple(f"scene {one % SCENES}" for one in range(CLIPS)), values)


def normal(count: int, seed: int) -> Tensor:
    return torch.randn(count, 1, generator=Generator().manual_seed(seed), dtype=torch.float64)


def test_a_gain_that_all_clips_share_is_found_to_the_digit_with_no_width() -> None:
    for span in reference_gains(losses(0.05, -0.02)).values():
        for name, gain in {"own": 0.05, "other": -0.02, "own - other": 0.07}.items():
            found = span[name]
            assert found.value == pytest.approx(gain, abs=1e-12)
            assert found.clips == pytest.approx((gain, gain), abs=1e-12)
            assert found.scenes == pytest.approx((gain, gain), abs=1e-12)


def test_losses_are_summed_over_clips_and_levels_before_they_are_divided() -> None:
    found = losses(LEVEL_GAINS * normal(CLIPS, 1).abs(), 0.0)
    none, own, _ = found.values
    gains = reference_gains(found)
    assert gains["all"]["own"].value == pytest.approx(1 - (own.sum() / none.sum()).item(), abs=1e-12)
    high = [level >= 0.8 for level in LEVELS]
    assert sum(high) == 4
    expected = 1 - (own[:, high].sum() / none[:, high].sum()).item()
    assert gains["high"]["own"].value == pytest.approx(expected, abs=1e-12)
    assert gains["high"]["own"].value > gains["all"]["own"].value


def test_gains_by_level_are_those_of_each_level() -> None:
    found = gains_by_level(losses(LEVEL_GAINS, -LEVEL_GAINS))
    assert found["own"] == pytest.approx(LEVEL_GAINS.tolist())
    assert found["other"] == pytest.approx((-LEVEL_GAINS).tolist()) and set(found) == {"own", "other"}


def test_an_interval_is_as_wide_as_the_spread_over_clips_says() -> None:
    none = torch.ones(CLIPS, 8, dtype=torch.float64)
    gains = 0.05 + 0.02 * normal(CLIPS, 2).expand(-1, 8)
    found = replace(losses(0.0, 0.0), values=torch.stack([none, 1 - gains, none]))
    low, high = reference_gains(found)["all"]["own"].clips or (0, 0)
    spread = gains[:, 0].std(correction=0).item() / CLIPS**0.5
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.05)


def test_clips_of_a_scene_that_agree_widen_the_interval_over_scenes_alone() -> None:
    by_scene = 0.05 + 0.02 * normal(SCENES, 3).repeat(CLIPS // SCENES, 1)  # clip n is of scene n % SCENES
    none = torch.ones(CLIPS, 8, dtype=torch.float64)
    found = replace(losses(0.0, 0.0), values=torch.stack([none, none - by_scene, none]))
    own = reference_gains(found)["all"]["own"]
    assert own.clips and own.scenes
    ratio = (own.scenes[1] - own.scenes[0]) / (own.clips[1] - own.clips[0])
    assert ratio == pytest.approx(ROOT_OF_THREE, rel=0.1)  # three clips a scene


def test_own_less_other_is_paired_so_that_what_both_share_cancels() -> None:
    shared = 0.2 * normal(CLIPS, 4)
    gains = reference_gains(losses(shared + 0.03, shared))["all"]
    assert gains["own - other"].clips == pytest.approx((0.03, 0.03), abs=1e-12)
    low, high = gains["own"].clips or (0, 0)
    assert high - low > 0.05


def test_two_trainings_are_compared_clip_by_clip_each_by_its_own_loss_without_references() -> None:
    spread = 0.2 * normal(CLIPS, 5)
    first, second = losses(spread + 0.04, 0.01), losses(spread, 0.02)
    worse = replace(second, values=second.values * 3)  # a training that is worse at everything
    for other in (second, worse):
        for span in gain_differences(first, other).values():
            assert span.value == pytest.approx(0.04, abs=1e-12)
            assert span.clips == pytest.approx((0.04, 0.04), abs=1e-12)
            assert span.scenes == pytest.approx((0.04, 0.04), abs=1e-12)
    assert gain_differences(first, second, "other")["all"].value == pytest.approx(-0.01, abs=1e-12)
    assert gain_differences(second, first)["all"].value == pytest.approx(-0.04, abs=1e-12)


def test_equal_trainings_are_averaged_clip_by_clip() -> None:
    found = [losses(0.02, 0.0), losses(0.06, -0.02)]
    mean = mean_losses(found)
    assert mean.clips == found[0].clips and torch.allclose(mean.values[0], found[0].values[0])
    assert reference_gains(mean)["all"]["own"].value == pytest.approx(0.04, abs=1e-12)
    assert reference_gains(mean)["high"]["other"].value == pytest.approx(-0.01, abs=1e-12)
    with pytest.raises(ValueError, match="not the same in the same order"):
        mean_losses([found[0], replace(found[1], clips=found[1].clips[::-1])])
    with pytest.raises(ValueError, match="there is none"):
        mean_losses([])


def test_trainings_on_other_held_out_clips_are_not_compared() -> None:
    first = losses(0.1, 0.0)
    for wrong in ({"clips": first.clips[::-1]}, {"scenes": first.scenes[::-1]}):
        with pytest.raises(ValueError, match="not the same in the same order"):
            gain_differences(first, replace(first, **wrong))


@dataclass
class Told:
    """Held-out clips whose loss is a known number of row, level and what is shown."""

    clips: tuple[str, ...] = ("ape", "bee", "cat")
    scenes: tuple[str, ...] = ("a", "b", "b")
    broken: str = ""

    def loss(self, row: int, levels: Tensor, references: str) -> Tensor:
        assert not torch.is_grad_enabled()
        if references == self.broken:
            return levels * torch.nan
        return 10.0 * REFERENCES.index(references) + row + levels


def test_every_clip_is_measured_at_every_level_with_no_own_and_others_references() -> None:
    found = measure(Told())
    assert found.clips == ("ape", "bee", "cat") and found.scenes == ("a", "b", "b")
    assert found.values.shape == (3, 3, 8) and found.values.dtype == torch.float64
    levels, rows = torch.tensor(LEVELS), torch.arange(3.0)
    expected = 10 * torch.arange(3.0)[:, None, None] + rows[:, None] + levels
    assert torch.equal(found.values, expected.double())
    assert torch.is_grad_enabled()


def test_a_loss_that_is_not_finite_or_not_one_number_a_level_is_refused_by_clip() -> None:
    with pytest.raises(ValueError, match="held-out clip ape with own of the references"):
        measure(Told(broken="own"))
    wrong = Told()
    wrong.loss = lambda row, levels, references: levels.mean()
    with pytest.raises(ValueError, match="8 finite numbers"):
        measure(wrong)


def test_another_clip_is_of_another_scene_and_the_same_each_time() -> None:
    scenes = ["a", "a", "b", "c", "c", "c"]
    rows = other_rows(scenes)
    assert all(scenes[row] != scene for row, scene in zip(rows, scenes, strict=True))
    assert rows == other_rows(scenes)
    many = [f"{one % 5}" for one in range(200)]
    assert len(set(other_rows(many))) > 100  # not the same one for all
    film = other_rows(["a", "a", "a"])
    assert all(row != own for own, row in enumerate(film))
    with pytest.raises(ValueError, match="needed 2 or more"):
        other_rows(["a"])


def test_losses_that_are_kept_are_read_to_the_bit(tmp_path: Path) -> None:
    found, path = losses(0.1 * normal(CLIPS, 6), 0.01), tmp_path / "held_out" / "200.json"
    found.write(path)
    again = HeldOutLosses.read(path)
    assert (again.clips, again.scenes) == (found.clips, found.scenes)
    assert torch.equal(again.values, found.values)


@pytest.mark.parametrize(
    "wrong", ["", "[]", "{}", '{"losses": {"none": 1, "own": 1, "other": 1}, "clips": [], "scenes": []}']
)
def test_a_file_of_other_losses_is_refused(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "0.json"
    path.write_text(wrong)
    with pytest.raises(ValueError, match=r"0\.json holds no losses"):
        HeldOutLosses.read(path)


def test_losses_at_other_levels_or_of_other_clips_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "0.json"
    losses(0.1, 0.0).write(path)
    said = json.loads(path.read_text())
    for field, value in (("levels", [0.5, *LEVELS[1:]]), ("clips", ["one"])):
        path.write_text(json.dumps({**said, field: value}))
        with pytest.raises(ValueError, match="was measured at levels"):
            HeldOutLosses.read(path)


def estimate(low: float, high: float, scenes: tuple[float, float] | None = None) -> Estimate:
    return Estimate((low + high) / 2, (low, high), scenes)


def test_a_verdict_claims_nothing_that_an_interval_does_not_exclude_zero_for() -> None:
    shown, nothing, by_scene = (
        estimate(0.01, 0.03),
        estimate(-0.01, 0.03),
        estimate(0.01, 0.03, (-0.01, 0.05)),
    )
    assert verdict({"own": nothing, "own - other": shown}, 5).startswith("nothing is shown yet")
    assert verdict({"own": by_scene, "own - other": shown}, 5).startswith("nothing is shown yet")
    assert verdict({"own": shown, "own - other": nothing}, 5).endswith("is not learned")
    assert verdict({"own": shown, "own - other": by_scene}, 5).endswith("is not learned")
    assert verdict({"own": shown, "own - other": shown}, 5) == "own references help, and more than another's"
    assert "one scene" in verdict({"own": shown, "own - other": shown}, 1)


def test_a_gain_is_told_in_percent_with_its_intervals() -> None:
    assert (
        percent(Estimate(0.0214, (0.009, 0.0331), (-0.002, 0.04)))
        == "+2.1 [+0.9, +3.3], by scene [-0.2, +4.0]"
    )
    assert percent(Estimate(-0.01, (-0.02, 0.0), None)) == "-1.0 [-2.0, +0.0]"
    assert percent(Estimate(0.5, None, None)) == "+50.0"


def test_a_report_is_lines_for_people_and_an_object_of_json() -> None:
    report = GainReport(losses(LEVEL_GAINS, -0.01), losses(0.01, 0.01))
    told = "\n".join(report.lines())
    high = percent(reference_gains(report.losses)["high"]["own"])
    assert "held out, 24 clips of 8 scenes" in told and f"levels from 0.8: own {high}; other -1.0 [" in told
    assert "own since step 0: all +" in told and told.endswith("more than another's")
    record = json.loads(json.dumps(report.record()))
    assert (record["clips"], record["scenes"], record["levels"]) == (24, 8, list(LEVELS))
    assert record["gains"]["all"]["own - other"]["value"] > 0 and len(record["losses"]["none"]) == 8
    assert record["since_start"]["high"]["clips"][0] > 0.04
    unchanged = GainReport(report.losses, report.losses).lines()[-1]
    assert unchanged.endswith("more than another's; more than before learning is not shown")
    assert "since_start" not in GainReport(report.losses).record()
    assert "since" not in "\n".join(GainReport(report.losses).lines())
