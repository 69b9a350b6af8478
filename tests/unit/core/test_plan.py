"""Plan of a training run, against counts on fake tensors and torch's own count of work."""

from dataclasses import replace
from functools import cache

import pytest
from refvid_alive import ATTENTIONS, count_blocks, count_step, count_work

from refvid.backbones.wan.dit import DiTConfig, WanDiT
from refvid.backbones.wan.files import planned_from_shapes
from refvid.backbones.wan.loading import on_meta
from refvid.core.lora import matched_layers
from refvid.core.plan import (
    CUDA_CONTEXT,
    GIB,
    PlannedClips,
    PlannedModel,
    TrainingPlan,
    TrainingShape,
    planned_memory,
    planned_work,
)
from refvid.core.plan_report import better, plan_lines, remedy

SMALL = DiTConfig(1536, 8960, 12, 30, 16, 16, 4096)  # Wan 2.1 1.3B
LARGE = DiTConfig(5120, 13824, 40, 40, 16, 16, 4096)  # Wan 2.1 14B
EVERY_LAYER = (*ATTENTIONS, "ffn")


@cache
def model(config: DiTConfig) -> PlannedModel:
    return planned_from_shapes(on_meta(WanDiT, config).state_dict(), config)


def shape(
    config: DiTConfig = SMALL, targets=ATTENTIONS, frames=(81,), references=0, **numbers
) -> TrainingShape:
    buckets = tuple(PlannedClips(length, 480, 832, references) for length in frames)
    changed = tuple(matched_layers(list(model(config).linear), targets))
    return TrainingShape(
        **{"model": model(config), "buckets": buckets, "changed": changed, "card": 24.0, **numbers}
    )


def beside_weights(run: TrainingShape) -> float:
    """Planned bytes of activations and gradients."""
    memory = planned_memory(run, run.largest)
    return memory.inputs + memory.block + 4 * run.trainable


def agree(config: DiTConfig, frames: int, count=count_blocks, **how) -> None:
    run = shape(config, frames=(frames,), **how)
    counted = count(config, run.model.geometry.latent(frames, 480, 832), **how)
    assert beside_weights(run) == pytest.approx(counted, rel=0.02)


@pytest.mark.parametrize("config", [SMALL, LARGE], ids=["1.3B", "14B"])
def test_memory_is_what_is_counted_on_fake_tensors(config):
    agree(config, 81)


@pytest.mark.parametrize("checkpointing", ["blocks", "none"])
def test_memory_is_what_is_counted_where_steps_compute_in_fp32(checkpointing):
    agree(SMALL, 33, cuda=False, wide=True, checkpointing=checkpointing)


@pytest.mark.slow
@pytest.mark.parametrize("frames", [33, 49, 81])
@pytest.mark.parametrize("config", [SMALL, LARGE], ids=["1.3B", "14B"])
@pytest.mark.parametrize("how", [
    {}, {"checkpointing": "none"}, {"targets": EVERY_LAYER}, {"targets": ("cross_attn",)}, {"rank": 128},
    {"targets": EVERY_LAYER, "checkpointing": "none"}, {"batch": 2}, {"references": 1700},
    {"cuda": False}, {"cuda": False, "checkpointing": "none"},
    {"cuda": False, "wide": True}, {"cuda": False, "wide": True, "checkpointing": "none"},
    {"cuda": False, "wide": True, "targets": EVERY_LAYER},
    {"cuda": False, "wide": True, "targets": EVERY_LAYER, "rank": 128},
], ids=str)  # fmt: skip
def test_memory_is_what_is_counted_for_all_settings(config, frames, how):
    agree(config, frames, **how)


@pytest.mark.slow
@pytest.mark.parametrize("config", [SMALL, LARGE], ids=["1.3B", "14B"])
@pytest.mark.parametrize("checkpointing", ["blocks", "none"])
def test_memory_is_what_is_counted_on_every_block(config, checkpointing):
    agree(config, 33, count_step, checkpointing=checkpointing)


@pytest.mark.parametrize("checkpointing", ["blocks", "none"])
def test_work_is_what_torch_counts(checkpointing):
    few = replace(SMALL, layers=4)
    run = shape(few, frames=(33,), references=1700, checkpointing=checkpointing)
    counted = count_work(few, (9, 60, 104), checkpointing, references=1700)
    assert planned_work(run, run.largest) == pytest.approx(counted, rel=0.015)


def test_published_sizes_give_published_parameters_tokens_and_learned_parameters():
    small, large = shape(SMALL), shape(LARGE)
    assert small.model.parameters == 1_418_996_800 and large.model.parameters == 14_288_491_584
    assert [bucket.tokens(small.model.geometry) for bucket in shape(frames=(33, 49, 81)).buckets] == [
        14040,
        20280,
        32760,
    ]
    assert small.trainable == 23_592_960 and large.trainable == 104_857_600


def test_weights_learning_vae_and_context_are_counted_by_their_bytes():
    run = shape(resident=1 << 30, optimizer_bytes=4, weight_bytes=4)
    memory = planned_memory(run, run.largest)
    assert memory.weights == 4 * run.model.parameters
    assert memory.learning == run.trainable * (4 + 4 + 4 + 4)  # LoRA, gradient, average, optimizer
    assert planned_memory(replace(run, average=False), run.largest).learning == run.trainable * 12
    assert memory.resident == GIB and memory.context == CUDA_CONTEXT * GIB
    assert planned_memory(replace(run, cuda=False), run.largest).context == 0
    assert memory.total == sum(vars(memory).values())


def test_largest_bucket_decides_memory_and_shares_decide_time():
    run = shape(frames=(33, 81))
    plan = TrainingPlan(replace(run, buckets=(run.buckets[0], replace(run.buckets[1], share=0.25))))
    short, long = (planned_work(run, bucket) for bucket in run.buckets)
    assert plan.memory == TrainingPlan(shape()).memory
    assert plan.work == pytest.approx((short + 0.25 * long) / 1.25)
    assert plan.seconds == plan.work / 100e12 and plan.hours == pytest.approx(plan.seconds * 3000 / 3600)


def test_accumulated_batches_take_time_and_no_memory():
    one, four = TrainingPlan(shape()), TrainingPlan(shape(accumulate=4))
    assert four.memory == one.memory and four.work == 4 * one.work


def test_state_holds_lora_average_and_moments_and_a_lora_is_fp16():
    plan = TrainingPlan(shape())
    assert plan.state_bytes == plan.shape.trainable * 16 and plan.lora_bytes == plan.shape.trainable * 2


def gib(run: TrainingShape) -> float:
    return planned_memory(run, run.largest).total / GIB


@pytest.mark.parametrize(("run", "words"), [
    (shape(checkpointing="none"), "checkpointing = blocks"),
    (shape(batch=6, accumulate=2, card=20.0), "batch 2 x accumulate 6"),
    (shape(LARGE, card=40.0), "frames = 29"),
    (shape(LARGE, card=36.1, frames=(21,), references=1560), "frames = 17 and width = 752, height = 432"),
    (shape(checkpointing="none", batch=4, card=12.5), "checkpointing = blocks and batch 1 x accumulate 4"),
])  # fmt: skip
def test_what_does_not_fit_names_the_first_setting_that_makes_it_fit(run, words):
    found = remedy(TrainingPlan(run))
    assert found is not None and (found.words, found.plan.fits) == (words, True)
    told = "\n".join(plan_lines(TrainingPlan(run)))
    assert f"{TrainingPlan(run).missing:.1f} GiB are missing; {words} makes it fit" in told


def test_longest_length_that_fits_is_named():
    run = shape(LARGE, card=40.0)
    found = remedy(TrainingPlan(run))
    assert found is not None and found.plan.shape.largest.frames == 29
    assert gib(replace(run, buckets=(replace(run.buckets[0], frames=33),))) > 40 >= gib(found.plan.shape)


def test_shorter_clips_of_several_lengths_are_one_bucket_with_their_shares():
    found = remedy(TrainingPlan(shape(LARGE, card=36.0, frames=(33, 49, 81))))
    assert found is not None and len(found.plan.shape.buckets) == 1 and found.plan.shape.buckets[0].share == 3


def test_weights_that_are_too_large_alone_have_no_remedy():
    plan = TrainingPlan(shape(LARGE))
    assert (
        remedy(plan) is None
        and not plan.fits
        and "no setting here makes it fit" in "\n".join(plan_lines(plan))
    )


def test_price_of_a_remedy_is_its_time():
    plan = TrainingPlan(shape(checkpointing="none"))
    found = remedy(plan)
    assert found is not None
    assert f"{found.plan.seconds / plan.seconds - 1:+.0%} time" in "\n".join(plan_lines(plan))


def test_what_is_left_over_is_used_by_larger_batches_or_by_keeping_everything():
    found = better(TrainingPlan(shape(accumulate=4)))
    assert found is not None and (found.plan.shape.batch, found.plan.shape.accumulate) == (2, 2)
    found = better(TrainingPlan(shape(accumulate=4, card=141.0)))
    assert found is not None and found.words == "checkpointing = none"
    assert better(TrainingPlan(shape())) is None


def test_lines_tell_model_tokens_memory_time_and_disk():
    run = shape(frames=(33, 81), references=1700, accumulate=4, clips=372, exports=6, resident=1 << 28)
    assert plan_lines(TrainingPlan(run)) == [
        "model   LoRA rank 32 on 240 layers of 306: 23.6 M of 1.42 G learn; 30 blocks of width 1536",
        "step    33 frames 832x480: 14,040 video + ~1,700 reference tokens; "
        "81 frames 832x480: 32,760 video + ~1,700 reference tokens",
        "        batch 1 x accumulate 4 = 4 clips; 93 steps an epoch; 3,000 steps = 32.3 epochs",
        "memory  weights 2.6 · block inputs 3.0 · one block 4.1 · learning 0.4 · VAE 0.2 · CUDA 2.0 = 12.3 of "
        "24.0 GiB  (81 frames 832x480)",
        "        could be: batch 2 x accumulate 2",
        "time    3.19 PFLOP a step on average: ~32 s at 100 TFLOP/s; 26.6 h for 3,000 steps",
        "        disk 0.38 GB a state, 0.047 GB a LoRA x 6",
    ]


@pytest.mark.parametrize(("numbers", "said"), [
    ({"rank": 0}, "rank is 0; needed 1 or more"), ({"batch": 0}, "batch is 0"), ({"card": 0.0}, "card is 0.0"),
    ({"accumulate": 0}, "accumulate is 0"), ({"steps": 0}, "steps is 0"),
    ({"teraflops": float("nan")}, "teraflops is nan; needed more than 0"),
    ({"checkpointing": "some"}, "checkpointing is some; needed none or blocks"), ({"buckets": ()}, "no length"),
    ({"changed": ()}, "targets name no layer"), ({"changed": ("blocks.99.x",)}, "targets name blocks.99.x"),
    ({"buckets": (PlannedClips(82, 480, 832),)}, "frames is 82"), ({"buckets": (PlannedClips(81, 480, 830),)}, "width is 830"),
], ids=str)  # fmt: skip
def test_numbers_that_cannot_be_are_refused_by_name(numbers, said):
    with pytest.raises(ValueError, match=said):
        shape(**numbers)
