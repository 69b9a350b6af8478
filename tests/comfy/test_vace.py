"""VACE's own reference frames under control, in ComfyUI's own model."""

import pytest
import refvid_tiny as tiny
import torch
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
from refvid.core.references import make_reference
from refvid.hosts.comfy.references import apply_references

pytestmark = pytest.mark.comfy


@pytest.fixture(scope="module")
def model(folder):
    sizes = tiny.config()
    return load_model(tiny.save_dit(folder, "vace.safetensors", sizes, tiny.vace_state(sizes)))


def texts():
    return [[text(1), {}]], [[text(2), {}]]


def cores(vae, reference=None, control=None, strength=0.7, side=64):
    """Conditions and latent of core's own node."""
    return WanVaceToVideo.execute(*texts(), vae, side, side, 9, 1, strength, control, None, reference).result


def control():
    return torch.rand(9, 64, 64, 3, generator=torch.Generator().manual_seed(6))


def apply(model, vae, references, given=None, null="recipe", **more):
    positive, negative, latent, _ = given or (*texts(), empty_latent(), 0)
    return apply_references(model, None, positive, negative, vae, latent, references, "vace", null, **more)


def run(out, **more):
    samples = sample(out.model, out.positive, out.negative, out.latent, **more)
    return TrimVideoLatent.execute({"samples": samples}, out.trim).result[0]["samples"]


@pytest.mark.parametrize("given", [True, False])
def test_a_neutral_reference_is_core_own_to_the_last_bit(model, vae, given):
    shown = control() if given else None
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
    out = apply(model, vae, references, cores(vae, None, control()))
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
