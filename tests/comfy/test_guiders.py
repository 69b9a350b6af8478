"""Guiders on ComfyUI's own sampling: their passes, schedules and hooks."""

import logging

import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_custom_sampler import Guider_DualCFG
from refvid_in_process import empty_latent, picture, sample, text, worst

from refvid.core.controls import StepWindow
from refvid.core.guidance import Guidance, Scale, joint
from refvid.core.references import make_reference
from refvid.hosts.comfy.guiders import carrying, renorm_guidance, strip, table_guider
from refvid.hosts.comfy.references import apply_references
from refvid.nodes.guidance import RefVidSeparateGuider

pytestmark = pytest.mark.comfy


@pytest.fixture(scope="module")
def applied(t2v, vae):
    words = ([[text(seed), {}]] for seed in (1, 2))
    return apply_references(t2v, None, *words, vae, empty_latent(), [make_reference(picture(3))], "saber")


def run(applied, guidance: Guidance, model=None, **options):
    guider = table_guider(model or applied.model, applied.positive, applied.negative, guidance)
    return sample(guider.model_patcher, None, None, empty_latent(), guider=guider, **options)


def passes(guider) -> list[list[str]]:
    """Names of the conditions that every step evaluates."""
    seen, calc = [], comfy.samplers.calc_cond_batch

    def listen(model, conds, *args):
        names = {id(value): name for name, value in guider.conds.items()}
        seen.append([names[id(cond)] for cond in conds if cond is not None])
        return calc(model, conds, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comfy.samplers, "calc_cond_batch", listen)
        sample(guider.model_patcher, None, None, empty_latent(), guider=guider)
    return seen


def test_without_conditions_joint_guidance_is_cores_guider_bit_for_bit(t2v):
    positive, negative = ([[text(seed), {}]] for seed in (1, 2))
    guider = table_guider(t2v, positive, negative, joint(Scale(4.0)))
    assert torch.equal(
        sample(t2v, None, None, empty_latent(), guider=guider),
        sample(t2v, positive, negative, empty_latent(), cfg=4.0),
    )


def test_separate_guidance_is_cores_dual_guidance_on_the_same_passes(applied):
    dual = Guider_DualCFG(applied.model)
    dual.set_conds(applied.positive, carrying(applied.negative, applied.positive), strip(applied.negative))
    dual.set_cfg(6.0, 1.5)
    core = sample(applied.model, None, None, empty_latent(), guider=dual)
    assert worst(run(applied, Guidance(Scale(1.5), Scale(6.0))), core) < 1e-4


def test_equal_scales_are_joint_guidance_and_an_image_scale_of_one_guides_by_the_text_alone(applied):
    both = Guidance(Scale(4.0), Scale(4.0, StepWindow(0.0, 1.0)))
    assert torch.equal(run(applied, both), run(applied, joint(Scale(4.0))))
    kept = carrying(applied.negative, applied.positive)
    core = sample(applied.model, applied.positive, kept, empty_latent(), cfg=4.0)
    assert torch.equal(run(applied, Guidance(Scale(1.0), Scale(4.0))), core)


def test_without_a_text_scale_the_references_alone_guide(applied):
    kept = carrying(applied.negative, applied.positive)
    core = sample(applied.model, kept, strip(applied.negative), empty_latent(), cfg=1.5)
    assert torch.equal(run(applied, Guidance(Scale(1.5), Scale(0.0))), core)
    alone = sample(applied.model, kept, strip(applied.negative), empty_latent(), cfg=1.0)
    assert torch.equal(run(applied, Guidance(Scale(1.0), Scale(0.0))), alone)


def test_a_step_evaluates_the_passes_it_needs_and_no_other(applied):
    def of(guidance):
        return passes(table_guider(applied.model, applied.positive, applied.negative, guidance))

    assert of(joint(Scale(1.0))) == [["positive"]] * 4
    assert of(joint(Scale(4.0))) == [["positive", "negative"]] * 4
    assert of(Guidance(Scale(1.5), Scale(4.0))) == [["positive", "negative", "middle"]] * 4
    # At shift 1 steps stand at shares 0, 1/4, 1/2, 3/4.
    early = joint(Scale(4.0, StepWindow(0.0, 0.5)))
    assert of(early) == [["positive", "negative"]] * 2 + [["positive"]] * 2


def test_a_ramp_weighs_every_step_by_its_own_scale(applied):
    rising = Scale(5.0, StepWindow(0.0, 1.0, fade_in=1.0))
    seen = []

    def listen(args):
        seen.append(args["cond_scale"])
        return args["denoised"]

    model = applied.model.clone()
    model.set_model_sampler_post_cfg_function(listen)
    run(applied, joint(rising), model)
    assert seen == pytest.approx([1 + 4 * share for share in (0, 0.25, 0.5, 0.75)], abs=1e-4)


def test_three_passes_run_as_one_batch_where_their_shapes_match(t2v):
    """Passes without references are all of one shape; the model is called once a step."""
    conds = [[[text(seed), {}]] for seed in (1, 2)]
    calls, model = [], t2v.clone()

    def listen(executor, x, *args, **kwargs):
        calls.append(len(x))
        return executor(x, *args, **kwargs)

    model.add_wrapper_with_key("diffusion_model", "listen", listen)
    guider = table_guider(model, *conds, Guidance(Scale(1.5), Scale(4.0)))
    sample(model, None, None, empty_latent(), guider=guider)
    assert calls == [3] * 4


def test_hooks_of_other_packs_run_on_three_passes_and_a_cfg_function_is_refused(applied):
    model, seen = applied.model.clone(), []

    def before(args):
        seen.append(("before", len(args["conds_out"])))
        return [args["conds_out"][0] + 1, *args["conds_out"][1:]]

    def after(args):
        seen.append(("after", worst(args["cond_denoised"], args["uncond_denoised"]) > 0))
        return args["denoised"] * 2

    model.set_model_sampler_pre_cfg_function(before)
    model.set_model_sampler_post_cfg_function(after)
    guidance = Guidance(Scale(1.5), Scale(4.0))
    hooked = run(applied, guidance, model, steps=1)
    assert seen == [("before", 3), ("after", True)]
    assert worst(hooked, run(applied, guidance, steps=1)) > 1
    model = applied.model.clone()
    model.set_model_sampler_cfg_function(lambda args: args["cond"])
    with pytest.raises(ValueError, match="CFG function of another node"):
        run(applied, guidance, model)
    run(applied, joint(Scale(4.0)), model)  # two passes are its business


@pytest.mark.parametrize("per_frame", [False, True])
def test_renorm_gives_the_guided_velocity_the_conditioned_norm_after_other_hooks(applied, per_frame):
    model, seen = applied.model.clone(), []
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * 3)
    model = renorm_guidance(model, per_frame)

    def listen(args):
        sigma = args["sigma"].reshape(-1, 1, 1, 1, 1)
        seen.append([(args["input"] - args[name]) / sigma for name in ("denoised", "cond_denoised")])
        return args["denoised"]

    model.set_model_sampler_post_cfg_function(listen)
    over = (1, 3, 4) if per_frame else (1, 2, 3, 4)
    for guidance in (joint(Scale(7.0)), Guidance(Scale(1.5), Scale(7.0))):
        seen.clear()
        run(applied, guidance, model)
        for guided, conditioned in seen:
            torch.testing.assert_close(
                guided.square().sum(over), conditioned.square().sum(over), rtol=2e-4, atol=0
            )


def test_renorm_leaves_one_pass_bit_for_bit(applied):
    plain = run(applied, joint(Scale(1.0)))
    assert torch.equal(run(applied, joint(Scale(1.0)), renorm_guidance(applied.model, False)), plain)


def test_a_combined_negative_is_refused_where_its_words_are_asked_for(applied):
    negative = [*applied.negative, *applied.negative]
    with pytest.raises(ValueError, match="negative has 2 parts"):
        table_guider(applied.model, applied.positive, negative, Guidance(Scale(1.5), Scale(4.0)))
    table_guider(applied.model, applied.positive, negative, joint(Scale(4.0)))


def test_cores_multigpu_work_units_take_the_passes_of_every_guider(applied):
    """Two devices that are both the CPU, each with weights of its own: one pass or two go to each, and
    nothing changes but the order of sums."""
    if not hasattr(comfy.samplers, "_calc_cond_batch_multigpu"):
        pytest.skip("this ComfyUI splits no passes over devices")
    cpu, calc, units = torch.device("cpu"), comfy.samplers.calc_cond_batch, []
    twin = applied.model.deepclone_multigpu(cpu)
    twin.model.current_patcher = twin
    original = twin.model.apply_model
    twin.model.apply_model = lambda *args, **kwargs: units.append(len(args[0])) or original(*args, **kwargs)
    for guidance in (joint(Scale(4.0)), Guidance(Scale(1.5), Scale(6.0))):
        guider = table_guider(applied.model, applied.positive, applied.negative, guidance)
        alone = sample(guider.model_patcher, None, None, empty_latent(), guider=guider)

        def split(model, conds, x, timestep, options):
            clones = {cpu: model.current_patcher, torch.device("cpu", 1): twin}
            return calc(model, conds, x, timestep, {**options, "multigpu_clones": clones})

        units.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(comfy.samplers, "calc_cond_batch", split)
            shared = sample(guider.model_patcher, None, None, empty_latent(), guider=guider)
        assert units and worst(shared, alone) < 1e-5


# ---- scales as published


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("phantom", (5.0, 7.5)),
        ("skyreels_v3", (1.0, 1.0)),
        ("kaleido", (1.0, 6.0)),
        ("saber", (1.5, 4.0)),
        (None, (1.5, 4.0)),
    ],
)
def test_auto_takes_the_published_scales_of_the_recipe_that_is_carried(t2v, vae, recipe, expected, caplog):
    """Else the given ones, and the log says so."""
    caplog.set_level(logging.INFO)
    model, positive, negative = t2v, *([[text(seed), {}]] for seed in (1, 2))
    if recipe is not None:
        references = [make_reference(picture(3))]
        out = apply_references(t2v, None, positive, negative, vae, empty_latent(), references, recipe)
        model, positive, negative = out.model, out.positive, out.negative
    (guider,) = RefVidSeparateGuider.execute(model, positive, negative, 1.5, 4.0, scales="auto").args
    assert guider._guidance == Guidance(Scale(expected[0]), Scale(expected[1]))
    known = recipe not in ("saber", None)
    assert ("as published" in caplog.text) == known and (
        "no published ones are known" in caplog.text
    ) != known
    (guider,) = RefVidSeparateGuider.execute(model, positive, negative, 1.5, 4.0).args
    assert guider._guidance == Guidance(Scale(1.5), Scale(4.0))
