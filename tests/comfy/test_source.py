"""SAMA in ComfyUI: a source video and semantic tokens beside the video, equal to the plain host."""

import comfy.context_windows
import comfy.k_diffusion.sampling
import comfy.sample
import comfy.samplers
import comfy.utils
import pytest
import refvid_in_process as run
import refvid_riders as plain
import torch
from refvid_sama import FRAMES, SHIFT, SIDE, Editor

import nodes
from refvid.backbones.wan.geometry import GROUP
from refvid.backbones.wan.sampler import flow_sigmas, sample_euler
from refvid.core.controls import Controls
from refvid.core.editing import Windows
from refvid.core.frames import GivenFrames, Placed
from refvid.core.guidance import Guidance, Scale, joint
from refvid.core.references import make_reference
from refvid.core.semantic import first_frames
from refvid.hosts.comfy import wire
from refvid.hosts.comfy.frames import replace_frames
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.install import install
from refvid.hosts.comfy.references import apply_references
from refvid.hosts.comfy.source.edit import with_context_windows
from refvid.hosts.comfy.source.rider import Source
from refvid.hosts.comfy.steps import StepRange, denoise_steps

pytestmark = pytest.mark.comfy
COUNT, FEATURES = 65, 24


@pytest.fixture(scope="module")
def editor(tmp_path_factory) -> Editor:
    return Editor.make(tmp_path_factory.mktemp("sama"))


def latent(frames: int = FRAMES, batch: int = 1):
    return run.empty_latent(frames, SIDE, SIDE, batch=batch)


def edited(editor, model=None, recipe="sama", frames=FRAMES, **how):
    positive, negative = editor.words(recipe)
    return run.sample(model or editor.installed(), positive, negative, latent(frames), **how)


@pytest.mark.parametrize("recipe", ["sama", "in_context"])
@pytest.mark.parametrize("guider", ["core", "joint", "separate"])
def test_a_whole_run_equals_the_plain_host(editor, recipe, guider):
    positive, negative = editor.words(recipe)
    model, chosen = editor.installed(), None
    if guider != "core":
        table = joint(Scale(4.0)) if guider == "joint" else Guidance(Scale(2.0), Scale(4.0))
        chosen = table_guider(model, positive, negative, table)
    got = run.sample(model, positive, negative, latent(), guider=chosen)
    assert run.worst(got, editor.plainly(editor.condition(recipe))) < 1e-3
    bare = run.sample(editor.comfy, [[run.text(1), {}]], [[run.text(2), {}]], latent())
    assert run.worst(got, bare) > 0.1


SAMPLERS = ["euler", "heun", "dpmpp_2m", "res_multistep", "ipndm", "euler_ancestral", "dpmpp_2m_sde"]


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_semantic_tokens_are_integrated_by_the_samplers_own_steps(editor, name):
    """ComfyUI's sampler function itself, on video and tokens joined, with the plain host's velocity."""
    positive, negative = editor.words()
    model, condition = editor.installed(), editor.condition()
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(3.0)
    sigmas = flow_sigmas(5, SHIFT)
    noise = comfy.sample.prepare_noise(latent()["samples"], 5)
    sampler = comfy.samplers.sampler_object(name)
    got = guider.sample(noise, latent()["samples"], sampler, sigmas, disable_pbar=True, seed=5)
    velocity = plain.guided_velocity(editor.dit, condition, joint(Scale(3.0)))

    class Denoiser:
        def __init__(self):
            self.inner_model = self
            self.model_patcher = model
            self.model_sampling = model.get_model_object("model_sampling")
            self.inner_model.inner_model = self

        def __call__(self, x, sigma, **kwargs):
            return x - velocity(x, sigma.flatten()[0]) * sigma.flatten()[0]

    joined = condition.begin(noise, 5)
    torch.manual_seed(0)
    wanted = sampler.sampler_function(
        Denoiser(), joined * sigmas[0], sigmas, extra_args={"seed": 5}, disable=True
    )
    assert run.worst(got, editor.comfy.model.process_latent_out(wanted[:, :, :FRAMES])) < 2e-3


def packed(shown):
    return comfy.utils.pack_latents(shown.unbind())[0] if getattr(shown, "is_nested", False) else shown


def denoised(guider, given, start, end, noise, leftover):
    part = StepRange(6, "euler", "simple", start, end, leftover)
    return denoise_steps(guider, given, part, 5, noise)


@pytest.mark.parametrize("older", [False, True], ids=["", "a ComfyUI that shows nested latents packed"])
def test_two_ranges_equal_one_run_and_hand_the_tokens_on(editor, monkeypatch, older):
    positive, negative = editor.words()
    guider = table_guider(editor.installed(), positive, negative, joint(Scale(4.0)))
    if older:
        real = guider.sample

        def sample(*given, callback, **more):
            return real(
                *given, callback=lambda at, x0, x, of: callback(at, packed(x0), packed(x), of), **more
            )

        monkeypatch.setattr(guider, "sample", sample)
    whole, clean = denoised(guider, latent(), 0, 99, True, False)
    first, _ = denoised(guider, latent(), 0, 3, True, True)
    assert first["samples"].is_nested
    second, second_clean = denoised(guider, first, 3, 99, False, False)
    assert run.worst(second["samples"].unbind()[0], whole["samples"]) < 1e-4
    assert clean["samples"].shape == whole["samples"].shape == second_clean["samples"].shape
    with pytest.raises(ValueError, match="does not hold the semantic tokens"):
        denoised(guider, {"samples": first["samples"].unbind()[0]}, 3, 99, False, False)


def test_two_ranges_of_cores_own_sampler_equal_one_run(editor):
    words = editor.words()
    guider = table_guider(editor.installed(), *words, joint(Scale(4.0)))
    whole, _ = denoised(guider, latent(), 0, 99, True, False)

    def part(given, noise: str, *steps):
        asked = (editor.installed(), noise, 5, 6, 4.0, "euler", "simple", *words, given, *steps)
        return nodes.KSamplerAdvanced().sample(*asked)[0]

    rest = part(part(latent(), "enable", 0, 3, "enable"), "disable", 3, 99, "disable")
    assert run.worst(rest["samples"].unbind()[0], whole["samples"]) < 1e-4


def test_a_long_video_is_evaluated_in_windows_as_on_the_plain_host(editor):
    long, windows = editor.longer(7), Windows(GROUP, 13, 8)
    model = with_context_windows(long.installed(), windows, 7)
    assert "context_handler" not in with_context_windows(long.installed(), windows, 4).model_options
    for recipe in ("sama", "in_context"):
        got = edited(long, model, recipe, frames=7)
        condition = long.condition(recipe, windows=windows)
        assert run.worst(got, long.plainly(condition)) < 1e-3
        assert run.worst(got, long.plainly(long.condition(recipe))) > 1e-2


def test_a_batch_of_two_is_two_runs(editor):
    positive, negative = editor.words()
    got = run.sample(editor.installed(), positive, negative, latent(batch=2))
    noise = comfy.sample.prepare_noise(latent(batch=2)["samples"], 5)
    spare = first_frames((2, 16, FRAMES, SIDE, SIDE), COUNT * FEATURES, 5)
    condition = editor.condition()
    velocity = plain.guided_velocity(editor.dit, condition, joint(Scale(4.0)))
    for row in range(2):
        state = torch.cat([noise, spare], dim=2)[row : row + 1]
        made = sample_euler(velocity, state, flow_sigmas(4, SHIFT))
        wanted = editor.comfy.model.process_latent_out(made[:, :, :FRAMES])
        assert run.worst(got[row : row + 1], wanted) < 1e-3


def test_references_and_replaced_frames_stand_beside_the_source(editor):
    positive, negative = editor.words()
    mask = torch.zeros(64, 64)
    mask[:, :40] = 1
    region = torch.zeros(64, 64)
    region[:, :32] = 1
    given = [make_reference(run.picture(3), mask, Controls(0.5), region), make_reference(run.picture(4))]
    (model,), positive, negative, start = replace_frames(
        [editor.installed()], positive, negative, editor.vae, latent(), Placed(run.picture(8)[None], [0])
    )
    out = apply_references(model, None, positive, negative, editor.vae, start, given, editor.recipe)
    guider = table_guider(out.model, out.positive, out.negative, joint(Scale(4.0)))
    got = run.sample(out.model, None, None, start, guider=guider)
    references = plain.encode_references(
        editor.dit, editor.plain_vae, given, editor.recipe, (FRAMES, SIDE, SIDE)
    )
    seen = editor.comfy.model.process_latent_in(start["samples"])
    frames = GivenFrames(seen * (torch.arange(FRAMES) < 1)[:, None, None], torch.arange(FRAMES) < 1)
    wanted = editor.plainly(editor.condition(references=references, frames=frames))
    assert run.worst(got, wanted) < 1e-3
    assert run.worst(got, edited(editor)) > 1e-2


def test_the_source_is_in_the_memory_estimate(editor):
    seen = []

    def listen(executor, model, shape, *args, **kwargs):
        seen.append(shape)
        return executor(model, shape, *args, **kwargs)

    model = editor.installed()
    model.wrappers["prepare_sampling"]["listen"] = [listen]
    edited(editor, model, steps=1)
    *_, frames, rows, columns = seen[0]
    assert frames * rows * columns >= 2 * FRAMES * SIDE * SIDE


def test_what_cannot_be_is_refused(editor):
    positive, negative = editor.words()
    bare = [[run.text(2), {}]]
    model = editor.installed()
    with pytest.raises(ValueError, match="do not carry the same source"):
        run.sample(model, positive, bare, latent())
    with pytest.raises(ValueError, match=r"latent has 5 frames of 8x8 cells, the source video 3 of 8x8"):
        run.sample(model, positive, negative, latent(5))
    with pytest.raises(ValueError, match="area or a mask"):
        run.sample(
            model, run.with_values(positive, {"area": (4, 4, 0, 0), "strength": 1.0}), negative, latent()
        )
    without = install(editor.comfy, Source)
    without.remove_additional_models(wire.SEMANTIC)
    with pytest.raises(ValueError, match="segment_embedding, siglip_feat_mlp and semantic_head"):
        run.sample(without, positive, negative, latent())
    with pytest.raises(ValueError, match="carries a source video already"):
        editor.attach(positive)


def test_a_step_without_the_model_is_refused_where_semantic_tokens_need_it(editor):
    """As a cache inside of our hooks leaves it out; without them it is no error."""

    def left_out(executor, x, *args, **kwargs):
        return torch.zeros_like(x)

    for recipe in ("in_context", "sama"):
        model = editor.installed().clone()
        model.add_wrapper_with_key("diffusion_model", "a cache", left_out)
        if recipe == "in_context":
            assert torch.isfinite(edited(editor, model, recipe)).all()
        else:
            with pytest.raises(RuntimeError, match="a cache left the model out of a step"):
                edited(editor, model, recipe)


def test_that_an_image_scale_does_not_act_on_a_source_is_said(editor, caplog):
    positive, negative = editor.words("in_context")
    table_guider(editor.installed(), positive, negative, Guidance(Scale(2.0), Scale(4.0)))
    assert "positive carries neither references nor identities nor given frames" in caplog.text
