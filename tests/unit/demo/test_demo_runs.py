"""Run files of the demo: what the shipped files say that they were made by."""

import json
from dataclasses import asdict

import pytest

from refvid.backbones.wan.geometry import WAN
from refvid.core.adapter import load_adapter
from refvid.core.checkpoint import read_shapes
from refvid.demo import models
from refvid.demo.runs import DEMO_RUNS


def said_by(path) -> dict:
    return json.loads(read_shapes(path, "file")[1]["refvid.training"])


def asked_of(name: str) -> dict:
    return json.loads(json.dumps(asdict(DEMO_RUNS[name].demo())))


@pytest.mark.parametrize("name", ["sama", "videomaker"])
def test_an_adapters_run_file_is_what_the_shipped_one_was_trained_by(name):
    assert asked_of(name) == said_by(getattr(models, name.upper()))


def test_the_run_file_of_the_dit_makes_one_of_the_shipped_ones_sizes_settings_and_clips():
    """Its stages are those of several legs (docs/demo-training.md)."""
    asked, said = asked_of("dit"), said_by(models.DIT)
    for part in ("model", "settings", "kinds", "size", "references"):
        assert asked[part] == said[part], part
    assert load_adapter(models.SLOT_ID, WAN).config == DEMO_RUNS["slot_id"].demo().slots
