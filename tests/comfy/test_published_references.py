"""Public methods inside ComfyUI's own Wan, in float64, against forwards written from what was published."""

import comfy.context_windows
import comfy.samplers
import pytest
import refvid_tiny as tiny
import torch
from refvid_in_process import empty_latent, in_float64, picture, text, worst
from refvid_published_references import METHODS, MOST, PublishedWan, guided, prepared
from torch import Tensor

from refvid.core.guidance import Guidance, Scale
from refvid.core.references import make_reference
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.references import apply_references

pytestmark = pytest.mark.comfy
SIGMA = 1 / 64  # late: timesteps are waves in float32, whose phase is off by more early
SIZES = ((41, 50), (50, 33), (96, 64))  # odd ones, one wide, one high, one larger than the video
ROWS, COLUMNS = 8, 12
SIDES = [(name, MOST.get(name, 3)) for name in METHODS] + [("skyreels_v3", 1)]
# As small as the noise of that level: what a sampler takes for the velocity is then not rounded away.
VIDEO = torch.randn(2, 16, 3, ROWS, COLUMNS, generator=torch.Generator().manual_seed(9)) * SIGMA
WORDS = {"positive": text(1), "negative": text(2)}


def pictures(count: int) -> list[Tensor]:
    return [picture(3 + k, *size) for k, size in enumerate(SIZES[:count])]


def apply(model, vae, name: str, shown: list[Tensor], latent=None):
    sides = ([[states, {}]] for states in WORDS.values())
    latent = latent or empty_latent(rows=ROWS, columns=COLUMNS)
    return apply_references(model, None, *sides, vae, latent, [make_reference(one) for one in shown], name)


def velocity(guider, video: Tensor) -> Tensor:
    """What a guider says for a latent at one noise level, as a velocity."""
    seen = []

    def step(model, x, sigmas, extra_args, callback, disable):
        level = x.new_full((len(x),), SIGMA)
        seen.append((video - model(video.to(x), level, **extra_args)) / SIGMA)
        return x

    blank, sampler = torch.zeros_like(video), comfy.samplers.KSAMPLER(step)
    guider.sample(blank, blank, sampler, torch.tensor([1.0, 0.0]), disable_pbar=True, seed=1)
    return seen[0]


def said(model, vae, name: str, shown: list[Tensor], row: int) -> tuple[Tensor, Tensor, Tensor]:
    """Passes of a row as published."""
    method, inside = METHODS[name], model.model.process_latent_in
    latents = [inside(vae.encode(prepared(one, method, 8 * ROWS, 8 * COLUMNS)[None]))[0] for one in shown]
    words = {side: states[0] for side, states in WORDS.items()}
    published = PublishedWan(tiny.dit_state(tiny.config()))
    return published.passes(method, VIDEO[row], latents, words, 1000 * SIGMA)


@pytest.mark.parametrize(("name", "count"), SIDES)
def test_every_pass_of_a_batch_and_their_guidance_are_as_published(t2v, vae, name, count):
    shown, scales = pictures(count), METHODS[name].scales
    out = apply(t2v, vae, name, shown)
    guidance = Guidance(*(Scale(one) for one in scales))
    with in_float64(t2v) as made:
        mixed = velocity(table_guider(out.model, out.positive, out.negative, guidance), VIDEO)
    ran = torch.cat(made)
    needed = len(guidance.table(0.5))
    assert ran.dtype == torch.float64 and len(ran) == needed * len(VIDEO)
    found = set()
    for row in range(len(VIDEO)):
        wanted = said(t2v, vae, name, shown, row)
        which = {1: (0,), 2: (0, 1), 3: (0, 1, 2)}[needed]  # an image scale of 1 leaves the last one out
        for entry in which:
            distances = (ran - wanted[entry]).abs().flatten(1).amax(1)
            assert distances.min() < 1e-6
            found.add(int(distances.argmin()))
        assert worst(mixed[row], guided(wanted, scales)) < 1e-5
    assert len(found) == len(ran)


def test_kept_in_every_pass_is_what_core_sampler_has_too(t2v, vae):
    """KSampler builds no null pass: references stay in both, at zero nowhere."""
    for name in ("kaleido", "concat_id"):
        out, scale = apply(t2v, vae, name, pictures(1)), METHODS[name].scales[1]
        guider = comfy.samplers.CFGGuider(out.model)
        guider.set_conds(out.positive, out.negative)
        guider.set_cfg(scale)
        for row, got in enumerate(velocity(guider, VIDEO)):
            wanted = guided(said(t2v, vae, name, pictures(1), row), (1.0, scale))
            assert worst(got, wanted) < 1e-3, name


@pytest.mark.parametrize("name", ["skyreels_v3", "kaleido", "concat_id"])
def test_context_windows_have_the_references_whole_beside_their_own_frames(t2v, vae, name):
    """A window is a video of its own, which core leads by a frame: places behind it count from its length."""
    frames, length = 5, 3
    latent = empty_latent(frames, ROWS, COLUMNS)
    out = apply(t2v, vae, name, pictures(1), latent)
    model, seen = out.model.clone(), []
    model.model_options["context_handler"] = comfy.context_windows.IndexListContextHandler(
        context_schedule=comfy.context_windows.get_matching_context_schedule("standard_static"),
        fuse_method=comfy.context_windows.get_matching_fuse_method("pyramid"),
        context_length=length,
        context_overlap=1,
        dim=2,
    )

    def watch(executor, x, *args, **kwargs):
        result = executor(x, *args, **kwargs)
        seen.append((x[:1], result[:1]))
        return result

    model.add_wrapper_with_key("diffusion_model", "watch", watch)
    video = torch.randn(1, 16, frames, ROWS, COLUMNS, generator=torch.Generator().manual_seed(8))
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(out.positive, out.positive)
    guider.set_cfg(1.0)
    velocity(guider, video)
    assert [one.shape[2] for one, _ in seen] == [length, length + 1]
    method, published = METHODS[name], PublishedWan(tiny.dit_state(tiny.config()))
    shown = prepared(pictures(1)[0], method, 8 * ROWS, 8 * COLUMNS)
    latents = t2v.model.process_latent_in(vae.encode(shown[None]))[0]
    given = [latents, *[torch.zeros_like(latents)] * (method.slots - 1)]
    for part, got in seen:
        wanted = published.velocity(method, part[0], given, WORDS["positive"][0], 1000 * SIGMA)
        assert worst(got[0], wanted) < 1e-4
