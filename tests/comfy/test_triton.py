"""References through the Triton kernel in ComfyUI, where it cannot run: what runs in its place, and what is
said. Where it can is in test_gpu.py, which runs here as well, small, in Triton's interpreter."""

import importlib.util
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import refvid_patience as patience
import torch
from refvid_gpu import DRY
from refvid_in_process import empty_latent, picture, sample
from refvid_in_process import text as text_of

from refvid.core.controls import Controls
from refvid.core.references import make_reference
from refvid.hosts.comfy import attention
from refvid.hosts.comfy.references import apply_references

pytestmark = pytest.mark.comfy
LEFT = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)
TEXTS = [[text_of(1), {}]], [[text_of(2), {}]]


def run(model, vae, references, name: str):
    out = apply_references(model, None, *TEXTS, vae, empty_latent(), references, "saber", attention=name)
    return sample(out.model, out.positive, out.negative, empty_latent(), steps=1)


def reference(seed: int = 3, region=None, **controls):
    return make_reference(picture(seed), None, Controls(**controls), region)


CASES = {
    "neutral": lambda: [reference()],
    "two regions": lambda: [reference(region=LEFT), reference(4, region=1 - LEFT)],
}


def test_the_tests_of_the_gpu_run_in_tritons_interpreter():
    """Runs in a process of its own: Triton reads the environment when it is imported."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed beside ComfyUI: pip install triton==3.7.1 there (Linux)")
    assert not DRY
    file = Path(__file__).with_name("test_gpu.py")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "comfy and gpu", "-W", "default", str(file)]
    environment = {**os.environ, "REFVID_DRY": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=patience.PROCESS, check=False
    )
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-3000:]


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
        run(t2v, vae, [reference(strength=0.3)], "triton")
    assert len(told(caplog)) == 1 and "--disable-triton-backend" in told(caplog)[0]
