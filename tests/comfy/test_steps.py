"""Denoise Steps: KSampler (Advanced)'s words, for any guider."""

import comfy.samplers
import pytest
import torch
from refvid_in_process import empty_latent, text, worst

import nodes
from refvid.core.guidance import Scale, joint
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.steps import WITH_HISTORY, StepRange, denoise_steps

pytestmark = pytest.mark.comfy


@pytest.fixture
def model(t2v):
    return t2v


@pytest.fixture
def guider(model):
    return table_guider(model, [[text(1), {}]], [[text(2), {}]], joint(Scale(4.0)))


def run(guider, latent, start=0, end=10000, add_noise=True, leftover=False, sampler="euler", steps=6):
    part = StepRange(steps, sampler, "simple", start, end, leftover)
    return denoise_steps(guider, latent, part, 3, add_noise)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "uni_pc", "res_multistep"])
def test_one_range_equals_core_ksampler_advanced(model, guider, sampler):
    positive, negative = [[text(1), {}]], [[text(2), {}]]
    for start, end, noise, leftover in (
        (0, 10000, "enable", "disable"),
        (0, 3, "enable", "enable"),
        (2, 5, "disable", "disable"),
    ):
        core = nodes.KSamplerAdvanced().sample(
            model, noise, 3, 6, 4.0, sampler, "simple", positive, negative, empty_latent(), start, end, leftover
        )[0]  # fmt: skip
        ours, _ = run(guider, empty_latent(), start, end, noise == "enable", leftover == "enable", sampler)
        assert torch.equal(ours["samples"], core["samples"])


@pytest.mark.parametrize("sampler", ["euler", "heun"])
@pytest.mark.parametrize("split", [1, 3, 5])
def test_two_ranges_equal_one_run(guider, sampler, split):
    whole, clean = run(guider, empty_latent(), sampler=sampler)
    first, _ = run(guider, empty_latent(), end=split, leftover=True, sampler=sampler)
    second, second_clean = run(guider, first, start=split, add_noise=False, sampler=sampler)
    assert worst(second["samples"], whole["samples"]) < 1e-4
    assert worst(second_clean["samples"], clean["samples"]) < 1e-4


def test_samplers_with_history_say_so_when_only_a_range_is_run(guider, caplog):
    run(guider, empty_latent(), sampler="uni_pc")
    assert "uses the steps before" not in caplog.text
    run(guider, empty_latent(), end=3, leftover=True, sampler="uni_pc")
    assert "uni_pc uses the steps before" in caplog.text


@pytest.mark.parametrize(
    "sampler", ["euler", "heun", "dpm_2", "euler_ancestral", "dpmpp_2s_ancestral", "lcm", "ddim"]
)
def test_samplers_without_history_do_not(guider, caplog, sampler):
    run(guider, empty_latent(), end=3, leftover=True, sampler=sampler)
    assert "uses the steps before" not in caplog.text


def test_every_name_in_the_history_list_is_one_of_cores():
    assert set(comfy.samplers.KSampler.SAMPLERS) >= WITH_HISTORY


def test_the_clean_estimate_is_the_result_of_a_finished_run(guider):
    out, clean = run(guider, empty_latent())
    assert worst(out["samples"], clean["samples"]) < 1e-5
    early, early_clean = run(guider, empty_latent(), end=2, leftover=True)
    assert worst(early["samples"], early_clean["samples"]) > 1e-2


@pytest.mark.parametrize(("start", "end"), [(3, 3), (5, 2), (6, 10000), (90, 10000)])
def test_a_range_without_a_step_is_refused(guider, start, end):
    with pytest.raises(ValueError, match="start_at_step"):
        run(guider, empty_latent(), start=start, end=end)


def test_batch_index_and_other_entries_of_the_latent_are_respected(guider):
    latent = {**empty_latent(batch=2), "batch_index": [4, 4], "note": "kept"}
    out, _ = run(guider, latent)
    assert out["note"] == "kept" and worst(out["samples"][:1], out["samples"][1:]) < 1e-5
    assert torch.equal(latent["samples"], torch.zeros_like(latent["samples"]))


def test_a_guider_asked_the_same_again_gives_what_it_made_and_runs_for_anything_else(guider, monkeypatch):
    """As after a failure further down a list of runs: ComfyUI hands the same guider and latent in again."""
    latent = empty_latent()
    first = run(guider, latent)
    runs = []
    monkeypatch.setattr(guider, "sample", lambda *args, **kwargs: runs.append(1) or latent["samples"])
    assert run(guider, latent) is first and runs == []
    for changed in ({"steps": 5}, {"sampler": "heun"}, {"leftover": True, "end": 3}):
        run(guider, latent, **changed)
    run(guider, empty_latent())
    assert len(runs) == 4
