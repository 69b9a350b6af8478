"""Guide for users: its run files are read and can train, its keys are all there are; and a plan names why
clips are not used."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from refvid.data.index import Clip, found_clip
from refvid.data.settings import filled, read_toml
from refvid.data.stages.encode import EncodeOptions
from refvid.demo import models
from refvid.training.methods.saber.config import SaberSettings, require_settings
from refvid.training.methods.saber.plan import saber_plan

GUIDE = (Path(__file__).parents[3] / "docs" / "training.md").read_text("utf-8")
RUN_FILES = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.parametrize("place", range(len(RUN_FILES)))
def test_every_run_file_of_the_guide_can_train(place, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(RUN_FILES[place], "utf-8")
    require_settings(filled(SaberSettings, read_toml(path, "--config"), "--config"))


@pytest.mark.parametrize("table", ["data", "references", "train", "memory", "report"])
def test_every_setting_is_in_the_guide(table):
    told = {name.rpartition(".")[2] for name in re.findall(r"`([\w.]+)`", GUIDE)}
    assert not {field.name for field in fields(getattr(SaberSettings(), table))} - told


def film(name: str, pictures: int, side: int, **known) -> Clip:
    clip = found_clip(f"/clips/{name}.mp4", caption="a toy", kind="film")
    told = {"frames": pictures, "fps": 16.0, "width": side, "height": side, "contents": name}
    return replace(clip, **told, **known)


ENCODED = EncodeOptions(frames=(9, 17, 33), pixels=6400)


def on_demo(base_dtype: str) -> SaberSettings:
    """Settings of clips of 33 pictures on the demo's model."""
    base = SaberSettings()
    files = replace(
        base.models,
        dit=str(models.DIT),
        vae=str(models.VAE),
        text_encoder=str(models.TEXT_ENCODER),
        base_dtype=base_dtype,
    )
    return replace(base, models=files, data=replace(base.data, frames=(33,)))


@pytest.mark.parametrize(
    ("base_dtype", "capability", "wide"),
    [("fp32", "AVX2", True), ("fp32", "AVX512", False), ("bf16", "AVX2", False)],
)
def test_a_plan_counts_with_fp32_where_steps_compute_in_it(monkeypatch, base_dtype, capability, wide):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    plan = saber_plan(on_demo(base_dtype), [film("used", 40, 100)], ENCODED, "cpu").plan
    assert plan.shape.wide == wide


def test_a_plan_names_why_each_clip_is_not_used():
    clips = [
        film("used", 40, 100),
        film("small", 40, 40),
        film("brief", 8, 100),
        film("medium", 20, 100),
        film("mute", 40, 100, caption=""),
        film("still", 40, 100).refused("static"),
    ]
    told = saber_plan(on_demo("bf16"), clips, ENCODED, "cpu").lines[1]
    assert told.startswith("data    6 clips; 1 a time through, 0 held out, 5 not used: ")
    assert sorted(told.partition("not used: ")[2].split(" · ")) == [
        "1 no caption",
        "1 of 17 pictures",
        "1 shorter than 9 pictures",
        "1 smaller than its bucket",
        "1 static",
    ]
