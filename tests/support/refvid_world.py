"""Training on the demo world, as the command line sets it up."""

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from refvid.backbones.wan.text import TextEncoder
from refvid.backbones.wan.vae import WanVAE
from refvid.demo.source import WorldSource
from refvid.evidence import runs
from refvid.training.base.text import fresh_text_encoder
from refvid.training.engine.encode import ClipEncoder
from refvid.training.engine.method import Method, Setting, train
from refvid.training.engine.models import Models

WORLD = WorldSource()
assert WORLD.name  # made of a few clips, once: before a test listens to what is rendered


def text_encoder(width: int) -> TextEncoder:
    """An untrained one that knows the world's words."""
    return fresh_text_encoder(width, WORLD.vocabulary)


def clip_encoder(vae: WanVAE, text: TextEncoder, folder: Path) -> ClipEncoder:
    """Of clips of the world."""
    return ClipEncoder(vae, text, WORLD, folder)


def setting(folder: Path, models: Models | None = None, **how: Any) -> Setting:
    """A run on the world in a folder; `how` as `Setting` names it."""
    return Setting(WORLD, folder, models, **how)


def trained(method: Method, config: Any, folder: Path, models: Models | None = None, **how: Any) -> nn.Module:
    """Train; -> the averaged module."""
    return train(method, config, setting(folder, models, **how))


def noted_runs(patch: pytest.MonkeyPatch) -> list[str]:
    """Names of the folders in which ablations train an adapter, as they do."""
    folders: list[str] = []

    def note(method: Method, config: Any, asked: Setting, *given: Any) -> nn.Module:
        folders.append(asked.folder.name)
        return train(method, config, asked, *given)

    patch.setattr(runs, "train", note)
    return folders
