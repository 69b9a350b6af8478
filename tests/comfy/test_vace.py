"""VACE's own reference frames under control, in ComfyUI's own model."""

from dataclasses import replace

import comfy.context_windows
import comfy.sd
import pytest
import refvid_tiny as tiny
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_wan import TrimVideoLatent, WanVaceToVideo
from refvid_in_process import (
    empty_latent,
    in_float64,
    load_model,
    picture,
    sample,
    text,
    velocity_at,
    worst,
)
from refvid_vace import PublishedVace

from refvid.core.controls import Controls, FrameWindow, StepWindow
from refvid.core.frames import Placed
from refvid.core.guidance import Scale, joint
from refvid.core.references import make_reference
from refvid.hosts.comfy.backbone import with_shift
from refvid.hosts.comfy.frames import replace_frames
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.references import apply_references

pytestmark = pytest.mark.comfy
CONTROL = torch.rand(9, 64, 64, 3, generator=torch.Generator().manual_seed(6))


@pytest.fixture(scope="module")
def model(folder):
    sizes = tiny.config()
    return load_model(tiny.save_dit(folder, "vace.safetensors", sizes, tiny.vace_state(sizes)))


def texts():
    return [[text(1), {}]], [[text(2), {}]]


def cores(vae, reference=None, control=None, strength=0.7, side=64):
    """Conditions and latent of core's own node."""
    return WanVaceToVideo.execute(*texts(), vae, side, side, 9, 1, strength, control, None, reference).result


def apply(model, vae, references, given=None, null="recipe", **more):
    positive, negative, latent, _ = given or (*texts(), empty_latent(), 0)
    return apply_references(model, None, positive, negative, vae, latent, references, "vace", null, **more)


def run(out, **more):
    samples = sample(out.model, out.positive, out.negative, out.latent, **more)
    return TrimVideoLatent.execute({"samples": samples}, out.trim).result[0]["samples"]


@pytest.mark.parametrize("given", [True, False])
def test_a_neutral_reference_is_core_own_to_the_last_bit(model, vae, given):
    shown = CONTROL if given else None
    positive, negative, latent, trim = cores(vae, picture(3)[None], shown)
    samples = sample(model, positive, negative, latent)
    wanted = TrimVideoLatent.execute({"samples": samples}, trim).result[0]["samples"]
    out = apply(model, vae, [make_reference(picture(3))], cores(vae, None, shown))
    assert out.trim == trim == 1 and out.latent["samples"].shape == latent["samples"].shape
    assert torch.equal(run(out), wanted)


def test_a_neutral_reference_without_a_control_is_that_of_a_grey_one(model, vae):
    positive, negative, latent, trim = cores(vae, picture(3)[None], strength=1.0)
    wanted = sample(model, positive, negative, latent)[:, :, trim:]
    assert torch.equal(run(apply(model, vae, [make_reference(picture(3))])), wanted)


# ---- against the published forward

FRAMES, EACH, SIGMA = 3, 16, 1 / 64  # late: timesteps are waves in float32, whose phase is off by more early
LEFT = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)


def table(*references: dict, video: torch.Tensor | None = None) -> torch.Tensor:
    """(L, L), what is added to the logit of each query over each key: a reference has a weight, shown tokens
    (16,) bool, where in the video it acts (48,) bool, and what it sees."""
    front = EACH * len(references)
    length = front + FRAMES * EACH
    made = torch.zeros(length, length, dtype=torch.float64)
    for index, one in enumerate(references):
        own = slice(index * EACH, (index + 1) * EACH)
        made[:, own] += one.get("weight", torch.zeros(EACH))
        made[:, own] += torch.where(one.get("shown", torch.ones(EACH, dtype=torch.bool)), 0.0, -torch.inf)
        acts = one.get("acts", torch.ones(FRAMES * EACH, dtype=torch.bool))
        made[front:, own] += torch.where(acts, 0.0, -torch.inf)[:, None]
    sees = [one.get("sees", "all") for one in references]
    for query, says in enumerate(sees):
        rows = slice(query * EACH, (query + 1) * EACH)
        for key, other in enumerate(sees):
            if query != key and not says == other == "all":
                made[rows, key * EACH : (key + 1) * EACH] = -torch.inf
        if says == "itself":
            made[rows, front:] = -torch.inf
    return made


def half(tokens: bool = True) -> torch.Tensor:
    """The left half of a frame's tokens."""
    return torch.arange(EACH) % 4 < 2


EARLY = StepWindow(0.0, 0.5)
CASES = {
    "neutral": ([Controls(), Controls()], [None, None], [None, None], [{}, {}]),
    "strengths": (
        [Controls(0.5), Controls(2.0)], [None, None], [None, None],
        [{"weight": torch.full((EACH,), 0.5).log()}, {"weight": torch.full((EACH,), 2.0).log()}],
    ),
    "a mask": ([Controls(), Controls()], [LEFT, None], [None, None], [{"shown": half()}, {}]),
    "a soft mask with a strength": (
        [Controls(), Controls(0.5, soft=True)], [None, 0.75 * LEFT], [None, None],
        [{}, {"shown": half(), "weight": torch.full((EACH,), 0.375).log()}],
    ),
    "a region": (
        [Controls(), Controls(0.5)], [None, None], [LEFT, None],
        [{"acts": half().repeat(FRAMES)}, {"weight": torch.full((EACH,), 0.5).log()}],
    ),
    "frames of the video": (
        [Controls(frames=FrameWindow(1, 4)), Controls()], [None, LEFT], [None, None],
        [{"acts": torch.arange(FRAMES * EACH) // EACH == 1}, {"shown": half()}],
    ),
    "outside of its steps": (
        [Controls(steps=EARLY), Controls()], [None, None], [None, None],
        [{"shown": torch.zeros(EACH, dtype=torch.bool)}, {}],
    ),
    "sees the video, and itself": (
        [Controls(sees="video"), Controls(sees="itself")], [None, None], [None, None],
        [{"sees": "video"}, {"sees": "itself"}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_control_is_the_published_forward_with_weights_and_infinities(model, vae, name):
    controls, masks, regions, says = CASES[name]
    references = [
        make_reference(picture(3 + k), mask, one, region)
        for k, (mask, one, region) in enumerate(zip(masks, controls, regions, strict=True))
    ]
    out = apply(model, vae, references, cores(vae, None, CONTROL))
    x = torch.randn(1, 16, 2 + FRAMES, 8, 8, generator=torch.Generator().manual_seed(9))
    with in_float64(model) as made:
        model.model.diffusion_model.vace_patch_embedding.float()
        velocity_at(out.model, out.positive, out.negative, x, SIGMA)
        model.model.diffusion_model.vace_patch_embedding.double()
    hint = torch.cat(
        [inside(model, out.positive[0][1]["vace_frames"][0]), out.positive[0][1]["vace_mask"][0]], 1
    )
    published = PublishedVace(tiny.vace_state(tiny.config()))
    wanted = published.velocity(x[0], hint[0], text(1)[0], 1000 * SIGMA, table(*says), 0.7)
    assert made[0].dtype == torch.float64 and worst(made[0][0], wanted) < 1e-6


def inside(model, latents):
    return torch.cat([model.model.process_latent_in(part) for part in latents.split(16, dim=1)], dim=1)


# ---- beside what else a model carries


def controlled(strength=0.5):
    """Two references under control: weights, a mask, a region and what one sees."""
    return [
        make_reference(picture(3), LEFT, Controls(strength)),
        make_reference(picture(4), None, Controls(1.5, sees="video"), LEFT),
    ]


@pytest.fixture(scope="module")
def out(model, vae):
    return apply(model, vae, controlled())


@pytest.fixture(scope="module")
def plainly(out):
    return run(out, steps=2)


def test_what_is_asked_of_references_acts_on_the_video(model, vae, plainly):
    assert torch.isfinite(plainly).all() and plainly.shape[2] == FRAMES
    neutral = apply(model, vae, [make_reference(picture(3)), make_reference(picture(4))])
    assert worst(plainly, run(neutral, steps=2)) > 1e-3
    swapped = apply(model, vae, controlled()[::-1])
    assert worst(plainly, run(swapped, steps=2)) > 1e-3


def test_a_weak_reference_is_not_a_weak_control(model, vae):
    given = [cores(vae, None, CONTROL, strength) for strength in (0.7, 0.2)]
    weak, control = (
        run(apply(model, vae, [make_reference(picture(3), None, Controls(one))], base), steps=2)
        for one, base in ((0.2, given[0]), (1.0, given[1]))
    )
    assert worst(weak, control) > 1e-3


@pytest.mark.parametrize("name", ["eager", "deterministic"])
def test_every_attention_path_says_the_same(model, vae, plainly, name):
    assert worst(run(apply(model, vae, controlled(), attention=name), steps=2), plainly) < 1e-4


def test_an_override_and_block_patches_of_others_run_before_and_after(model, vae, plainly):
    """What they ask is nothing; each is called, in the blocks and in the hint branch."""
    calls = {"override": 0, "before": 0, "after": 0}

    def override(kernel, *args, **kwargs):
        calls["override"] += 1
        return kernel(*args, **kwargs)

    def patch(name, previous=None):
        def run_block(args, extra):
            calls[name] += 1
            return extra["original_block"](args) if previous is None else previous(args, extra)

        return run_block

    first = model.clone()
    first.model_options["transformer_options"]["optimized_attention_override"] = override
    first.set_model_patch_replace(patch("before"), "dit", "double_block", 1)
    made = apply(first, vae, controlled())
    ours = made.model.model_options["transformer_options"]["patches_replace"]["dit"][("double_block", 0)]
    made.model.set_model_patch_replace(patch("after", ours), "dit", "double_block", 0)
    assert worst(run(made, steps=2), plainly) < 1e-4
    assert calls["before"] == calls["after"] > 0
    assert calls["override"] > 2 * 2 * 2 * calls["before"]  # two of each block, more where in parts


def test_a_pack_that_runs_attention_in_parts_is_refused(model, vae):
    made = apply(model, vae, controlled())

    def chunked(args, extra):
        options = args["transformer_options"]
        inner = options["optimized_attention_override"]

        def override(kernel, query, key, value, *rest, **kwargs):
            parts = [inner(kernel, part, key, value, *rest, **kwargs) for part in query.chunk(2, dim=1)]
            return torch.cat(parts, dim=1)

        options = {**options, "optimized_attention_override": override}
        return previous({**args, "transformer_options": options}, extra)

    previous = made.model.model_options["transformer_options"]["patches_replace"]["dit"][("double_block", 0)]
    made.model.set_model_patch_replace(chunked, "dit", "double_block", 0)
    with pytest.raises(RuntimeError, match="runs Wan's self-attention in parts"):
        run(made, steps=1)


def test_a_batch_and_passes_apart_are_what_each_is_alone(model, out, plainly):
    noise = torch.randn(2, 16, 2 + FRAMES, 8, 8, generator=torch.Generator().manual_seed(3))
    two = {"samples": torch.zeros(2, 16, 2 + FRAMES, 8, 8)}
    made = sample(out.model, out.positive, out.negative, two, noise=noise, steps=1)
    for row in range(2):
        alone = sample(out.model, out.positive, out.negative, out.latent, noise=noise[row : row + 1], steps=1)
        assert worst(made[row], alone[0]) < 1e-4


def test_conditions_with_other_masks_are_not_run_in_one_batch(model, vae, out):
    """Who sees whom is one rule for all rows."""
    other = apply(model, vae, [controlled()[1], controlled()[0]])
    mixed = sample(out.model, out.positive, other.negative, out.latent, cfg=1.0001, steps=1)
    assert worst(mixed, sample(out.model, out.positive, out.negative, out.latent, cfg=1.0, steps=1)) < 1e-2


def test_a_lora_of_cores_acts_beside_it_as_merged_weights_do(folder, vae, model):
    sizes = tiny.config()
    state, low, merged = tiny.vace_state(sizes), {}, dict(tiny.vace_state(sizes))
    generator = torch.Generator().manual_seed(4)
    for key in ("blocks.0.self_attn.k", "vace_blocks.1.self_attn.v"):
        a, b = torch.randn(4, 96, generator=generator), torch.randn(96, 4, generator=generator)
        low |= {f"diffusion_model.{key}.lora_A.weight": a, f"diffusion_model.{key}.lora_B.weight": b}
        merged[f"{key}.weight"] = state[f"{key}.weight"] + 0.02 * b @ a
    with_lora = comfy.sd.load_lora_for_models(model, None, low, 0.02, 0)[0]
    whole = load_model(tiny.save_dit(folder, "merged.safetensors", sizes, merged))
    assert worst(*(run(apply(one, vae, controlled()), steps=2) for one in (with_lora, whole))) < 1e-4


def test_a_compiled_model_equals_an_eager_one(out, plainly):
    compiled = out.model.clone()
    set_torch_compile_wrapper(
        compiled, backend="eager", options=None, mode=None, fullgraph=True, dynamic=False
    )
    assert worst(run(replace(out, model=compiled), steps=2), plainly) < 1e-4


def test_steps_outside_of_a_window_are_compiled_for_themselves(model, vae):
    late = [make_reference(picture(3), None, Controls(steps=StepWindow(0.6)))]
    made = apply(model, vae, late)
    compiled = made.model.clone()
    set_torch_compile_wrapper(
        compiled, backend="eager", options=None, mode=None, fullgraph=True, dynamic=False
    )
    eager = run(made, steps=2)
    assert worst(run(replace(made, model=compiled), steps=2), eager) < 1e-4
    assert worst(eager, run(apply(model, vae, [make_reference(picture(3))]), steps=2)) > 1e-3


def test_both_experts_take_them(model, vae, plainly):
    made = apply_references(
        model, with_shift(model, 3.0), *texts(), vae, empty_latent(), controlled(), "vace", "recipe"
    )
    assert torch.equal(run(made, steps=2), plainly)
    low = sample(made.low_noise_model, made.positive, made.negative, made.latent, steps=2)
    assert worst(low[:, :, 2:], plainly) > 1e-3 and torch.isfinite(low).all()


def test_references_of_a_second_node_follow_those_of_the_first(model, vae, plainly):
    first = apply(model, vae, controlled()[:1])
    second = apply(first.model, vae, controlled()[1:], (first.positive, first.negative, first.latent, 0))
    assert second.trim == 2 and torch.equal(run(second, steps=2), plainly)


def test_a_noise_mask_leaves_the_frames_in_front_to_the_model(model, vae):
    mask = torch.zeros(1, 1, FRAMES, 8, 8)
    mask[:, :, 1:] = 1
    given = {"samples": torch.randn(1, 16, FRAMES, 8, 8), "noise_mask": mask}
    made = apply(model, vae, controlled()[:1], (*texts(), given, 0))
    assert made.latent["noise_mask"][0, 0, :, 0, 0].tolist() == [1, 0, 1, 1]
    assert worst(run(made, steps=2)[:, :, 0], given["samples"][:, :, 0]) < 1e-5


def test_guiders_keep_them_in_every_pass(model, vae, out):
    guided = table_guider(out.model, out.positive, out.negative, joint(Scale(4.0)))
    made = sample(out.model, None, None, out.latent, guider=guided, steps=2)
    assert torch.equal(made, sample(out.model, out.positive, out.negative, out.latent, steps=2))


def test_nothing_that_acts_changes_nothing(model, vae):
    positive, negative = texts()
    latent = empty_latent()
    made = apply(
        model, vae, [make_reference(picture(3), None, Controls(0.0))], (positive, negative, latent, 0)
    )
    assert made.model is model and made.positive is positive and made.latent is latent and made.trim == 0


# ---- refusals


def test_what_does_not_fit_is_refused_before_anything_is_encoded(model, t2v, vae):
    one = [make_reference(picture(3))]

    class Unused:
        first_stage_model, latent_channels = vae.first_stage_model, vae.latent_channels

        def encode(self, pictures):
            raise AssertionError("encoded")

    def refused(said, references=one, given=None, null="recipe", of=model, low=None):
        positive, negative, latent, _ = given or (*texts(), empty_latent(), 0)
        with pytest.raises(ValueError, match=said):
            apply_references(of, low, positive, negative, Unused(), latent, references, "vace", null)

    refused("model is WAN21, not a VACE model", of=t2v)
    refused("low_noise_model is WAN21, not a VACE model", low=t2v)
    refused("null_pass is drop", null="drop")
    refused("sees is frames", [make_reference(picture(3), None, Controls(sees="frames"))])
    refused("takes at most 8", one * 9)
    refused("reference_image of WanVaceToVideo", given=cores(vae, picture(3)[None]))
    positive, negative, *_ = cores(vae)
    refused("latent has 4 frames of 8x8 cells, the control", given=(positive, negative, empty_latent(4), 0))
    first = apply(model, vae, one)
    refused("connect the latent", given=(first.positive, first.negative, empty_latent(), 0))
    refused("different numbers", given=(first.positive, texts()[1], first.latent, 0))
    other = apply_references(model, None, *texts(), vae, empty_latent(), one, "saber")
    refused(
        "recipe is vace, but the conditioning carries references",
        given=(other.positive, other.negative, empty_latent(), 0),
    )
    with pytest.raises(ValueError, match="recipe is saber, but"):
        apply_references(model, None, first.positive, first.negative, vae, first.latent, one, "saber")


def test_a_run_that_would_lose_them_is_refused(model, t2v, vae, out):
    def refused(said, made=None, on=None, **parts):
        halves = replace(made or out, **parts)
        with pytest.raises(ValueError, match=said):
            sample(on or halves.model, halves.positive, halves.negative, halves.latent, steps=1)

    refused("latent has 3 frames, the conditioning 5, of which 2", latent=empty_latent())
    refused("the other does", negative=texts()[1])
    refused(
        "is WAN21, not a VACE model",
        on=apply_references(t2v, None, *texts(), vae, empty_latent(), controlled(), "saber").model,
    )
    after = WanVaceToVideo.execute(out.positive, out.negative, vae, 64, 64, 9, 1, 1.0).result
    refused("put no other control behind", positive=after[0])
    area = [[words, {**options, "area": (5, 8, 4, 0, 0, 0)}] for words, options in out.positive]
    refused("is set to an area", positive=area)
    windows = out.model.clone()
    windows.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("pyramid"),
        context_length=4, context_overlap=1, dim=2,
    )  # fmt: skip
    refused("model has context windows", model=windows)
    given = Placed(torch.rand(1, 64, 64, 3), (0,), "shared")
    (patched,), positive, negative, latent = replace_frames(
        [out.model], out.positive, out.negative, vae, out.latent, given
    )
    refused(
        "carries replaced frames of Replace Frames",
        model=patched,
        positive=positive,
        negative=negative,
        latent=latent,
    )


def test_text_as_long_as_the_sequence_is_refused(model, out):
    long = [[text(1, 16 * (2 + FRAMES)), options] for _, options in out.positive]
    with pytest.raises(ValueError, match="have 80 tokens, as many as the text"):
        sample(out.model, long, out.negative, out.latent, steps=1)
