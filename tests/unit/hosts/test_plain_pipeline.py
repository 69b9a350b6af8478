"""A request without ComfyUI: every part of it reaches the run, against the run put together by hand."""

from dataclasses import replace
from itertools import pairwise

import pytest
import refvid_tiny as tiny
import torch
from refvid_plain import (
    Condition,
    PeopleRider,
    Person,
    Request,
    Settings,
    SourceRider,
    edit_film,
    encode_frames,
    encode_pictures,
    encode_references,
    generate,
    grey_padding,
    guided_velocity,
    load_pipeline,
    velocity,
)
from refvid_plain import condition as conditioned
from refvid_plain_cases import drawn
from torch import Tensor

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.sampler import flow_sigmas, sample_euler
from refvid.core.controls import Controls, FrameWindow, StepWindow
from refvid.core.editing import Windows
from refvid.core.frames import Placed
from refvid.core.guidance import CONDITIONED, Guidance, Scale
from refvid.core.recipes import recipe_named, sama
from refvid.core.references import make_reference
from refvid.core.semantic import first_frames
from refvid.kernels.whole import WHOLE_ATTENTION

SIDE, FRAMES = 32, 5
LEFT = (torch.arange(SIDE) < SIDE // 2).float().expand(SIDE, -1)
GRID = (2, SIDE // 8, SIDE // 8)
SETTINGS = Settings(width=SIDE, height=SIDE, frames=FRAMES, steps=2, scale=3.0, shift=4.0, seed=5)
CLOSE = {"rtol": 0, "atol": 1e-5}


def backbone_of(folder, state: dict[str, Tensor], sizes, dtype: torch.dtype = torch.float32):
    dit = tiny.save_dit(folder, "dit.safetensors", sizes, state)
    return load_pipeline(dit, tiny.save_vae(folder, width=2), tiny.save_text_encoder(folder), dtype)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    sizes = tiny.config()  # two layers: what a reference reads in the first is seen in the second
    return backbone_of(tmp_path_factory.mktemp("text"), tiny.dit_state(sizes), sizes)


@pytest.fixture(scope="module")
def editor(tmp_path_factory):
    sizes = tiny.config(layers=1)
    return backbone_of(tmp_path_factory.mktemp("edit"), tiny.sama_state(sizes), sizes)


def picture(seed: int, count: int | None = None) -> Tensor:
    shape = (SIDE, SIDE, 3) if count is None else (count, SIDE, SIDE, 3)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def reference(seed: int = 1, strength: float = 1.0):
    return make_reference(picture(seed), None, Controls(strength))


def controlled(**asked):
    return make_reference(picture(1), None, Controls(**asked))


def people(strength: float = 1.0) -> PeopleRider:
    width = tiny.config().width
    return PeopleRider((Person(3 * drawn(3, width, seed=1), strength),), 3 * drawn(2, width, seed=2))


REQUEST = Request(
    "a toy",
    SETTINGS,
    (reference(),),
    negative="a ring",
    recipe="saber",
    people=people(),
    guidance=Guidance(Scale(2.0), Scale(4.0)),
    given=Placed(picture(2, 1), [0], "own"),
)


def noise(seed: int, grid: tuple[int, int, int] = GRID) -> Tensor:
    return torch.randn(1, 16, *grid, generator=torch.Generator().manual_seed(seed))


def video(backbone, condition: Condition, guidance: Guidance, start: Tensor, settings: Settings) -> Tensor:
    """Euler's steps from noise over Wan's levels, decoded."""
    sigmas = flow_sigmas(settings.steps, settings.shift)
    made = sample_euler(guided_velocity(backbone.dit, condition, guidance), start, sigmas)
    with torch.no_grad():
        return backbone.vae.decode(made)[0].clamp(-1, 1)


def test_a_request_is_the_run_that_its_parts_make(backbone):
    asked, empty = REQUEST, torch.zeros(1, 16, *GRID)
    assert asked.given is not None and asked.guidance is not None
    recipe = recipe_named("saber")
    condition = conditioned(
        {
            name: backbone.text.encode([said])
            for name, said in (("positive", "a toy"), ("negative", "a ring"))
        },
        encode_references(backbone.dit, backbone.vae, [reference()], recipe, GRID),
        shift=4.0,
        people=asked.people,
        frames=encode_frames(backbone.vae, asked.given, empty),
    )
    wanted = video(backbone, condition, asked.guidance, noise(5), SETTINGS)
    torch.testing.assert_close(generate(backbone, asked), wanted, **CLOSE)


CHANGES = {
    "prompt": {"prompt": "a ring moving up"},
    "negative": {"negative": "a toy moving left"},
    "seed": {"settings": replace(SETTINGS, seed=6)},
    "steps": {"settings": replace(SETTINGS, steps=3)},
    "shift": {"settings": replace(SETTINGS, shift=1.0)},
    "no reference": {"references": ()},
    "a weaker reference": {"references": (reference(strength=0.1),)},
    "a reference in a region": {"references": (replace(reference(), region=LEFT),)},
    "on some frames": {"references": (controlled(frames=FrameWindow(0, 0)),)},
    "in some steps": {"references": (controlled(steps=StepWindow(0.4)),)},
    "that reads itself": {"references": (controlled(sees="itself"),)},
    "another recipe": {"recipe": "videomaker"},
    "nobody": {"people": None},
    "a weaker identity": {"people": people(0.1)},
    "image scale": {"guidance": Guidance(Scale(3.0), Scale(4.0))},
    "text scale": {"guidance": Guidance(Scale(2.0), Scale(5.0))},
    "renorm": {"guidance": Guidance(Scale(2.0), Scale(4.0), "clip")},
    "the settings' guidance": {"guidance": None},
    "no frame": {"given": None},
    "another frame": {"given": Placed(picture(3, 1), [0])},
    "another place": {"given": Placed(picture(2, 1), [4])},
    "another clock": {"given": Placed(picture(2, 1), [0], "shared")},
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_part_of_a_request_changes_the_video(backbone, name):
    made = generate(backbone, replace(REQUEST, **CHANGES[name]))
    assert (made - generate(backbone, REQUEST)).abs().max() > 1e-4


def test_further_riders_of_a_request_travel_with_its_run(backbone):
    """Given frames, encoded before."""
    assert REQUEST.given is not None
    frames = encode_frames(backbone.vae, REQUEST.given, torch.zeros(1, 16, *GRID))
    asked = replace(REQUEST, given=None, riders=(frames,))
    assert torch.equal(generate(backbone, asked), generate(backbone, REQUEST))


def test_without_guidance_of_its_own_a_request_is_guided_at_its_settings_scale(backbone):
    both = Guidance(Scale(3.0), Scale(3.0))
    made = generate(backbone, replace(REQUEST, guidance=None))
    assert torch.equal(made, generate(backbone, replace(REQUEST, guidance=both)))


def test_in_half_precision_a_run_s_latent_stays_in_fp32(tmp_path):
    """Small steps would round away."""
    sizes = tiny.config(layers=1)
    backbone = backbone_of(tmp_path, tiny.dit_state(sizes), sizes, torch.bfloat16)
    asked = Request(
        "a toy", replace(SETTINGS, steps=5), recipe="saber", guidance=Guidance(Scale(1), Scale(1))
    )
    assert asked.guidance is not None
    condition = conditioned({"positive": backbone.text.encode(["a toy"])}, shift=4.0)
    steps = guided_velocity(backbone.dit, condition, asked.guidance)
    found, made = [], noise(5)
    for now, after in pairwise(flow_sigmas(5, 4.0)):
        made = made + (after - now) * steps(made, now)
    decode = backbone.vae.decode
    backbone.vae.decode = lambda latent: found.append(latent) or decode(latent)
    generate(backbone, asked)
    assert torch.equal(found[0], made.bfloat16()), "rounded once, to be decoded"


def test_the_attention_that_is_asked_for_runs(backbone, monkeypatch):
    ran, eager = [], WHOLE_ATTENTION["eager"]
    monkeypatch.setitem(WHOLE_ATTENTION, "eager", lambda groups: ran.append(1) or eager(groups))
    made = generate(backbone, REQUEST)
    assert not ran
    torch.testing.assert_close(
        generate(backbone, replace(REQUEST, attention="eager")), made, rtol=0, atol=1e-3
    )
    assert ran


def test_a_masked_input_backbone_is_fed_a_grey_video(tmp_path):
    sizes = tiny.config(36, layers=1)
    backbone = backbone_of(tmp_path, tiny.dit_state(sizes), sizes)
    asked = Request("a toy", SETTINGS, recipe="saber", guidance=Guidance(Scale(1.0), Scale(1.0)))
    padding = grey_padding(backbone.vae, FRAMES, SIDE, SIDE)
    condition = conditioned({"positive": backbone.text.encode(["a toy"])}, padding=padding, shift=4.0)
    wanted = video(backbone, condition, Guidance(Scale(1.0), Scale(1.0)), noise(5), SETTINGS)
    torch.testing.assert_close(generate(backbone, asked), wanted, **CLOSE)
    unpadded = replace(condition, padding=0 * padding)
    assert (
        video(backbone, unpadded, Guidance(Scale(1.0), Scale(1.0)), noise(5), SETTINGS) - wanted
    ).abs().max() > 1e-4


def test_a_backbone_that_reads_image_tokens_reads_those_of_no_picture():
    """Features of 257 zeros: their embedding is not nothing."""
    sizes = tiny.config(36, image_width=1280, layers=1)
    dit = WanDiT(sizes)
    dit.load_state_dict(tiny.dit_state(sizes))
    text, padding = drawn(1, 4, tiny.TEXT_WIDTH, seed=1), drawn(1, 20, *GRID, seed=2)
    found = velocity(
        dit, noise(1), torch.tensor(0.6), conditioned({"positive": text}, padding=padding), CONDITIONED
    )
    shown, clock = torch.cat([noise(1), padding], 1), torch.tensor([600.0])
    wanted = dit(shown, clock, text, image_features=torch.zeros(1, 257, 1280))
    torch.testing.assert_close(found, wanted, **CLOSE)
    assert (found - dit(shown, clock, text)).abs().max() > 1e-3


def test_an_edit_is_the_run_that_its_parts_make(editor):
    """Eleven pictures become thirteen, in two windows of nine; semantic tokens begin with noise of the seed;
    the negative prompt is the prefix."""
    film, windows, guidance = picture(8, 11), Windows(4, 9, 4), Guidance(Scale(2.0), Scale(4.0))
    asked = Request("make it red", SETTINGS, (reference(),), recipe="sama", guidance=guidance)
    thirteen = torch.cat([film, film[-1:], film[-1:]])
    grid = (4, *GRID[1:])
    edit = SourceRider(encode_pictures(editor.vae, thirteen), sama(), editor.modules)
    said = (("positive", "[Video edit] make it red"), ("negative", "[Video edit]"))
    condition = conditioned(
        {name: editor.text.encode([text]) for name, text in said},
        encode_references(editor.dit, editor.vae, [reference()], sama(), grid),
        shift=4.0,
        source=edit,
        windows=windows,
    )
    assert editor.modules is not None
    numbers = 65 * editor.modules.config.features
    start = torch.cat([noise(5, grid), first_frames((1, 16, *grid), numbers, 5)], 2)
    sigmas = flow_sigmas(SETTINGS.steps, SETTINGS.shift)
    made = sample_euler(guided_velocity(editor.dit, condition, guidance), start, sigmas)[:, :, :4]
    with torch.no_grad():
        wanted = editor.vae.decode(made)[0, :, :11].clamp(-1, 1)
    found = edit_film(editor, asked, film, windows)
    torch.testing.assert_close(found, wanted, **CLOSE)
    assert not torch.equal(found, edit_film(editor, asked, film, Windows(4, 13, 4)))
