"""Parity of the hosts: same files, same inputs, same numbers, for every recipe and backbone."""

from dataclasses import replace

import comfy.conds
import comfy.sample
import pytest
import refvid_in_process as run
import refvid_riders as plain
import refvid_stand_in as stand_in
import refvid_tiny as tiny
import torch

from refvid.backbones.wan.geometry import WAN_2_2
from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.backbones.wan.sampler import flow_sigmas, sample_euler
from refvid.backbones.wan.text import load_text_encoder
from refvid.core.controls import Controls, StepWindow
from refvid.core.frames import CLOCKS, Placed
from refvid.core.guidance import CONDITIONED, Guidance, Scale, joint
from refvid.core.recipes import RECIPES, recipe_named
from refvid.core.references import arrange, make_reference
from refvid.hosts.comfy import wire
from refvid.hosts.comfy.backbone import load_comfy_text_encoder, with_shift
from refvid.hosts.comfy.evaluation import TailRule
from refvid.hosts.comfy.frames import replace_frames
from refvid.hosts.comfy.guiders import renorm_guidance, table_guider
from refvid.hosts.comfy.install import install
from refvid.hosts.comfy.references import References, apply_references
from refvid.hosts.plain import tail as plain_tail

pytestmark = pytest.mark.comfy

BACKBONES = {
    "t2v": tiny.config(),
    "fun-inp": tiny.config(in_channels=36),
    "i2v": tiny.config(in_channels=36, image_width=1280),
}
BEHIND = [name for name in RECIPES if recipe_named(name).carrier == "behind"]
CASES = [("t2v", recipe) for recipe in BEHIND] + [("fun-inp", "saber"), ("i2v", "saber")]
SHIFT = 5.0


class Twin:
    """One set of files, loaded by both hosts."""

    def __init__(self, folder, name):
        self.folder = folder
        sizes = BACKBONES[name]
        path = tiny.save_dit(folder, f"{name}.safetensors", sizes, tiny.dit_state(sizes))
        vae = tiny.save_vae(folder)
        self.comfy, self.comfy_vae = with_shift(run.load_model(path), SHIFT), run.load_vae(vae)
        self.plain, self.plain_vae = load_dit(path)[0], load_vae(vae)


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: Twin(folder, name) for name in BACKBONES}


def references():
    mask = torch.zeros(48, 80)
    mask[:, :30] = 1
    return [
        make_reference(run.picture(3, 48, 80), mask),
        make_reference(run.picture(4), None, Controls(0.5)),
        make_reference(run.picture(5, 33, 20)),
    ]


def chosen(recipe):
    """References, as many as the recipe takes."""
    return references()[: recipe_named(recipe).max_references]


def applied(twin, recipe):
    """The ComfyUI side and the plain side of the same conditioning."""
    texts = {"positive": run.text(1), "negative": run.text(2)}
    sizes = twin.plain.config
    out = apply_references(
        stand_in.fitted(twin.comfy, recipe_named(recipe), sizes, twin.folder), None, [[texts["positive"], {}]], [[texts["negative"], {}]], twin.comfy_vae,
        run.empty_latent(), chosen(recipe), recipe,
    )  # fmt: skip
    encoded = plain.encode_references(
        twin.plain, twin.plain_vae, chosen(recipe), recipe_named(recipe), (3, 8, 8),
        stand_in.needed(recipe_named(recipe), sizes),
    )  # fmt: skip
    masked_input = twin.plain.config.in_channels == 36
    padding = plain.grey_padding(twin.plain_vae, 9, 64, 64) if masked_input else None
    return out, plain.condition(texts, encoded, padding)


@pytest.mark.parametrize(("backbone", "recipe"), CASES)
def test_one_evaluation_agrees(twins, backbone, recipe):
    twin = twins[backbone]
    out, condition = applied(twin, recipe)
    latent = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(7))
    ours = plain.velocity(twin.plain, latent, torch.tensor(0.6), condition, CONDITIONED)
    got = run.velocity_at(out.model, out.positive, out.negative, latent, 0.6)
    assert run.worst(ours, got) < 1e-5
    bare = plain.velocity(
        twin.plain,
        latent,
        torch.tensor(0.6),
        plain.Condition(condition.texts, padding=condition.padding),
        CONDITIONED,
    )
    assert run.worst(ours, bare) > 1e-3  # the references do something


@pytest.mark.parametrize(("backbone", "recipe"), CASES)
def test_a_whole_run_with_joint_guidance_agrees(twins, backbone, recipe):
    twin = twins[backbone]
    out, condition = applied(twin, recipe)
    noise = comfy.sample.prepare_noise(run.empty_latent()["samples"], 5)
    guider = table_guider(out.model, out.positive, out.negative, joint(Scale(3.0)))
    got = run.sample(out.model, None, None, run.empty_latent(), steps=6, guider=guider)
    velocity = plain.guided_velocity(twin.plain, condition, joint(Scale(3.0)))
    ours = sample_euler(velocity, noise, flow_sigmas(6, SHIFT))
    assert run.worst(raw(ours), got) < 1e-3


GUIDANCES = {
    "separate": Guidance(Scale(1.5), Scale(4.0)),
    "early": joint(Scale(4.0, StepWindow(0.0, 0.6, fade_out=0.4))),
    "text alone, then both": Guidance(Scale(3.0, StepWindow(0.5, 1.0)), Scale(3.0)),
    "renormed": Guidance(Scale(7.0), Scale(7.0), "clip"),
    "separate, renormed by frame": Guidance(Scale(2.0), Scale(7.0), "frames"),
}


@pytest.mark.parametrize("name", GUIDANCES)
def test_every_guidance_agrees(twins, name):
    twin, guidance = twins["t2v"], GUIDANCES[name]
    out, condition = applied(twin, "saber")
    noise = comfy.sample.prepare_noise(run.empty_latent()["samples"], 5)
    model = out.model if guidance.renorm == "off" else renorm_guidance(out.model, guidance.renorm == "frames")
    guider = table_guider(model, out.positive, out.negative, guidance)
    got = run.sample(model, None, None, run.empty_latent(), steps=6, guider=guider)
    ours = sample_euler(
        plain.guided_velocity(twin.plain, replace(condition, shift=SHIFT), guidance),
        noise,
        flow_sigmas(6, SHIFT),
    )
    assert run.worst(raw(ours), got) < 1e-3


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("indices", [[0], [0, 8], [5, 6, 7, 8]])
@pytest.mark.parametrize("guidance", [joint(Scale(3.0)), Guidance(Scale(2.0), Scale(6.0), "clip")])
def test_given_frames_beside_references_agree(twins, clock, indices, guidance):
    """Tokens keep the clock of its own frame on both hosts, references the video's."""
    twin = twins["t2v"]
    out, condition = applied(twin, "saber")
    placed = Placed(torch.stack([run.picture(40 + index) for index in indices]), indices, clock)
    (model,), positive, negative, latent = replace_frames(
        [out.model], out.positive, out.negative, twin.comfy_vae, run.empty_latent(), placed
    )
    frames = plain.encode_frames(twin.plain_vae, placed, run.empty_latent()["samples"])
    condition = plain.with_riders(replace(condition, shift=SHIFT), frames)
    at = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(7))
    got = run.velocity_at(model, positive, negative, at, 0.6)
    assert run.worst(plain.velocity(twin.plain, at, torch.tensor(0.6), condition, CONDITIONED), got) < 1e-5
    if guidance.renorm != "off":
        model = renorm_guidance(model, guidance.renorm == "frames")
    guider = table_guider(model, positive, negative, guidance)
    noise = comfy.sample.prepare_noise(latent["samples"], 5)
    ours = sample_euler(plain.guided_velocity(twin.plain, condition, guidance), noise, flow_sigmas(6, SHIFT))
    theirs = run.sample(model, None, None, latent, steps=6, guider=guider)
    assert run.worst(raw(ours), theirs) < 1e-3
    assert (
        run.worst(ours[:, :, frames.given.replaced], frames.given.latent[:, :, frames.given.replaced]) < 1e-5
    )


def test_a_null_pass_that_keeps_its_references_agrees(twins):
    twin = twins["t2v"]
    out, condition = applied(twin, "saber")
    noise = comfy.sample.prepare_noise(run.empty_latent()["samples"], 5)
    ours = sample_euler(
        plain.guided_velocity(twin.plain, condition, Guidance(Scale(1.0), Scale(3.0))),
        noise,
        flow_sigmas(4, SHIFT),
    )
    assert (
        run.worst(raw(ours), run.sample(out.model, out.positive, out.negative, run.empty_latent(), cfg=3.0))
        < 1e-3
    )


def test_a_timestep_per_frame_agrees_on_a_48_channel_backbone_with_references(tmp_path):
    sizes = tiny.config(in_channels=48, out_channels=48)
    path = tiny.save_dit(tmp_path, "ti2v.safetensors", sizes, tiny.dit_state(sizes))
    patcher, dit = run.load_model(path), load_dit(path)[0]
    generator = torch.Generator().manual_seed(3)
    latent, reference, context = (
        torch.randn(*s, generator=generator) for s in ((1, 48, 3, 8, 8), (1, 48, 1, 8, 8), (1, 12, 32))
    )
    arranged = arrange([torch.ones(128, 128)], [Controls(0.5)], recipe_named("saber"), WAN_2_2)
    sigma = torch.tensor([[0.0, 0.7, 0.7]])
    encoded = plain.ReferencesRider(arranged, (reference,))
    ours = plain.velocity(dit, latent, sigma, plain.condition({"positive": context}, encoded), CONDITIONED)
    module = install(patcher, References)
    weaker = torch.full((1, len(arranged.keep)), 0.5).log()
    options = {**module.model_options["transformer_options"], "wrappers": module.wrappers}
    with torch.no_grad():
        got = module.model.diffusion_model(
            latent, sigma * 1000, context, transformer_options=options,
            **wire.pack(References((reference,))),
            **wire.pack(TailRule(arranged.keep[None], arranged.layout, "auto", "bias", weaker)),
        )  # fmt: skip
    assert run.worst(ours, got) < 1e-5


@pytest.mark.parametrize("frames", [1, 5, 17])
def test_the_vaes_agree(twins, frames):
    twin = twins["t2v"]
    clip = torch.rand(frames, 64, 48, 3, generator=torch.Generator().manual_seed(frames))
    ours = twin.plain_vae.encode(clip.movedim(-1, 0)[None] * 2 - 1)
    got = twin.comfy_vae.encode(clip)
    assert run.worst(raw(ours), got) < 1e-4
    assert run.worst(twin.plain_vae.decode(ours).clamp(-1, 1), pixels(twin.comfy_vae, got)) < 1e-4


def test_the_text_encoders_agree(tmp_path):
    path = tiny.save_text_encoder(tmp_path)
    prompts = ["a toy moving right on dark background", "a Ring standing still on meadow background", ""]
    clip, ours = load_comfy_text_encoder(str(path)), load_text_encoder(path)
    for prompt in prompts:
        got = clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0][0]
        assert got.shape == (1, 512, tiny.TEXT_WIDTH)
        assert run.worst(ours.encode([prompt]), got) < 1e-5


@pytest.mark.parametrize("steps", [1, 4, 7, 20, 30])
@pytest.mark.parametrize("shift", [1.0, 5.0])
def test_the_schedules_agree(twins, steps, shift):
    sampling = with_shift(twins["t2v"].comfy, shift).get_model_object("model_sampling")
    core = run.comfy.samplers.calculate_sigmas(sampling, "simple", steps)
    assert run.worst(flow_sigmas(steps, shift), core) < 1e-6


def raw(latent):
    """The plain side's normalised latent as ComfyUI stores it."""
    vae = tiny.WanVAE(2)
    return latent * vae.deviation + vae.mean


def pixels(vae, latent):
    """ComfyUI's decoded pictures in the plain side's layout and range."""
    video = vae.decode(latent)
    return (video if video.ndim == 5 else video[None]).movedim(-1, 1) * 2 - 1


@pytest.mark.parametrize("recipe", ["videomaker", "videomaker_no_text"])
def test_what_a_run_keeps_of_a_reference_that_reads_only_itself_changes_nothing_on_either_host(
    twins, recipe, monkeypatch
):
    twin = twins["t2v"]
    given = [make_reference(run.picture(3, 48, 80), None, Controls(0.5, sees="itself"))]
    monkeypatch.setitem(globals(), "chosen", lambda recipe: given)
    out, condition = applied(twin, recipe)
    noise = comfy.sample.prepare_noise(run.empty_latent()["samples"], 5)
    guider = table_guider(out.model, out.positive, out.negative, joint(Scale(3.0)))
    got = run.sample(out.model, None, None, run.empty_latent(), steps=6, guider=guider)
    made = []
    for keeps in (True, False):
        monkeypatch.setattr(plain_tail, "recalling", plain_tail.recalling if keeps else lambda tail, *_: tail)
        velocity = plain.guided_velocity(twin.plain, condition, joint(Scale(3.0)))
        made.append(sample_euler(velocity, noise, flow_sigmas(6, SHIFT)))
    assert run.worst(*made) < 1e-4
    assert run.worst(raw(made[0]), got) < 1e-3
