"""Controls, alone and in pairs, on both hosts and by both ways to attend: the same numbers."""

from dataclasses import replace
from itertools import combinations

import pytest
import refvid_in_process as run
import refvid_riders as plain
import refvid_tiny as tiny
import torch

from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.core.controls import Controls, FrameWindow, StepWindow
from refvid.core.guidance import CONDITIONED
from refvid.core.recipes import recipe_named
from refvid.core.references import Reference, make_reference
from refvid.hosts.comfy.backbone import with_shift
from refvid.hosts.comfy.references import apply_references

pytestmark = pytest.mark.comfy
GRID, SIGMA, SHIFT = (3, 8, 8), 0.6, 5.0
LEFT = torch.zeros(64, 64)
LEFT[:, :32] = 1
MOVING = torch.zeros(9, 64, 64)
for picture in range(9):
    MOVING[picture, :, 6 * picture : 6 * picture + 16] = 1
ALPHA = torch.linspace(0, 1, 64).expand(64, 64)

# What each control changes of a neutral reference. SIGMA is at share 0.77 of the schedule.
CONTROLS = {
    "strength": lambda r: asked(r, strength=0.4),
    "late": lambda r: asked(r, steps=StepWindow(0.5)),
    "over": lambda r: asked(r, steps=StepWindow(0.0, 0.5)),
    "fade": lambda r: asked(r, steps=StepWindow(0.0, 1.0, 0.0, 0.9)),
    "frames": lambda r: asked(r, frames=FrameWindow(1, 4)),
    "region": lambda r: replace(r, region=LEFT),
    "moving region": lambda r: replace(r, region=MOVING),
    "sees video": lambda r: asked(r, sees="video"),
    "sees itself": lambda r: asked(r, sees="itself"),
    "sees frames": lambda r: asked(r, sees="frames"),
    "soft mask": lambda r: asked(r, soft=True),
}
CASES = [(), *((name,) for name in CONTROLS), *combinations(CONTROLS, 2)]
SAME_FIELD = [
    {"late", "over", "fade"},
    {"region", "moving region"},
    {"sees video", "sees itself", "sees frames"},
]
CASES = [case for case in CASES if not any(len(set(case) & field) > 1 for field in SAME_FIELD)]


def asked(reference: Reference, **changes) -> Reference:
    return replace(reference, controls=replace(reference.controls, **changes))


def references(case: tuple[str, ...]) -> list[Reference]:
    """One under control between two that are not."""
    made = [make_reference(run.picture(seed), ALPHA if seed == 4 else None, Controls()) for seed in (3, 4, 5)]
    for name in case:
        made[1] = CONTROLS[name](made[1])
    return made


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    sizes = tiny.config()
    path, vae = tiny.save_dit(folder, "t2v.safetensors", sizes, tiny.dit_state(sizes)), tiny.save_vae(folder)
    return with_shift(run.load_model(path), SHIFT), run.load_vae(vae), load_dit(path)[0], load_vae(vae)


def velocities(twin, case: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """One evaluation by host and attention."""
    model, comfy_vae, dit, vae = twin
    texts = {"positive": run.text(1), "negative": run.text(2)}
    latent = torch.randn(1, 16, *GRID, generator=torch.Generator().manual_seed(7))
    encoded = plain.encode_references(dit, vae, references(case), recipe_named("saber"), GRID)
    found = {}
    for attention in ("auto", "eager"):
        condition = plain.condition(texts, encoded, shift=SHIFT, attention=attention)
        found[f"plain {attention}"] = plain.velocity(dit, latent, torch.tensor(SIGMA), condition, CONDITIONED)
        out = apply_references(
            model, None, [[texts["positive"], {}]], [[texts["negative"], {}]], comfy_vae, run.empty_latent(),
            references(case), "saber", attention=attention,
        )  # fmt: skip
        found[f"comfy {attention}"] = run.velocity_at(out.model, out.positive, out.negative, latent, SIGMA)
    return found


@pytest.fixture(scope="module")
def neutral(twin):
    return velocities(twin, ())


@pytest.mark.parametrize("case", CASES, ids=" and ".join)
def test_controls_agree_on_both_hosts_and_by_every_way_to_attend(twin, neutral, case):
    found = velocities(twin, case)
    for name, got in found.items():
        assert run.worst(got, found["plain eager"]) < 1e-5, name
    changes = case not in ((), ("late",))  # whose window is open at SIGMA
    assert (run.worst(found["plain auto"], neutral["plain auto"]) > 1e-5) is changes
    if not changes:
        assert torch.equal(found["plain auto"], neutral["plain auto"])
        assert torch.equal(found["comfy auto"], neutral["comfy auto"])
