"""Plain host: all that it is asked for, through every attention, against float64 and a whole
mask on the CPU."""

import functools

import pytest
import refvid_riders as plain
import refvid_tiny as tiny
import torch
from refvid_gpu import COMPILER, DEVICE, DRY, TYPES
from refvid_plain_cases import CASES, Case, Host, condition, drawn, evaluated
from torch import Tensor

from refvid.backbones.wan.sampler import flow_sigmas
from refvid.backbones.wan.vae import WanVAE
from refvid.core.controls import Controls, StepWindow
from refvid.core.guidance import Guidance, Scale
from refvid.kernels.paths import ANY_ATTENTION, ATTENTION_NAMES, EAGER

pytestmark = pytest.mark.gpu
CPU = torch.device("cpu")
HEADS = (64,) if DRY else (64, 128)
GRID = (3, 8, 8) if DRY else (5, 16, 24)  # of the latent; 480 tokens of video on a GPU
# The error a result may have, in eps of the type, relative to its norm; a CPU has 3 in fp32, 0.8 in halves. A
# control that is ignored changes a ten-thousandth or more, which fp32 tells; halves tell what is rounded too
# much.
CAP = {torch.float32: 16 if DRY else 64, torch.float16: 3, torch.bfloat16: 3}
LIKE_EAGER = 1.5  # times the error of plain torch in the same type
KINDS = [(dtype, head) for dtype in TYPES for head in HEADS if head == HEADS[-1] or dtype != torch.float16]
named = pytest.mark.parametrize(("dtype", "head"), KINDS, ids=lambda one: str(one).removeprefix("torch."))


@functools.cache
def host(dtype: torch.dtype, head: int) -> Host:
    return Host(head, GRID, dtype, dtype, DEVICE)


@functools.cache
def right(dtype: torch.dtype, head: int, name: str) -> Tensor:
    """With the same rounded weights and inputs, and nothing kept from one evaluation to the next."""
    return evaluated(Host(head, GRID, dtype, torch.float64, CPU), CASES[name], EAGER.name, keeps=False)


def off(found: Tensor, wanted: Tensor) -> float:
    """The relative error; rows of a batch and evaluations each count."""
    away = (found - wanted).flatten(2).norm(dim=2) / wanted.flatten(2).norm(dim=2)
    return away.max().item()


@named
@pytest.mark.parametrize("name", CASES)
def test_every_attention_says_what_float64_says(name, dtype, head):
    found = {path: evaluated(host(dtype, head), CASES[name], path) for path in ATTENTION_NAMES}
    wanted = right(dtype, head, name)
    errors = {path: off(one, wanted) for path, one in found.items()}
    assert all(one.isfinite().all() for one in found.values())
    assert max(errors.values()) <= CAP[dtype] * torch.finfo(dtype).eps, errors
    assert max(errors.values()) <= LIKE_EAGER * errors[EAGER.name] + torch.finfo(torch.float32).eps, errors


@pytest.mark.parametrize("attention", ["triton"] if DRY else ["triton", ANY_ATTENTION])
def test_a_compiled_model_says_the_same(monkeypatch, attention):
    torch._dynamo.reset()
    made, case = Host(HEADS[-1], GRID, TYPES[0], TYPES[0], DEVICE), CASES["two regions"]
    plainly = evaluated(made, case, attention)
    compiled = torch.compile(made.dit.through, backend=COMPILER, fullgraph=True)
    monkeypatch.setattr(made.dit, "through", compiled)
    assert off(evaluated(made, case, attention), plainly) <= CAP[TYPES[0]] * torch.finfo(TYPES[0]).eps


def generated(rounded: torch.dtype, dtype: torch.dtype, device: torch.device, attention: str) -> Tensor:
    """Two guided steps and the pictures that come out; the second step shows one reference less."""
    made = Host(HEADS[-1], GRID, rounded, dtype, device)
    torch.manual_seed(0)
    vae = WanVAE(8).to(rounded).to(device, dtype).eval().requires_grad_(False)
    asked = condition(made, Case((Controls(0.5, StepWindow(0.0, 0.5)), Controls(soft=True))), attention)
    asked.texts["negative"] = plain.Text(made.put(drawn(1, 4, 32, seed=8)))
    guidance = Guidance(Scale(4.0), Scale(4.0), "clip")
    noise = made.latent(9).to(torch.promote_types(dtype, torch.float32))
    return plain.run_steps(made.dit, vae, asked, guidance, noise, flow_sigmas(2, 3.0)).double().cpu()


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_a_run_makes_the_pictures_that_float64_makes(dtype):
    wanted = generated(dtype, torch.float64, CPU, EAGER.name)
    least = (1e-5 if DRY else 1e-4) if dtype == torch.float32 else 0.1
    for attention in ATTENTION_NAMES:
        found = generated(dtype, dtype, DEVICE, attention)
        assert found.std() > 0.1 and (found - wanted).abs().mean() < least * wanted.std(), attention


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@torch.no_grad()
def test_the_wan_2_2_vae_codes_what_float64_codes(dtype):
    video, found = drawn(1, 3, 9, 64, 96, seed=1).clamp(-1, 1), []
    for kind, device in ((torch.float64, CPU), (dtype, DEVICE)):
        vae = tiny.vae22(16).to(dtype).to(device, kind)
        latent = vae.encode(video.to(device, kind))
        found.append([one.double().cpu() for one in (latent, vae.decode(latent))])
    least = (1e-5 if DRY else 1e-4) if dtype == torch.float32 else 0.1
    for wanted, got in zip(*found, strict=True):
        assert (got - wanted).abs().mean() < least * wanted.std()
