"""Tensors on the CPU meet none on a GPU: held on a device that is not there (refvid_pretend)."""

import pytest
import refvid_riders as plain
import refvid_tiny as tiny
import torch
from refvid_plain_cases import CASES, Case, Host, condition, drawn, evaluated
from refvid_pretend import pretended
from refvid_steps import step_of

from refvid.backbones.wan.geometry import WAN_2_1
from refvid.backbones.wan.loading import load_vae
from refvid.backbones.wan.sampler import flow_sigmas
from refvid.backbones.wan.vae import WanVAE
from refvid.core.controls import Controls, StepWindow
from refvid.core.guidance import Guidance, Scale
from refvid.core.layout import Layout, Stream
from refvid.core.recipes import saber
from refvid.core.visibility import reference_turn
from refvid.kernels.segments import kept_keys, segments_of, visitors, visits

CPU = torch.device("cpu")
CLOSE = {"rtol": 0, "atol": 1e-5}


def host(device: torch.device) -> Host:
    return Host(16, (3, 8, 8), torch.float32, torch.float32, device)


def test_tensors_of_two_devices_do_not_meet():
    with pretended() as device:
        there, here = torch.zeros(3, device=device), torch.zeros(3)
        assert there.device == device and (there + here.to(device) + torch.tensor(1.0)).sum().item() == 3
        assert there[torch.arange(2)].device == device
        for wrong in (lambda: there + here, lambda: here[torch.arange(2, device=device)]):
            with pytest.raises(RuntimeError, match="on the CPU and on"):
                wrong()


@pytest.mark.parametrize("attention", ["auto", "eager"])
@pytest.mark.parametrize("name", CASES)
def test_an_evaluation_on_another_device_is_that_on_the_cpu(name, attention):
    with pretended() as device:
        found = evaluated(host(device), CASES[name], attention)
    torch.testing.assert_close(found, evaluated(host(CPU), CASES[name], attention), **CLOSE)


def generated(device: torch.device) -> torch.Tensor:
    made = host(device)
    torch.manual_seed(0)
    vae = WanVAE(8).to(device).eval().requires_grad_(False)
    case = Case((Controls(0.5, StepWindow(0.0, 0.5)), Controls()))
    asked = condition(made, case, "auto")
    asked.texts["negative"] = plain.Text(made.put(drawn(1, 4, 32, seed=8)))
    noise, sigmas = made.latent(9), flow_sigmas(2, 3.0)
    return plain.run_steps(
        made.dit, vae, asked, Guidance(Scale(4.0), Scale(4.0), "clip"), noise, sigmas
    ).cpu()


def test_a_run_on_another_device_is_that_on_the_cpu():
    with pretended() as device:
        found = generated(device)
    torch.testing.assert_close(found, generated(CPU), **CLOSE)


def coded(path, device: torch.device) -> list[torch.Tensor]:
    vae, video = load_vae(path, device=str(device)), drawn(1, 3, 5, 16, 32, seed=1)
    latent = vae.encode(video.to(device))
    return [one.cpu() for one in (latent, vae.decode(latent))]


def test_the_wan_2_2_vae_on_another_device_codes_what_it_codes_on_the_cpu(tmp_path):
    path = tiny.save_vae22(tmp_path)
    with pretended() as device:
        found = coded(path, device)
    for one, right in zip(found, coded(path, CPU), strict=True):
        torch.testing.assert_close(one, right, **CLOSE)


@pytest.mark.parametrize("replaced", [True, False])
def test_a_training_step_on_another_device_is_that_on_the_cpu(replaced):
    with pretended() as device:
        found = step_of(device, head=16, replaced=replaced)
    for one, right in zip(found, step_of(CPU, head=16, replaced=replaced), strict=True):
        torch.testing.assert_close(one, right, rtol=1e-4, atol=1e-6)


def tables(device: torch.device) -> list[torch.Tensor]:
    """Segments that tell the kernels who sees whom."""
    layout = Layout(
        saber(), (Stream(2, 3, 5, Controls(sees="itself")), Stream(2, 3, 6, Controls(0.5))), WAN_2_1
    )
    now = reference_turn(layout, 0.0, None, None, 12, 2, device)
    assert now is not None and now.groups is not None and now.bias is not None
    keep = torch.arange(23, device=device)[None] % 5 > 1
    every = [segments_of(now.groups), kept_keys(keep, 9)]
    return [table(seen, 4, 4).cpu() for seen in every for table in (visits, visitors)]


def test_tables_of_segments_are_made_where_the_tokens_lie():
    with pretended() as device:
        found = tables(device)
    assert all(torch.equal(*pair) for pair in zip(found, tables(CPU), strict=True))
