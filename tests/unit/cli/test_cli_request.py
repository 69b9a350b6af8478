"""Options of the commands that generate and edit arrives where it is asked for."""

from functools import cache
from pathlib import Path

import pytest
import refvid_stand_in as stand_in
import refvid_tiny as tiny
import torch
from refvid_plain import Request, command_of_editing, command_of_generating, load_pipeline, pipeline

from refvid import cli, media
from refvid.backbones.wan.geometry import WAN
from refvid.core.adapter import load_adapter
from refvid.core.checkpoint import save_model
from refvid.core.controls import Controls, FrameWindow, StepWindow
from refvid.core.editing import Windows
from refvid.core.guidance import Guidance, Scale
from refvid.core.identity import Identity, save_identity
from refvid.core.lora import lora_key

SIZES, SIDE, FRAMES = tiny.config(layers=1), 32, 5
ONCE = cache(load_pipeline)
LEFT = (torch.arange(SIDE) < SIDE // 2).float().expand(SIDE, -1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny.save_dit(folder, "dit.safetensors", SIZES, tiny.dit_state(SIZES), recipe="saber")
    tiny.save_dit(folder, "sama.safetensors", SIZES, tiny.sama_state(SIZES))
    tiny.save_vae(folder, "vae.safetensors", 2)
    tiny.save_text_encoder(folder)
    adapter = load_adapter(tiny.save_adapter(folder, SIZES), WAN)
    anchors, slots = torch.full((2, SIZES.width), 2.0), torch.full((3, SIZES.width), 3.0)
    somebody = Identity(anchors, slots, adapter.fingerprint, torch.zeros(8, 8, 3))
    save_identity(somebody, folder / "somebody.safetensors")
    editing = tiny.semantic_state(SIZES.width) | tiny.lora_of(SIZES, "self_attn")
    save_model(editing, folder / "editing.safetensors", dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    media.write_picture(folder / "toy.png", torch.rand(SIDE, SIDE, 3, generator=generator))
    media.write_picture(folder / "left.png", LEFT[..., None].expand(-1, -1, 3))
    film = 2 * torch.rand(3, 13, SIDE, SIDE, generator=generator) - 1
    media.write_video(folder / "film.mp4", film, 8)
    return folder


@pytest.fixture
def read_once(monkeypatch) -> None:
    """Model files, which most tests here only carry along."""
    monkeypatch.setattr(pipeline, "load_pipeline", ONCE)


class Asked(Exception):
    """A run that was begun, with all that it was given."""


def asked(patch: pytest.MonkeyPatch, folder: Path, command: str, *more: object, dit: str = "dit"):
    """(backbone, request, …) of a command, which goes no further."""
    module, name = {"generate": command_of_generating, "edit": command_of_editing}[command]

    def begun(*given, **_):
        raise Asked(*given)

    patch.setattr(module, name, begun)
    files = ("--dit", folder / f"{dit}.safetensors", "--vae", folder / "vae.safetensors")
    files += ("--text-encoder", folder / "text.safetensors", "--device", "cpu")
    own = {
        "generate": ("--prompt", "a toy", "--frames", FRAMES),
        "edit": ("--instruction", "a toy", "--video", folder / "film.mp4"),
    }[command]
    size = ("--width", SIDE, "--height", SIDE, "--out", folder / "out.mp4")
    with pytest.raises(Asked) as found:
        cli.main([command, *map(str, (*files, *own, *size, *more))])
    return found.value.args


ONE = ("--reference", "toy.png")
WHO = ("--identity", "somebody.safetensors", "--adapter", "slot_id.safetensors")
FRAME = ("--given", "toy.png@0")


def controls(request: Request) -> Controls:
    return request.references[0].controls


# Options, and what of the request they are.
OPTIONS = {
    "prompt": ((), lambda r: r.prompt, "a toy"),
    "negative": (("--negative", "a ring"), lambda r: r.negative, "a ring"),
    "recipe": (("--recipe", "phantom"), lambda r: r.recipe, "phantom"),
    "the file's recipe": ((), lambda r: r.recipe, "saber"),
    "attention": ((*ONE, "--attention", "eager"), lambda r: r.attention, "eager"),
    "size": ((), lambda r: (r.settings.width, r.settings.height, r.settings.frames), (SIDE, SIDE, FRAMES)),
    "steps": (("--steps", 7), lambda r: r.settings.steps, 7),
    "shift": (("--shift", 2.5), lambda r: r.settings.shift, 2.5),
    "seed": (("--seed", 11), lambda r: r.settings.seed, 11),
    "rate": (("--fps", 9), lambda r: r.settings.fps, 9),
    "scale": (("--scale", 3), lambda r: r.guidance, Guidance(Scale(3.0), Scale(3.0))),
    "image scale": (
        (*ONE, "--scale", 3, "--image-scale", 2), lambda r: r.guidance, Guidance(Scale(2.0), Scale(3.0)),
    ),
    "guidance's window": (
        (*ONE, "--scale", 3, "--image-scale", 2, "--guidance-window", "0.1:0.6"), lambda r: r.guidance,
        Guidance(Scale(2.0, StepWindow(0.1, 0.6)), Scale(3.0, StepWindow(0.1, 0.6))),
    ),
    "renorm": (("--scale", 3, "--renorm", "frames"), lambda r: r.guidance.renorm, "frames"),
    "references": ((*ONE, *ONE), lambda r: len(r.references), 2),
    "strength": ((*ONE, "--strength", 0.5), controls, Controls(0.5)),
    "when it acts": (
        (*ONE, "--steps-window", "0.2:0.8:0.1:0.3"), controls, Controls(steps=StepWindow(0.2, 0.8, 0.1, 0.3)),
    ),
    "on which frames": ((*ONE, "--frames-window", "1:3"), controls, Controls(frames=FrameWindow(1, 3))),
    "what it sees": ((*ONE, "--sees", "itself"), controls, Controls(sees="itself")),
    "soft mask": ((*ONE, "--soft-mask"), controls, Controls(soft=True)),
    "mask": ((*ONE, "--mask", "left.png"), lambda r: r.references[0].mask.tolist(), LEFT.tolist()),
    "region": (
        (*ONE, "--region", "left.png"), lambda r: r.references[0].region.squeeze().tolist(), LEFT.tolist(),
    ),
    "each its own": (
        (*ONE, *ONE, "--strength", "-", "--strength", 2),
        lambda r: [one.controls.strength for one in r.references],
        [1.0, 2.0],
    ),
    "no frame": ((), lambda r: r.given, None),
    "where a frame stands": (("--given", "toy.png@-1"), lambda r: r.given.indices, [-1]),
    "a frame's clock": ((*FRAME, "--clock", "shared"), lambda r: r.given.clock, "shared"),
    "a frame's usual clock": (FRAME, lambda r: r.given.clock, "own"),
    "nobody": ((), lambda r: r.people, None),
    "whole identity": (WHO, lambda r: r.people.persons[0].tokens[:, 0].tolist(), [2.0, 2, 3, 3, 3]),
    "identity's part": (
        (*WHO, "--identity-parts", "slots"), lambda r: r.people.persons[0].tokens[:, 0].tolist(), [3.0, 3, 3],
    ),
    "identity's strength": (
        (*WHO, "--identity-strength", 0.4), lambda r: r.people.persons[0].strength, pytest.approx(0.4),
    ),
}  # fmt: skip


def inside(folder: Path, options: tuple) -> list[object]:
    """Options with their files in the folder."""
    return [
        folder / said
        if isinstance(said, str) and said.endswith((".png", ".safetensors"))
        else str(folder / said)
        if isinstance(said, str) and "@" in said
        else said
        for said in options
    ]


@pytest.mark.usefixtures("read_once")
@pytest.mark.parametrize("name", OPTIONS)
def test_an_option_of_generate_arrives_in_the_request(folder, monkeypatch, name):
    options, part, wanted = OPTIONS[name]
    _, request, *_ = asked(monkeypatch, folder, "generate", *inside(folder, options))
    assert part(request) == wanted


IN_EDITS = (
    "steps",
    "shift",
    "seed",
    "scale",
    "image scale",
    "guidance's window",
    "renorm",
    "strength",
    "attention",
)


@pytest.mark.usefixtures("read_once")
@pytest.mark.parametrize("name", [*IN_EDITS, "region"])
def test_an_option_of_edit_arrives_in_the_request(folder, monkeypatch, name):
    options, part, wanted = OPTIONS[name]
    _, request, film, windows, *_ = asked(monkeypatch, folder, "edit", *inside(folder, options), dit="sama")
    assert part(request) == wanted and request.prompt == "a toy"
    assert film.shape == (13, SIDE, SIDE, 3) and windows == Windows(4)


def test_windows_of_an_edit_are_those_that_are_asked_for(folder, monkeypatch):
    given = asked(monkeypatch, folder, "edit", "--window", 9, "--overlap", 4, dit="sama")
    assert given[3] == Windows(4, 9, 4)


def changed(backbone, attention: str) -> torch.Tensor:
    name = f"blocks.0.{attention}.v.weight"
    return backbone.dit.state_dict()[name] - tiny.dit_state(SIZES)[name]


def low_rank(lora: dict[str, torch.Tensor], attention: str) -> torch.Tensor:
    up, down = (lora[lora_key(0, "v", f"lora_{end}.weight", attention)].float() for end in "BA")
    return up @ down


def test_an_identity_brings_its_adapter_s_lora(folder, monkeypatch):
    lora = load_adapter(folder / "slot_id.safetensors", WAN).lora
    backbone, *_ = asked(monkeypatch, folder, "generate", *inside(folder, WHO))
    torch.testing.assert_close(
        changed(backbone, "cross_attn"), low_rank(lora, "cross_attn"), rtol=0, atol=1e-5
    )
    backbone, *_ = asked(monkeypatch, folder, "generate")
    assert not changed(backbone, "cross_attn").any()


def test_a_reference_adapter_arrives_with_its_recipe(folder, monkeypatch, capsys):
    stand_in.save_adapter(folder, stand_in.adapter_state(SIZES))
    given = inside(folder, (*ONE, "--reference-adapter", "stand_in.safetensors"))
    backbone, request, *_ = asked(monkeypatch, folder, "generate", *given)
    held = backbone.token_lora.state_dict()
    assert request.recipe == backbone.recipe == "stand_in"
    assert all(torch.equal(held[key], value) for key, value in stand_in.adapter_state(SIZES).items())
    bare, request, *_ = asked(monkeypatch, folder, "generate", *inside(folder, ONE))
    assert bare.token_lora is None and request.recipe == "saber"


def test_a_file_that_is_no_reference_adapter_is_refused_before_a_model_is_loaded(folder, monkeypatch):
    monkeypatch.setattr(pipeline, "load_pipeline", lambda *_, **__: pytest.fail("a model was read"))
    given = inside(folder, (*ONE, "--reference-adapter", "editing.safetensors"))
    with pytest.raises(SystemExit):
        asked(monkeypatch, folder, "generate", *given)


def test_an_editing_adapter_counts_by_the_strength_that_is_asked_for(folder, monkeypatch):
    found = []
    for more in ((), ("--adapter-strength", 0.5)):
        adapter = ("--adapter", folder / "editing.safetensors", *more)
        backbone, *_ = asked(monkeypatch, folder, "edit", *adapter)
        found.append(changed(backbone, "self_attn"))
    assert found[0].abs().max() > 0.1
    torch.testing.assert_close(found[1], 0.5 * found[0], rtol=0, atol=1e-5)


# ---- settings that weights were published with


@pytest.mark.usefixtures("read_once")
def test_published_settings_are_the_recipes_and_what_is_given_wins(monkeypatch, folder):
    given = ("--reference", folder / "toy.png", "--recipe", "refalign", "--published", "--seed", 7)
    _, request, *_ = asked(monkeypatch, folder, "generate", *given)
    settings = request.settings
    assert (settings.steps, settings.shift, settings.fps, settings.seed) == (50, 5.0, 16, 7)
    assert (settings.width, settings.height, settings.frames) == (SIDE, SIDE, FRAMES), "what is given"
    assert request.guidance == Guidance(Scale(5.0), Scale(7.5))
    _, request, *_ = asked(monkeypatch, folder, "generate", *given, "--image-scale", 2, "--steps", 3)
    assert request.guidance == Guidance(Scale(2.0), Scale(7.5)) and request.settings.steps == 3


@pytest.mark.usefixtures("read_once")
def test_published_settings_that_nobody_knows_are_refused(monkeypatch, folder, capsys):
    with pytest.raises(SystemExit):
        asked(monkeypatch, folder, "generate", "--reference", folder / "toy.png", "--published")
    assert (
        "recipe saber: no settings are known that its weights were published with" in capsys.readouterr().err
    )
