"""`refvid train PART --smoke` of every part: what it exports, the averaged weights of its state, and what was
minimised, step by step; with autocast as it is, and without."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from refvid_golden_record import Record, command, numbers, read_tensors
from torch import Tensor

PARTS = ("vae", "dit", "slot_id", "videomaker", "sama")
CLIPS = "latents-"  # files of encoded clips, which both runs share
AVERAGE = "average."


def record(record: Record, tree: Path, asked: Path, folder: Path) -> None:
    """By type/part."""
    for kind, autocast in (("bf16", True), ("fp32", False)):
        for part in PARTS:  # the DiT trains on the VAE before it
            with record.case(f"{kind}/{part}"):
                _train(record, f"{kind}/{part}", part, folder, autocast)
        for file in folder.iterdir():
            if not file.name.startswith(CLIPS):
                file.unlink()


def _train(record: Record, name: str, part: str, folder: Path, autocast: bool) -> None:
    before = set(folder.iterdir())
    with minimised() as values, _autocast(autocast), _clock_stopped():
        _, log = command("train", part, "--smoke", "--out", folder)
    record.keep(f"{name}/minimised", torch.stack(values))
    record.keep(f"{name}/log", numbers([line for line in log if " step " in line]))
    for file in sorted(set(folder.glob("*.safetensors")) - before):
        tensors = read_tensors(file)
        if file.name == f"{part}-run.safetensors":
            tensors = {key: value for key, value in tensors.items() if key.startswith(AVERAGE)}
        elif "-run" in file.stem:
            continue
        elif file.name.startswith(CLIPS):
            tensors = {}
        for key, value in tensors.items():
            record.keep(f"{name}/{file.stem}/{key}", value)


@contextmanager
def minimised() -> Iterator[list[Tensor]]:
    """The value of every tensor that `backward` is called on."""
    values, backward = [], torch.Tensor.backward

    def seen(self: Tensor, *more: Any, **named: Any) -> None:
        values.append(self.detach().float().clone())
        backward(self, *more, **named)

    torch.Tensor.backward = seen
    try:
        yield values
    finally:
        torch.Tensor.backward = backward


@contextmanager
def _autocast(on: bool) -> Iterator[None]:
    """Off: whatever asks for it gets none."""
    autocast = torch.autocast
    if not on:
        torch.autocast = lambda *more, **named: autocast(*more, **{**named, "enabled": False})
    try:
        yield
    finally:
        torch.autocast = autocast


@contextmanager
def _clock_stopped() -> Iterator[None]:
    """A slow machine logs and saves more often, and each line of the log is the mean since the one before."""
    clock = time.monotonic
    time.monotonic = lambda: 0.0
    try:
        yield
    finally:
        time.monotonic = clock
