"""Inside real ComfyUI on a CUDA device, or small on the CPU with the kernels interpreted: every control
through every attention, beside a LoRA, another pack's override, torch.compile and batches; core's fused
modulation at a real size."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import comfy.ldm.wan.model as core
import comfy.quant_ops
import comfy.sd
import pytest
import refvid_riders as plain
import refvid_tiny as tiny
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from refvid_gpu import DEVICE, DRY, TYPES
from refvid_in_process import load_vae, picture, sample
from refvid_in_process import text as text_of
from refvid_test_nodes import tiny_wan22_vae
from torch import Tensor

from refvid.backbones.wan.dit import DiTConfig, WanDiT
from refvid.core.controls import Controls, FrameWindow, StepWindow
from refvid.core.frames import GivenFrames, Placed
from refvid.core.guidance import CONDITIONED
from refvid.core.recipes import in_context, recipe_named
from refvid.core.references import make_reference
from refvid.core.verdicts import Verdicts
from refvid.hosts.comfy import adapters, attention_choice, wire
from refvid.hosts.comfy.frames import replace_frames
from refvid.hosts.comfy.identities import apply_identity
from refvid.hosts.comfy.install import install
from refvid.hosts.comfy.references import AttachedReferences, apply_references
from refvid.hosts.comfy.source.modules import attach_modules
from refvid.hosts.comfy.source.rider import Source, attach
from refvid.kernels import paths

pytestmark = [pytest.mark.comfy, pytest.mark.gpu]
HEAD, FRAMES, SIDE = (64, 2, 8) if DRY else (128, 5, 32)  # SIDE in cells of the latent
SIZES = DiTConfig(2 * HEAD, 3 * HEAD, 2, 2, 16, 16, tiny.TEXT_WIDTH)
LATENT = {"samples": torch.zeros(1, 16, FRAMES, SIDE, SIDE)}
LEFT = torch.zeros(8 * SIDE, 8 * SIDE).index_fill(1, torch.arange(4 * SIDE), 1.0)
RIGHT = 1 - LEFT
SLOT = "optimized_attention_override"
# The relative error after guided steps; halves are held to that of plain torch in the same type besides.
CAP = {torch.float32: 1e-5 if DRY else 1e-4, torch.float16: 0.05, torch.bfloat16: 0.2}
LIKE_EAGER = 1.5  # times that


@dataclass(frozen=True)
class Inside:
    """ComfyUI's model in a type, its VAE and a Slot-ID adapter."""

    model: object
    vae: object
    folder: Path

    def applied(self, *asked: dict, recipe="saber", model=None, texts=None) -> tuple:
        """(model, positive, negative) with a reference for each of `asked`, its controls and region."""
        given = []
        for seed, one in enumerate(asked, 3):
            mask = torch.ones(64, 64)
            mask[:, :20], mask[50:] = 0, 0.4
            controls = Controls(**{name: value for name, value in one.items() if name != "region"})
            given.append(make_reference(picture(seed), mask, controls, one.get("region")))
        texts = texts or ([[text_of(1), {}]], [[text_of(2), {}]])
        out = apply_references(model or self.model, None, *texts, self.vae, LATENT, given, recipe)
        return out.model, out.positive, out.negative


def identities(inside: Inside) -> tuple:
    """One of a person in the left half, beside a reference."""
    adapter = adapters.load_comfy_adapter(str(tiny.save_adapter(inside.folder, SIZES)))
    film = torch.rand(7, 48, 48, 3, generator=torch.Generator().manual_seed(1))
    person = adapters.encode_comfy_identity(adapter, inside.vae, film, None, None)[0]
    model, *texts = inside.applied({"strength": 0.5})
    asked = {"strength": 0.4, "region": LEFT, "latent": LATENT}
    (model,), *texts = apply_identity([model], *texts, adapter, person, **asked)
    return model, *texts


def source(semantic: bool) -> Callable[[Inside], tuple]:
    def made(inside: Inside) -> tuple:
        recipe = recipe_named("sama") if semantic else in_context()
        model, film = (
            inside.model,
            torch.stack([picture(21 + k, 8 * SIDE, 8 * SIDE) for k in range(4 * FRAMES - 3)]),
        )
        if semantic:
            model = attach_modules(model, tiny.semantic_state(SIZES.width), "test")
        encoded = inside.vae.encode(film)
        texts = [attach([[text_of(seed), {}]], encoded, recipe) for seed in (1, 2)]
        model = install(model, Source)
        return inside.applied({"strength": 0.5}, recipe=recipe, model=model, texts=texts)

    return made


def frames(inside: Inside) -> tuple:
    model, *texts = inside.applied({"strength": 0.5}, {})
    placed = Placed(picture(9, 8 * SIDE, 8 * SIDE)[None], [0])
    (model,), *texts, _ = replace_frames([model], *texts, inside.vae, LATENT, placed)
    return model, *texts


FADE, SECOND = StepWindow(0.0, 1.0, 0.0, 0.99), StepWindow(0.05)  # steps are at shares 0 and about 0.2
CASES: dict[str, Callable[[Inside], tuple]] = {
    "neutral": lambda i: i.applied({}, {}),
    "strengths": lambda i: i.applied({"strength": 0.3}, {"strength": 3.0}),
    "a soft mask beside one of the second step": lambda i: i.applied({"soft": True}, {"steps": SECOND}),
    "a fade": lambda i: i.applied({"steps": FADE}),
    "some frames": lambda i: i.applied({"frames": FrameWindow(0, 0)}, {}),
    "a region": lambda i: i.applied({"region": LEFT, "strength": 0.5}, {}),
    "two regions": lambda i: i.applied({"region": LEFT}, {"region": RIGHT}),
    "sees the video": lambda i: i.applied({"sees": "video", "strength": 0.5}, {}),
    "sees itself": lambda i: i.applied({"sees": "itself", "strength": 2.0}, {}),
    "sees frames, whose mean it takes": lambda i: i.applied({"sees": "frames"}, {}),
    "VideoMaker's kept keys": lambda i: i.applied({"sees": "itself"}, recipe="videomaker"),
    "identities": identities,
    "a source": source(False),
    "a source with semantic tokens": source(True),
    "given frames": frames,
}
AVERAGES = "sees frames, whose mean it takes"
TWICE = {
    "a soft mask beside one of the second step",
    "a fade",
    "VideoMaker's kept keys",
}  # two steps: they differ
PATHS = (
    ("auto", "triton") if DRY else ("eager", "auto", "deterministic", "triton")
)  # fp32's eager is what is right


@pytest.fixture(autouse=True)
def own_verdicts(monkeypatch, tmp_path_factory):
    """Verdicts of `auto` on this GPU are not kept for its user."""
    folder = tmp_path_factory.getbasetemp() / "verdicts"
    monkeypatch.setattr(attention_choice, "COMFY_VERDICTS", Verdicts(lambda: folder))


@pytest.fixture(scope="module")
def inside(folder):
    file = tiny.save_dit(folder, "gpu.safetensors", SIZES, tiny.dit_state(SIZES))
    vae = load_vae(tiny.save_vae(folder))
    return {
        dtype: Inside(comfy.sd.load_diffusion_model(str(file), model_options={"dtype": dtype}), vae, folder)
        for dtype in TYPES
    }


def ran(monkeypatch, path: str, made: tuple, latent=LATENT, **how) -> Tensor:
    """Samples by the attention of this name."""
    monkeypatch.setenv(paths.ASKED, path)
    monkeypatch.setattr(paths, "_told", set())
    return sample(*made, latent, **{"steps": 1, **how}).double().cpu()


def off(found: Tensor, wanted: Tensor) -> float:
    assert found.isfinite().all()
    return ((found - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_every_attention_says_what_plain_torch_says(inside, monkeypatch, caplog, name, dtype):
    steps = 1 + (name in TWICE)
    wanted = ran(monkeypatch, "eager", CASES[name](inside[torch.float32]), steps=steps)
    made, errors = CASES[name](inside[dtype]), {}
    for path in PATHS:
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="refvid"):
            errors[path] = off(ran(monkeypatch, path, made, steps=steps), wanted)
        told = "attention path triton" in caplog.text
        assert path != "triton" or told == (name != AVERAGES), caplog.text
    least = max(errors.get("eager", 0.0), CAP[torch.float32] / LIKE_EAGER)
    assert max(errors.values()) <= min(CAP[dtype], LIKE_EAGER * least), errors


def test_compiled_runs_agree(inside, monkeypatch):
    """Captured whole; generating code is left out where it would be a CPU's."""
    torch._dynamo.reset()
    made = CASES["two regions"](inside[torch.float32])
    compiled = made[0].clone()
    set_torch_compile_wrapper(compiled, backend="eager" if DRY else "inductor", fullgraph=True, dynamic=False)
    wanted = ran(monkeypatch, "eager", made)
    for path in ("triton",) if DRY else ("triton", "deterministic"):
        found = ran(monkeypatch, path, (compiled, *made[1:]))
        assert off(found, wanted) < (1e-5 if DRY else 1e-3), path


def test_batches_of_two_agree(inside, monkeypatch):
    made = CASES["strengths"](inside[torch.float32])
    two = {"samples": LATENT["samples"].repeat(2, 1, 1, 1, 1)}
    eager, triton = (ran(monkeypatch, path, made, two) for path in ("eager", "triton"))
    assert off(triton, eager) < CAP[torch.float32] < 100 * off(eager[:1], eager[1:])


def test_a_lora_acts_on_references_and_video_alike(inside, monkeypatch):
    """Put on before or after the references, it is in the weights that every attention sees."""
    rows, here = tiny.lora_of(SIZES, "self_attn"), inside[torch.float32]

    def with_lora(model):
        return comfy.sd.load_lora_for_models(model, None, dict(rows), 1.0, 0.0)[0]

    before = here.applied({"strength": 0.5}, model=with_lora(here.model))
    model, *texts = here.applied({"strength": 0.5})
    wanted = ran(monkeypatch, "eager", (with_lora(model), *texts))
    assert off(ran(monkeypatch, "eager", (model, *texts)), wanted) > 0.01
    for path in ("triton", "deterministic"):
        assert off(ran(monkeypatch, path, before), wanted) < CAP[torch.float32], path


def test_another_packs_override_is_called_and_changes_nothing_by_that(inside, monkeypatch):
    calls, here = [], inside[torch.float32]

    def idle(kernel, *args, **kwargs):
        calls.append(kwargs.get("mask") is not None)
        return kernel(*args, **kwargs)

    model = here.model.clone()
    model.model_options["transformer_options"][SLOT] = idle
    asked = {"strength": 0.5}, {"region": LEFT}
    wanted = ran(monkeypatch, "eager", here.applied(*asked))
    for path in ("triton", "deterministic"):
        found = ran(monkeypatch, path, here.applied(*asked, model=model))
        assert off(found, wanted) < CAP[torch.float32], path
        calls.clear()
        ran(monkeypatch, path, here.applied(*asked, model=model))
        # The text is read through it in both; self-attention where that is the host's, with weights on keys.
        assert calls and any(calls) == (path == "deterministic"), path


WIDE = (
    DiTConfig(128, 192, 2, 1, 48, 48, tiny.TEXT_WIDTH)
    if DRY
    else DiTConfig(3072, 3072, 24, 1, 48, 48, tiny.TEXT_WIDTH)
)
GRID = (3, 8, 8) if DRY else (13, 40, 44)  # 6,160 tokens with one reference: 18.9 million numbers a tensor


def test_a_block_of_real_size_with_a_clock_per_frame_is_its_joined_sequence(folder, monkeypatch):
    """TI2V with a given first frame and references behind the video. From 16 million numbers on newer
    ComfyUIs call a fused kernel for the modulation on CUDA; against our own DiT in fp32."""
    made = tiny.dit_state(WIDE)
    made["blocks.0.self_attn.norm_q.weight"] *= (
        5  # else attention is the mean of thousands, which hides references
    )
    file = tiny.save_dit(folder, "wide.safetensors", WIDE, made)
    dtype = torch.float32 if DRY else torch.bfloat16
    model = comfy.sd.load_diffusion_model(str(file), model_options={"dtype": dtype})
    dit = WanDiT(WIDE)
    dit.load_state_dict({key: value.to(dtype).float() for key, value in made.items()})
    dit.to(DEVICE).eval().requires_grad_(False)
    vae, fused = tiny_wan22_vae(), []
    kernel = getattr(comfy.quant_ops.ck, "adaln", None)
    if kernel is not None:
        monkeypatch.setattr(comfy.quant_ops.ck, "adaln", lambda *a, **kw: fused.append(1) or kernel(*a, **kw))
    latent, noise = (torch.randn(1, 48, *GRID, generator=torch.Generator().manual_seed(k)) for k in (8, 5))
    mask = torch.ones(1, 1, *GRID)
    mask[:, :, 0] = 0
    shown = make_reference(picture(3), None, Controls(10.0))
    given = {"samples": latent, "noise_mask": mask}
    texts = [[text_of(1), {}]], [[text_of(2), {}]]
    out = apply_references(model, None, *texts, vae, given, [shown], "saber")
    wanted = {one: joined(dit, model, out.positive[0], given, noise, one) for one in (True, False)}
    for path in ("triton", "deterministic"):
        fused.clear()
        sampled = (out.model, out.positive, out.negative)
        found = ran(monkeypatch, path, sampled, given, cfg=1.0, noise=noise)
        found = model.model.process_latent_in(found)[:, :, 1:]
        away, bare = off(found, wanted[True]), off(found, wanted[False])
        assert away < (1e-5 if DRY else 0.02) and bare > 5 * away, (path, away, bare)
        if hasattr(core, "modulate") and not DRY:
            assert fused, "core's fused modulation did not run"


def joined(dit: WanDiT, model, positive: list, given: dict, noise: Tensor, references: bool) -> Tensor:
    """The frames behind the first that a step from pure noise makes of the whole sequence, by our DiT in
    fp32."""
    text, options = positive
    attached = wire.read(AttachedReferences, options)
    arranged = attached.arranged(dit.geometry)
    to = {"device": DEVICE, "dtype": torch.float32}
    shown = tuple(model.model.process_latent_in(one).to(**to) for one in attached.latents)
    encoded = plain.ReferencesRider(arranged, shown) if references else None
    replaced = torch.zeros(GRID[0], dtype=torch.bool).index_fill(0, torch.tensor(0), True)
    clean = model.model.process_latent_in(given["samples"]) * replaced[None, None, :, None, None]
    asked = plain.condition(
        {"positive": text.to(**to)},
        encoded,
        attention="deterministic",
        frames=GivenFrames(clean.to(**to), replaced),
    )
    with torch.no_grad():
        start = noise.to(**to)
        towards = plain.velocity(dit, start, torch.ones((), device=DEVICE), asked, CONDITIONED)
    return (start - towards)[:, :, 1:].double().cpu()
