"""`attention = auto` without ComfyUI on a GPU, played on the CPU: Triton's place is taken by plain torch."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import refvid_races
import refvid_riders as plain
import refvid_tiny as tiny
import torch

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.vae import WanVAE
from refvid.core import verdicts
from refvid.core.controls import Controls, StepWindow
from refvid.core.guidance import CONDITIONED
from refvid.core.recipes import recipe_named
from refvid.core.references import make_reference
from refvid.hosts.plain import attention_choice as plain_attention
from refvid.hosts.plain.pipeline import Settings, inspect_references

LEFT = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)
GRID = (2, 8, 8)
NEUTRAL, STRENGTH, REGION = (
    (Controls(), None),
    (Controls(0.3), None),
    (Controls(2.0), LEFT),
)


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    monkeypatch.setattr(plain_attention, "PLAIN_VERDICTS", verdicts.Verdicts(lambda: tmp_path))
    return refvid_races.play(monkeypatch, plain_attention, 3.0, 1.0)


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    dit = WanDiT(tiny.config())
    dit.load_state_dict(tiny.dit_state(tiny.config()))
    return dit.eval().requires_grad_(False), WanVAE(4).eval().requires_grad_(False)


def velocity(models, asked, name: str = "auto", recipe: str = "saber"):
    controls, region = asked
    generator = torch.Generator().manual_seed(0)
    reference = make_reference(torch.rand(40, 60, 3, generator=generator), None, controls, region)
    encoded = plain.encode_references(*models, [reference], recipe_named(recipe), GRID)
    text = torch.randn(1, 6, tiny.TEXT_WIDTH, generator=generator)
    condition = plain.condition({"positive": text}, encoded, attention=name)
    latent = torch.randn(2, 16, *GRID, generator=generator)
    return plain.velocity(models[0], latent, torch.tensor(0.6), condition, CONDITIONED)


@pytest.mark.parametrize("asked", [STRENGTH, REGION])
def test_the_winner_runs_and_says_the_same(models, gpu, caplog, asked):
    with caplog.at_level(logging.INFO, logger="refvid"):
        found = velocity(models, asked)
    ((call, held),) = gpu.races
    assert held.path == "triton" and list(held.milliseconds) == ["bias", "triton"] and not held.left_out
    assert gpu.calls == len(models[0].blocks) and "timed here: triton 1 ms, bias 3 ms" in caplog.text
    config = models[0].config
    assert (call.batch, call.heads, call.size) == (2, config.heads, config.width // config.heads)
    assert call.tokens == 2 * 16 + call.references and call.dtype == torch.float32
    torch.testing.assert_close(found, velocity(models, asked, "deterministic"), rtol=0, atol=2e-5)
    velocity(models, asked)
    assert len(gpu.races) == 1


def test_a_slow_one_leaves_every_bit_as_it_was(models, gpu):
    gpu.taken = (1.0, 1.0)
    found = velocity(models, REGION)
    assert len(gpu.races) == 1 and not gpu.calls
    assert torch.equal(found, velocity(models, REGION, "deterministic"))


def test_neutral_references_and_kept_keys_race_with_nobody(models, gpu):
    assert torch.equal(velocity(models, NEUTRAL), velocity(models, NEUTRAL, "deterministic"))
    velocity(models, (Controls(sees="itself"), None), recipe="videomaker")
    assert not gpu.races and not gpu.calls


@pytest.mark.parametrize(("name", "runs"), [("triton", True), ("deterministic", False)])
def test_what_is_asked_for_by_name_is_not_raced(models, gpu, name, runs):
    velocity(models, STRENGTH, name)
    assert not gpu.races and bool(gpu.calls) == runs


def test_only_references_that_act_are_in_the_race(models, gpu):
    """The second begins later."""
    generator = torch.Generator().manual_seed(0)
    given = [
        make_reference(torch.rand(40, 60, 3, generator=generator), None, Controls(0.3, StepWindow(start)))
        for start in (0.0, 0.9)
    ]
    encoded = plain.encode_references(*models, given, recipe_named("saber"), GRID)
    behind = plain.tail(models[0], encoded, torch.randn(1, 16, *GRID))
    behind.attend(*torch.randn(3, 1, 2, 2 * 16 + behind.tokens.shape[1], 16), None)
    ((call, held),) = gpu.races
    assert call.references == behind.tokens.shape[1] < encoded.arranged.layout.kept and not held.left_out


def test_what_the_kernel_does_not_take_is_left_to_torchs(models, gpu, monkeypatch):
    """A mean over frames, too many segments, heads that are too large: torch's runs alone."""
    velocity(models, (Controls(0.3, sees="frames"), None))
    monkeypatch.setattr(plain_attention, "too_many", lambda groups: "32 segments")
    velocity(models, REGION)
    sizes = []
    monkeypatch.setattr(plain_attention, "why_not", lambda *given: sizes.append(given[2:]) or "too large")
    velocity(models, STRENGTH)
    config = models[0].config
    assert sizes == [(config.width // config.heads,)] and not gpu.races and not gpu.calls


def test_inspecting_says_what_was_timed_or_will_be(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    dit = tiny.save_models(tmp_path, tiny.config())[0]
    settings = replace(Settings(), width=64, height=64, frames=5)
    reference = make_reference(torch.rand(40, 60, 3), None, Controls(0.3))

    def said() -> str:
        (choice,) = inspect_references(dit, [reference], settings, "saber")[0].choices
        return f"{choice.path.name}: {choice.reason}"

    assert said().startswith("bias: not removal") and "timed against others before the first step" in said()
    assert not gpu.races


def test_on_a_cpu_nothing_is_raced_or_written(models, monkeypatch):
    def never(*_, **__):
        raise AssertionError("a race on a CPU")

    monkeypatch.setattr(verdicts, "race", never)
    monkeypatch.setattr(plain_attention.PLAIN_VERDICTS, "_machine", never)
    for asked in (NEUTRAL, STRENGTH, REGION):
        assert torch.equal(velocity(models, asked), velocity(models, asked, "deterministic"))


@pytest.mark.parametrize(
    ("system", "variable", "value", "folder"),
    [
        ("linux", "XDG_CACHE_HOME", None, ".cache/refvid"),
        ("linux", "XDG_CACHE_HOME", "/caches", "/caches/refvid"),
        ("darwin", "XDG_CACHE_HOME", None, "Library/Caches/refvid"),
        ("win32", "LOCALAPPDATA", None, "AppData/Local/refvid"),
        ("win32", "LOCALAPPDATA", "/local", "/local/refvid"),
    ],
)
def test_verdicts_lie_where_a_system_keeps_such_things(monkeypatch, system, variable, value, folder):
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.delenv(variable, raising=False)
    if value is not None:
        monkeypatch.setenv(variable, value)
    assert plain_attention.cache_folder() == Path.home() / folder  # an absolute one stays


def test_what_was_found_is_kept_there(models, gpu, tmp_path):
    velocity(models, STRENGTH)
    ((machine, kinds),) = json.loads((tmp_path / verdicts.VERDICTS_FILE).read_text()).items()
    assert machine.startswith(refvid_races.NAME) and next(iter(kinds)).endswith(", torch's: bias, triton")
