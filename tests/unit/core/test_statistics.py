"""Bootstrap intervals over clips and scenes: closed forms, what a resample holds, and coverage."""

from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor

from refvid.core import statistics
from refvid.core.statistics import Estimate, Resamples, paired_interval


def mean_of(values: Tensor) -> Callable[[Tensor], Tensor]:
    """Weighted mean as a statistic."""
    return lambda weights: weights @ values / weights.sum(1)


def drawn(count: int, seed: int) -> Tensor:
    return torch.randn(count, generator=Generator().manual_seed(seed), dtype=torch.float64)


def test_the_interval_holds_its_mean_repeats_for_a_seed_and_has_the_closed_form_width() -> None:
    values = torch.randn(400, generator=Generator().manual_seed(1)) + 3
    mean, low, high = paired_interval(values)
    assert mean == pytest.approx(values.double().mean().item()) and low < mean < high
    assert high - low == pytest.approx(2 * 1.96 * values.std().item() / 20, rel=0.05)
    assert (mean, low, high) == paired_interval(values) != paired_interval(values, seed=1)


def test_an_interval_of_what_is_no_number_per_clip_is_refused() -> None:
    for wrong in (torch.zeros(0), torch.zeros(2, 2)):
        with pytest.raises(ValueError, match="one number per clip"):
            paired_interval(wrong)
    with pytest.raises(ValueError, match="not measured"):
        paired_interval(torch.tensor([1.0, torch.nan]))


def test_a_resample_of_clips_has_as_many_clips_and_each_once_on_average() -> None:
    weights = Resamples(["a", "b", "c", "d", "e"], resamples=20_000).clips
    assert weights is not None and (weights.sum(1) == 5).all() and (weights == weights.round()).all()
    assert torch.allclose(weights.mean(0), torch.ones(5, dtype=torch.float64), atol=0.03)
    assert weights.var(0).mean().item() == pytest.approx(4 / 5, abs=0.03)  # binomial of 5 draws at 1 / 5


def test_a_resample_of_scenes_draws_whole_scenes_and_within_one_its_clips() -> None:
    scenes = ["a", "b", "a", "b", "a", "c"]
    weights = Resamples(scenes, resamples=20_000).scenes
    assert weights is not None
    of = {name: weights[:, [one == name for one in scenes]] for name in "abc"}
    times = torch.stack([of["a"].sum(1) / 3, of["b"].sum(1) / 2, of["c"].sum(1)], 1)
    assert (times == times.round()).all() and (times.sum(1) == 3).all()
    assert torch.allclose(weights.mean(0), torch.ones(6, dtype=torch.float64), atol=0.04)
    # Clips of a drawn scene are drawn anew: not each once.
    assert of["b"][:, 0].sub(of["b"][:, 1]).abs().max() >= 2


def test_the_interval_over_scenes_is_as_wide_as_that_of_one_clip_a_scene_where_clips_are_alike() -> None:
    values, scenes = drawn(40, 2), [f"s{one}" for one in range(40)]
    alone = Resamples(scenes).estimate(mean_of(values))
    alike = Resamples([one for one in scenes for _ in range(9)]).estimate(
        mean_of(values.repeat_interleave(9))
    )
    assert alone.clips and alone.scenes and alike.clips and alike.scenes

    def width(bounds: tuple[float, float]) -> float:
        return bounds[1] - bounds[0]

    assert alone.value == pytest.approx(alike.value)
    assert width(alone.scenes) == pytest.approx(width(alone.clips), rel=0.05)
    assert width(alike.scenes) == pytest.approx(width(alone.scenes), rel=0.05)
    assert width(alike.clips) == pytest.approx(width(alone.clips) / 3, rel=0.05)


def test_an_interval_over_clips_covers_the_truth_as_often_as_it_says_and_over_scenes_where_they_rule() -> (
    None
):
    clips = scenes = too_narrow = 0
    names = [f"s{one // 4}" for one in range(80)]
    draws = Resamples(names, resamples=800)
    for seed in range(300):
        noise = drawn(100, seed)
        apart = draws.estimate(mean_of(noise[:80])).clips
        together = draws.estimate(mean_of(noise[:80] * 0.3 + noise[80:].repeat_interleave(4)))
        assert apart and together.clips and together.scenes
        clips += apart[0] < 0 < apart[1]
        scenes += together.scenes[0] < 0 < together.scenes[1]
        too_narrow += together.clips[0] < 0 < together.clips[1]
    assert 0.90 < clips / 300 < 0.98
    assert 0.88 < scenes / 300 < 0.97
    assert too_narrow / 300 < 0.80


def test_fewer_than_two_clips_or_scenes_have_no_interval_and_none_is_refused() -> None:
    one = torch.tensor([0.25], dtype=torch.float64)
    assert Resamples(["a"]).estimate(mean_of(one)) == Estimate(0.25, None, None)
    film = Resamples(["a", "a"]).estimate(mean_of(one.repeat(2)))
    assert film.clips is not None and film.scenes is None
    with pytest.raises(ValueError, match="no clip"):
        Resamples([])


def test_an_estimate_is_above_zero_where_every_interval_is_and_there_is_one() -> None:
    assert Estimate(1, (0.1, 2), (0.01, 3)).above_zero() and Estimate(1, (0.1, 2), None).above_zero()
    assert not Estimate(1, (0.1, 2), (-0.1, 3)).above_zero() and not Estimate(1, (0.0, 2), None).above_zero()
    assert not Estimate(1, None, None).above_zero()


def test_an_estimate_is_below_zero_where_every_interval_is_and_there_is_one() -> None:
    assert Estimate(-1, (-2, -0.1), (-3, -0.01)).below_zero() and Estimate(-1, (-2, -0.1), None).below_zero()
    assert not Estimate(-1, (-2, -0.1), (-3, 0.1)).below_zero()
    assert not Estimate(-1, (-2, 0.1), (-3, -0.1)).below_zero()
    assert not Estimate(-1, (-2, 0.0), None).below_zero() and not Estimate(-1, None, None).below_zero()


def test_resamples_repeat_for_a_seed() -> None:
    values, scenes = drawn(12, 3), ["a", "b", "c"] * 4
    first = Resamples(scenes, seed=4).estimate(mean_of(values))
    assert first == Resamples(scenes, seed=4).estimate(mean_of(values))
    assert first != Resamples(scenes, seed=5).estimate(mean_of(values))
    assert statistics._RESAMPLES >= 2_000  # ends of 95 % stand on 50 values or more
