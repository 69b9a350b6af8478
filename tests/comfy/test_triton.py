"""References through the Triton kernel in ComfyUI: in Triton's interpreter, since there is no GPU here."""

import importlib.util
import logging
import os
import subprocess
import sys

import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from refvid_run import empty_latent, picture, sample, worst
from refvid_run import text as text_of

from refvid.core.controls import Controls
from refvid.core.references import make_reference
from refvid.hosts.comfy import attention
from refvid.hosts.comfy.apply import apply_references

pytestmark = pytest.mark.comfy
LEFT = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


TEXTS = [[text_of(1), {}]], [[text_of(2), {}]]


def run(model, vae, references, name: str):
    out = apply_references(model, None, *TEXTS, vae, empty_latent(), references, "saber", attention=name)
    return sample(out.model, out.positive, out.negative, empty_latent(), steps=1)


def reference(seed: int = 3, region=None, **controls):
    return make_reference(picture(seed), None, Controls(**controls), region)


CASES = {
    "neutral": lambda: [reference()],
    "strength": lambda: [reference(strength=0.3)],
    "two regions": lambda: [reference(region=LEFT), reference(4, region=1 - LEFT)],
    "sees itself": lambda: [reference(sees="itself", strength=2.0), reference(4)],
}


def test_the_kernel_runs_in_tritons_interpreter():
    """In a process of its own: Triton reads the variable when it is imported."""
    if INTERPRETED:
        pytest.skip("this is that process")
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed beside ComfyUI: pip install triton==3.7.1 there (Linux)")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "comfy", "-W", "default", __file__, "-k", "agree"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0 and f"{len(CASES) + 2} passed" in done.stdout, done.stdout[-3000:]


@pytest.mark.skipif(not INTERPRETED, reason="run by the test above")
@pytest.mark.parametrize("case", CASES)
def test_the_kernel_agrees_with_plain_torch(t2v, vae, monkeypatch, caplog, case):
    monkeypatch.setattr("refvid.kernels.paths._told", set())
    with caplog.at_level(logging.INFO, logger="refvid"):
        found = run(t2v, vae, CASES[case](), "triton")
    assert [r for r in caplog.records if "attention path triton" in r.getMessage()]
    assert worst(found, run(t2v, vae, CASES[case](), "eager")) < 1e-4


def both(t2v, vae, case: str):
    return [
        apply_references(t2v, None, *TEXTS, vae, empty_latent(), CASES[case](), "saber", attention=name)
        for name in ("triton", "eager")
    ]


@pytest.mark.skipif(not INTERPRETED, reason="run by the test above")
def test_compiled_runs_agree(t2v, vae):
    """Captured whole; code generation is left out."""
    ours, plain = both(t2v, vae, "two regions")
    compiled = ours.model.clone()
    set_torch_compile_wrapper(
        compiled, backend="eager", options=None, mode=None, fullgraph=True, dynamic=False
    )
    found = sample(compiled, ours.positive, ours.negative, empty_latent(), steps=1)
    assert worst(found, sample(plain.model, plain.positive, plain.negative, empty_latent(), steps=1)) < 1e-4


@pytest.mark.skipif(not INTERPRETED, reason="run by the test above")
def test_batches_of_two_agree(t2v, vae):
    latent = empty_latent()
    two = {"samples": latent["samples"].repeat(2, 1, 1, 1, 1)}
    ours, plain = (
        sample(out.model, out.positive, out.negative, two, steps=1) for out in both(t2v, vae, "strength")
    )
    assert worst(ours, plain) < 1e-4 < worst(ours[:1], ours[1:])


def told(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if "attention path" in r.getMessage()]


@pytest.mark.parametrize("case", ["neutral", "two regions"])
def test_where_it_cannot_run_the_usual_path_does_and_the_reason_is_told_once(
    t2v, vae, monkeypatch, caplog, case
):
    monkeypatch.setattr("refvid.kernels.segment_attention.INSTALLED", True)
    monkeypatch.setattr("refvid.kernels.paths._told", set())
    with caplog.at_level(logging.INFO, logger="refvid"):
        found = run(t2v, vae, CASES[case](), "triton")
    assert len(told(caplog)) == 1 and "needs a CUDA device, not cpu" in told(caplog)[0]
    assert torch.equal(found, run(t2v, vae, CASES[case](), "auto"))


def test_comfyuis_own_switch_is_honoured(t2v, vae, monkeypatch, caplog):
    monkeypatch.setattr("refvid.kernels.paths._told", set())
    monkeypatch.setattr(attention.options_of_comfyui, "disable_triton_backend", True)
    with caplog.at_level(logging.INFO, logger="refvid"):
        run(t2v, vae, CASES["strength"](), "triton")
    assert len(told(caplog)) == 1 and "--disable-triton-backend" in told(caplog)[0]
