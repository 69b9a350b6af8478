"""Replaced frames inside ComfyUI: what each pass sees, what comes back, and what is refused."""

import comfy.context_windows
import comfy.sample
import comfy.samplers
import pytest
import refvid_tiny as tiny
import torch
from refvid_in_process import empty_latent, load_model, picture, sample, text, worst
from refvid_test_nodes import tiny_wan22_vae

from refvid.core.controls import CLOCKS, FITS, Controls
from refvid.core.fit import fitted_pictures
from refvid.core.frames import Placed
from refvid.core.guidance import Guidance, Scale, joint
from refvid.core.references import make_reference
from refvid.hosts.comfy import wire
from refvid.hosts.comfy.frames import AttachedFrames, replace_frames
from refvid.hosts.comfy.guiders import renorm_guidance, table_guider
from refvid.hosts.comfy.references import apply_references
from refvid.hosts.comfy.rounding import alike

pytestmark = pytest.mark.comfy
GUIDES = {
    "joint": (joint(Scale(5.0)), False),
    "separate": (Guidance(Scale(2.0), Scale(7.5)), False),
    "renormed": (joint(Scale(7.5)), True),
}


def film(count: int, side: int = 64, seed: int = 0):
    return torch.stack([picture(seed + index, side, side) for index in range(count)])


def texts():
    return [[text(1), {}]], [[text(2, 17), {}]]  # unequal lengths: two passes


def replaced(model, vae, indices, latent=None, clock="own", pictures=None, conds=None):
    (model,), *others = replace_frames(
        [model], *(conds or texts()), vae, latent or empty_latent(),
        Placed(film(len(indices)) if pictures is None else pictures, indices, clock),
    )  # fmt: skip
    return model, *others


def guided(given, how: str = "joint", sampler: str = "euler", steps: int = 4):
    """The run with noise seed 5, and what every call of the diffusion model saw."""
    model, positive, negative, latent = given
    guidance, renorm = GUIDES[how]
    model, seen = model.clone(), []

    def listen(executor, x, timestep, *args, **kwargs):
        seen.append((x.clone(), timestep.clone()))
        return executor(x, timestep, *args, **kwargs)

    model.add_wrapper_with_key("diffusion_model", "listen", listen)
    guider = table_guider(renorm_guidance(model, False) if renorm else model, positive, negative, guidance)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)
    noise = comfy.sample.prepare_noise(latent["samples"], 5)
    out = guider.sample(
        noise, latent["samples"], comfy.samplers.sampler_object(sampler), sigmas, disable_pbar=True, seed=5
    )
    return out, seen, sigmas, model.model.process_latent_in(noise * 0 + latent["samples"]), noise


@pytest.mark.parametrize("how", GUIDES)
@pytest.mark.parametrize("indices", [[0], [0, 1, 2, 3, 4], [0, 8], [5, 6, 7, 8]])
def test_replaced_frames_come_back_untouched_and_the_others_are_made(t2v, vae, how, indices):
    given = replaced(t2v, vae, indices)
    out, *_ = guided(given, how)
    places = given[1][0][1][wire.key(AttachedFrames, "replaced")]
    wanted = given[3]["samples"]
    assert worst(out[:, :, places], wanted[:, :, places]) < 1e-6
    assert out[:, :, ~places].abs().mean() > 0.1


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "uni_pc", "euler_ancestral", "res_multistep"])
def test_every_sampler_ends_in_the_given_frames(t2v, vae, sampler):
    given = replaced(t2v, vae, [0, 8])
    out, *_ = guided(given, sampler=sampler)
    assert worst(out[:, :, [0, 2]], given[3]["samples"][:, :, [0, 2]]) < 1e-6


@pytest.mark.parametrize("clock", ["own", "shared"])
def test_a_pass_with_frames_sees_them_clean_and_the_null_pass_sees_them_noised(t2v, vae, clock):
    _, seen, sigmas, clean, noise = guided(replaced(t2v, vae, [0, 8], clock=clock))
    assert len(seen) == 8
    for step, sigma in enumerate(sigmas[:-1]):
        both = seen[2 * step : 2 * step + 2]
        shown = [worst(x[:, :, [0, 2]], clean[:, :, [0, 2]]) < 1e-6 for x, _ in both]
        assert sorted(shown) == [False, True]
        (x, clock_of) = both[shown.index(True)]
        (null, null_clock) = both[shown.index(False)]
        noised = (1 - sigma) * clean + sigma * noise
        assert worst(null[:, :, [0, 2]], noised[:, :, [0, 2]]) < 1e-5
        assert torch.equal(x[:, :, 1], null[:, :, 1])
        level = sigma * 1000
        torch.testing.assert_close(null_clock, level.expand(1))
        expected = torch.stack([level * 0, level, level * 0])[None] if clock == "own" else level.expand(1)
        torch.testing.assert_close(clock_of, expected)


def test_a_first_frame_equals_cores_own_on_ti2v(tmp_path):
    sizes = tiny.config(48, 48)
    model = load_model(tiny.save_dit(tmp_path, "ti2v.safetensors", sizes, tiny.dit_state(sizes)))
    vae, latent = tiny_wan22_vae(), empty_latent(channels=48)
    side = 8 * vae.spacial_compression_encode()
    given = replaced(model, vae, [0], latent, pictures=film(1, side))
    ours = sample(given[0], given[1], given[2], given[3], cfg=4.0)
    mask = torch.ones(1, 1, 3, 8, 8)
    mask[:, :, 0] = 0
    core = sample(model, *texts(), {**given[3], "noise_mask": mask}, cfg=4.0)
    assert worst(ours, core) < 1e-5
    free = sample(model, *texts(), latent, cfg=4.0)
    assert worst(ours[:, :, 1:], free[:, :, 1:]) > 1e-3


def test_beside_a_reference_a_batch_of_two_equals_each_alone(t2v, vae):
    latent = empty_latent(batch=2)
    out = apply_references(
        t2v, None, *texts(), vae, latent, [make_reference(picture(3), None, Controls(0.5))], "saber"
    )
    model, positive, negative, both = replaced(
        out.model, vae, [0, 8], latent, conds=(out.positive, out.negative)
    )
    noise = comfy.sample.prepare_noise(both["samples"], 5)
    together = sample(model, positive, negative, both, noise=noise)
    for row in range(2):
        alone = sample(
            model, positive, negative, {"samples": both["samples"][:1]}, noise=noise[row : row + 1]
        )
        assert worst(together[row : row + 1], alone) < 1e-4


def test_context_windows_see_their_own_frames(t2v, vae):
    latent = empty_latent(frames=6)
    given = replaced(t2v, vae, [0, 20], latent)
    model = given[0].clone()
    model.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("flat"),
        context_length=3, context_overlap=1, dim=2,
    )  # fmt: skip
    out = sample(model, given[1], given[2], given[3])
    assert worst(out[:, :, [0, 5]], given[3]["samples"][:, :, [0, 5]]) < 1e-6
    assert worst(out, sample(given[0], given[1], given[2], given[3])) > 1e-3


def test_frames_given_in_two_steps_are_frames_given_at_once(t2v, vae):
    pictures = film(2)
    once = replaced(t2v, vae, [0, 8], pictures=pictures)
    first = replaced(t2v, vae, [0], pictures=pictures[:1])
    twice = replaced(first[0], vae, [8], first[3], pictures=pictures[1:], conds=first[1:3])
    assert torch.equal(
        sample(once[0], once[1], once[2], once[3]), sample(twice[0], twice[1], twice[2], twice[3])
    )
    with pytest.raises(ValueError, match="share a latent frame"):
        replaced(first[0], vae, [0], first[3], conds=first[1:3])


def test_a_negative_without_the_frames_leaves_them_as_they_were_given(t2v, vae):
    model, positive, _, latent = replaced(t2v, vae, [0])
    out = sample(model, positive, texts()[1], latent, cfg=5.0)
    assert worst(out[:, :, 0], latent["samples"][:, :, 0]) < 1e-6


@pytest.mark.parametrize("fit", FITS)
def test_pictures_of_any_size_are_fitted_to_the_video(t2v, vae, fit):
    wide = film(1, 48)[:, :30]
    given = Placed(wide, [0], CLOCKS[0], fit)
    *_, latent = replace_frames([t2v], *texts(), vae, empty_latent(), given)
    *_, wanted = replaced(t2v, vae, [0], pictures=fitted_pictures(wide, 64, 64, fit))
    assert torch.equal(latent["samples"], wanted["samples"])


def test_what_frames_cannot_go_with_is_refused_by_name(t2v, vae, folder, tmp_path):
    sizes = tiny.config()
    vace = load_model(tiny.save_dit(folder, "vace.safetensors", sizes, tiny.vace_state(sizes)))
    with pytest.raises(ValueError, match="clock is own, but model is a VACE model"):
        replaced(vace, vae, [0])
    model, positive, negative, latent = replaced(vace, vae, [0], clock="shared")
    out = sample(model, positive, negative, latent)
    assert worst(out[:, :, 0], latent["samples"][:, :, 0]) < 1e-6
    assert worst(out[:, :, 1:], sample(vace, *texts(), empty_latent())[:, :, 1:]) > 1e-3
    wide = tiny.config(in_channels=36)
    fun = load_model(tiny.save_dit(tmp_path, "fun.safetensors", wide, tiny.dit_state(wide)))
    with pytest.raises(ValueError, match=r"model takes 36 input channels.*WanImageToVideo"):
        replaced(fun, vae, [0])
    model, positive, negative, _ = replaced(t2v, vae, [0])
    with pytest.raises(ValueError, match="frames were replaced for one of 3"):
        sample(model, positive, negative, empty_latent(frames=4))
    other = replaced(t2v, vae, [0], pictures=film(1, seed=9))
    with pytest.raises(ValueError, match="different replaced frames"):
        sample(model, positive, other[2], empty_latent())


def test_latents_of_the_same_pictures_agree_but_for_rounding_and_others_do_not():
    latent = torch.rand(1, 16, 3, 4, 4)
    other = latent.clone()
    other[0, 5, 1, 2, 3] += 0.03
    assert alike(latent, latent + 0.01) and alike(latent, latent.double())
    assert not alike(latent, other) and not alike(latent, latent[:, :, :2])
