"""TI2V-5B's layout on both hosts: 48 channels, cells of 16 pixels, a clock for each frame; the same files,
the same numbers."""

from pathlib import Path

import comfy.sample
import pytest
import refvid_in_process as run
import refvid_plain as plain
import refvid_stand_in as stand_in
import refvid_tiny as tiny
import torch
from comfy_extras.nodes_wan import Wan22ImageToVideoLatent
from torch import Tensor

from refvid.backbones.wan.dit import DiTConfig
from refvid.backbones.wan.geometry import WAN, WAN_2_2
from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.backbones.wan.lora import merge_lora
from refvid.backbones.wan.sampler import flow_sigmas, sample_euler
from refvid.core.adapter import load_adapter
from refvid.core.checkpoint import save_model
from refvid.core.controls import Controls
from refvid.core.editing import Windows
from refvid.core.frames import CLOCKS, Placed
from refvid.core.guidance import CONDITIONED, Guidance, Scale, joint
from refvid.core.recipes import RECIPES, recipe_named
from refvid.core.references import Reference, make_reference
from refvid.hosts.comfy import adapters, identities
from refvid.hosts.comfy.backbone import load_comfy_text_encoder, with_shift
from refvid.hosts.comfy.frames import replace_frames
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.references import apply_references
from refvid.hosts.comfy.source.edit import instruction_edit

pytestmark = pytest.mark.comfy
BEHIND = [name for name in RECIPES if recipe_named(name).carrier == "behind"]
SIZES, SHIFT = tiny.config(48, 48), 5.0
PICTURES, HEIGHT, WIDTH = 9, 64, 96
GRID = (3, 4, 6)
WORDS = {"positive": run.text(1), "negative": run.text(2)}
GIVEN = [[0], [0, 8], [5, 6, 7, 8]]


class Twin:
    """One set of files, loaded by both hosts."""

    def __init__(self, folder: Path):
        self.folder = folder
        tiny.save_models(folder, SIZES)
        tiny.save_vae22(folder, "vae.safetensors", 8, 12)
        tiny.save_dit(folder, "dit.safetensors", SIZES, tiny.dit_state(SIZES), recipe="saber")
        self.pipeline = plain.load_pipeline(
            *(folder / f"{name}.safetensors" for name in ("dit", "vae", "text"))
        )
        self.plain, self.plain_vae = self.pipeline.dit, self.pipeline.vae
        self.comfy = with_shift(run.load_model(folder / "dit.safetensors"), SHIFT)
        self.comfy_vae = run.load_vae22(folder / "vae.safetensors")

    def raw(self, latent: Tensor) -> Tensor:
        """The plain side's normalised latent as ComfyUI stores it."""
        return latent * self.plain_vae.deviation + self.plain_vae.mean


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> Twin:
    return Twin(tmp_path_factory.mktemp("models"))


def empty() -> dict[str, Tensor]:
    return run.empty_latent(*GRID, channels=48)


def noisy() -> Tensor:
    return torch.randn(1, 48, *GRID, generator=torch.Generator().manual_seed(7))


def references(recipe: str = "saber") -> list[Reference]:
    mask = torch.zeros(70, 80)
    mask[:, :45] = 1
    every = [
        make_reference(run.picture(3, 70, 80), mask, Controls(0.5)),
        make_reference(run.picture(4, 64, 96)),
        make_reference(run.picture(5, 33, 60), None, Controls(2.0)),
    ]
    return every[: recipe_named(recipe).max_references]


def placed(indices: list[int], clock: str) -> Placed:
    shown = torch.stack([run.picture(40 + index, HEIGHT, WIDTH) for index in indices])
    return Placed(shown, indices, clock)


def words() -> list[list]:
    return [[[states, {}]] for states in WORDS.values()]


def applied(twin: Twin, recipe: str):
    """References on both sides: ComfyUI's, and the plain side's condition."""
    chosen = recipe_named(recipe)
    model, lora = stand_in.fitted(twin.comfy, chosen, SIZES, twin.folder), stand_in.needed(chosen, SIZES)
    out = apply_references(model, None, *words(), twin.comfy_vae, empty(), references(recipe), recipe)
    encoded = plain.encode_references(twin.plain, twin.plain_vae, references(recipe), chosen, GRID, lora)
    return out, plain.condition(WORDS, encoded, shift=SHIFT)


def evaluated(twin: Twin, condition: plain.Condition, model, positive, negative) -> float:
    """Distance of one evaluation on the two hosts."""
    ours = plain.velocity(twin.plain, noisy(), torch.tensor(0.6), condition, CONDITIONED)
    return run.worst(ours, run.velocity_at(model, positive, negative, noisy(), 0.6))


@pytest.mark.parametrize("recipe", BEHIND)
def test_one_evaluation_with_references_agrees(twin, recipe):
    out, condition = applied(twin, recipe)
    assert evaluated(twin, condition, out.model, out.positive, out.negative) < 1e-5
    bare = plain.condition(WORDS)
    assert evaluated(twin, bare, out.model, out.positive, out.negative) > 1e-3, "they do something"


def test_a_masked_input_of_100_channels_agrees(twin, tmp_path):
    """Fun-InP's of 48 channels: a latent, a mask of four channels, a latent."""
    sizes = tiny.config(WAN_2_2.masked_channels, 48)
    path = tiny.save_dit(tmp_path, "inp.safetensors", sizes, tiny.dit_state(sizes))
    dit = load_dit(path)[0]
    out = apply_references(
        run.load_model(path), None, *words(), twin.comfy_vae, empty(), references(), "saber"
    )
    encoded = plain.encode_references(dit, twin.plain_vae, references(), recipe_named("saber"), GRID)
    padding = plain.grey_padding(twin.plain_vae, PICTURES, HEIGHT, WIDTH)
    ours = plain.velocity(
        dit, noisy(), torch.tensor(0.6), plain.condition(WORDS, encoded, padding), CONDITIONED
    )
    assert run.worst(ours, run.velocity_at(out.model, out.positive, out.negative, noisy(), 0.6)) < 1e-5


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("indices", GIVEN)
@pytest.mark.parametrize("guidance", [joint(Scale(3.0)), Guidance(Scale(2.0), Scale(6.0))])
def test_given_frames_beside_references_agree(twin, clock, indices, guidance):
    """Tokens have the clock of its own frame on both hosts, references the video's."""
    out, condition = applied(twin, "saber")
    asked = placed(indices, clock)
    (model,), positive, negative, latent = replace_frames(
        [out.model], out.positive, out.negative, twin.comfy_vae, empty(), asked
    )
    frames = plain.encode_frames(twin.plain_vae, asked, empty()["samples"])
    condition = plain.with_riders(condition, frames)
    assert evaluated(twin, condition, model, positive, negative) < 1e-5
    guider = table_guider(model, positive, negative, guidance)
    noise = comfy.sample.prepare_noise(latent["samples"], 5)
    ours = sample_euler(plain.guided_velocity(twin.plain, condition, guidance), noise, flow_sigmas(4, SHIFT))
    theirs = run.sample(model, None, None, latent, guider=guider)
    assert run.worst(twin.raw(ours), theirs) < 1e-3


def test_a_first_frame_with_its_own_clock_is_what_cores_own_node_makes_of_it(twin):
    """`Wan22ImageToVideoLatent`, and core's forward with a timestep for each frame, with a reference behind
    the video; frames that are not sampled keep core's own numbers."""
    first = run.picture(40, HEIGHT, WIDTH)
    latent = Wan22ImageToVideoLatent.execute(twin.comfy_vae, WIDTH, HEIGHT, PICTURES, 1, first[None]).result[
        0
    ]
    out = apply_references(twin.comfy, None, *words(), twin.comfy_vae, latent, references(), "saber")
    _, condition = applied(twin, "saber")
    clean = plain.encode_frames(twin.plain_vae, placed([0], "own"), empty()["samples"])
    condition = plain.with_riders(condition, clean)
    noise, guidance = comfy.sample.prepare_noise(latent["samples"], 5), Guidance(Scale(1.0), Scale(3.0))
    ours = sample_euler(plain.guided_velocity(twin.plain, condition, guidance), noise, flow_sigmas(4, SHIFT))
    theirs = run.sample(out.model, out.positive, out.negative, latent, cfg=3.0)
    assert run.worst(twin.raw(ours), theirs) < 1e-3
    free = run.sample(out.model, out.positive, out.negative, empty(), cfg=3.0)
    assert run.worst(free[:, :, 1:], theirs[:, :, 1:]) > 1e-2


def test_an_identity_of_48_channels_agrees(twin, tmp_path):
    path = tiny.save_adapter(tmp_path, SIZES)
    loaded, adapter = adapters.load_comfy_adapter(str(path)), load_adapter(path, WAN)
    clip = torch.stack([run.picture(60 + index, 50, 70) for index in range(11)])
    marked = torch.zeros(11, 50, 70)
    marked[:, 5:40, 10:50] = 1
    theirs = adapters.encode_comfy_identity(loaded, twin.comfy_vae, clip, marked, None)[0]
    ours = plain.encode_identity(adapter, twin.plain_vae, clip, marked)[0]
    assert run.worst(ours.slots, theirs.slots) < 1e-4 and run.worst(ours.anchors, theirs.anchors) < 1e-4
    models, positive, negative = identities.apply_identity([twin.comfy], *words(), loaded, theirs)
    pipeline = plain.load_pipeline(*(twin.folder / f"{name}.safetensors" for name in ("dit", "vae", "text")))
    merge_lora(pipeline.dit, adapter.lora)
    who = plain.PeopleRider((plain.Person(ours.tokens("both")),), adapter.nobody)
    got = plain.velocity(
        pipeline.dit, noisy(), torch.tensor(0.6), plain.condition(WORDS, people=who), CONDITIONED
    )
    assert run.worst(got, run.velocity_at(models[0], positive, negative, noisy(), 0.6)) < 1e-5


@pytest.mark.parametrize("windows", [Windows(4), Windows(4, 9, 4)], ids=["whole", "in windows"])
def test_an_edit_becomes_the_video_that_comfyui_makes(twin, clip, windows):
    film = torch.stack([run.picture(80 + index, HEIGHT, WIDTH) for index in range(13)])
    settings = plain.Settings(WIDTH, HEIGHT, 13, 4, 3.0, SHIFT, seed=5)
    request = plain.Request("make it a ring", settings, tuple(references()), recipe="in_context")
    ours = plain.edit_film(twin.pipeline, request, film, windows)
    out = instruction_edit(
        twin.comfy, clip, twin.comfy_vae, film, "make it a ring", references(), windows, "in_context"
    )
    guider = table_guider(out.model, out.positive, out.negative, joint(Scale(3.0)))
    theirs = shown(twin, run.sample(out.model, None, None, out.latent, guider=guider))[0]
    assert run.worst(ours, theirs[:, : out.frames]) < 1e-3


@pytest.mark.parametrize("frames", [1, 5, 17])
def test_the_vaes_agree(twin, frames):
    clip = torch.rand(frames, 64, 48, 3, generator=torch.Generator().manual_seed(frames))
    ours, got = plain.encode_pictures(twin.plain_vae, clip), twin.comfy_vae.encode(clip)
    assert run.worst(twin.raw(ours), got) < 1e-4
    with torch.no_grad():
        pictures = twin.plain_vae.decode(ours).clamp(-1, 1)
    assert run.worst(pictures, shown(twin, got)) < 1e-4


def shown(twin: Twin, latent: Tensor) -> Tensor:
    """ComfyUI's decoded pictures in the plain side's layout and range."""
    video = twin.comfy_vae.decode(latent)
    return (video if video.ndim == 5 else video[None]).movedim(-1, 1) * 2 - 1


@pytest.fixture(scope="module")
def clip(twin):
    return load_comfy_text_encoder(str(twin.folder / "text.safetensors"))


def test_a_request_becomes_the_video_that_comfyui_makes(twin, clip):
    """From words, a reference and a first frame to pictures."""
    settings = plain.Settings(WIDTH, HEIGHT, PICTURES, 4, 3.0, SHIFT, seed=5)
    said = {"positive": "a toy moving right on dark background", "negative": "a ring"}
    request = plain.Request(
        said["positive"], settings, tuple(references()), said["negative"], given=placed([0], "own")
    )
    ours = plain.generate(twin.pipeline, request)
    positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(one)) for one in said.values())
    out = apply_references(
        twin.comfy, None, positive, negative, twin.comfy_vae, empty(), references(), "saber"
    )
    (model,), positive, negative, latent = replace_frames(
        [out.model], out.positive, out.negative, twin.comfy_vae, empty(), placed([0], "own")
    )
    guider = table_guider(model, positive, negative, joint(Scale(3.0)))
    theirs = shown(twin, run.sample(model, None, None, latent, guider=guider))[0]
    assert run.worst(ours, theirs) < 1e-3


@pytest.mark.slow
def test_a_block_of_the_published_width_agrees(tmp_path):
    """3072 wide in 24 heads, by its shapes alone, read from text states 4096 wide; a reference, and a clock
    for each frame."""
    sizes, path = DiTConfig(3072, 14336, 24, 1, 48, 48, 4096), tmp_path / "dit.safetensors"
    save_model(tiny.dit_state(sizes), path, dtype=torch.float32)
    patcher, dit = run.load_model(path), load_dit(path)[0]
    assert dit.config == sizes
    texts = {"positive": run.text(1, width=4096), "negative": run.text(2, width=4096)}
    vae = tiny.save_vae22(tmp_path)
    comfy_vae, plain_vae = run.load_vae22(vae), load_vae(vae)
    out = apply_references(
        patcher,
        None,
        *([[states, {}]] for states in texts.values()),
        comfy_vae,
        empty(),
        references(),
        "saber",
    )
    (model,), positive, negative, _ = replace_frames(
        [out.model], out.positive, out.negative, comfy_vae, empty(), placed([0], "own")
    )
    encoded = plain.encode_references(dit, plain_vae, references(), recipe_named("saber"), GRID)
    frames = plain.encode_frames(plain_vae, placed([0], "own"), empty()["samples"])
    asked = plain.condition(texts, encoded, frames=frames)
    ours = plain.velocity(dit, noisy(), torch.tensor(0.6), asked, CONDITIONED)
    assert run.worst(ours, run.velocity_at(model, positive, negative, noisy(), 0.6)) < 1e-4
