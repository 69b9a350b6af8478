"""Evidence commands in small: tables, sheets and figures of `refvid ablate` and `refvid score --frames`."""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from refvid_golden_inputs import PROMPT
from refvid_golden_record import PACKAGE, Record, command, said_without_files, vaes
from torch import Tensor, nn

# No option makes these smaller. Fields of the package's dataclasses, by name, and the most that they hold:
# clips that are encoded, steps of training and of sampling, keys of a long video.
MOST = {"clips": 64, "count": 64, "steps": 2, "motion_steps": 1, "keys": 3}
SYSTEMS = {
    "saber": ["--steps", 1, "--pretraining", 1, "--toys", 3],
    "frames": ["--steps", 1, "--pretraining", 1, "--toys", 3, "--noises", 2],
    "slot_id": ["--steps", 1, "--toys", 4, "--seeds", 1, "--noises", 2],
    "videomaker": ["--steps", 1, "--toys", 3, "--seeds", 1, "--noises", 2],
    "sama": ["--steps", 2, "--toys", 2, "--seeds", 2, "--noises", 1],
}
VALUES = ("values.json", "probe-*.json")  # of a run's folder


def record(record: Record, tree: Path, asked: Path, folder: Path) -> None:
    """By system: lines, sheets, figures of every run."""
    with _small():
        command("generate", "--prompt", PROMPT, "--steps", 1, "--out", folder / "loads")
    with _small(), _encoded_once():
        for system, options in SYSTEMS.items():
            with record.case(system):
                _ablated(record, system, options, folder)
        with record.case("score frames"):
            out = folder / "frames"
            said, _ = command("score", "--frames", "--toys", 2, "--seeds", 1, "--out", out)
            record.keep("score frames/lines", said_without_files(said))
            for file in sorted(file for file in out.iterdir() if file.suffix in (".json", ".png")):
                record.keep_file(f"score frames/{file.name}", file)


def _ablated(record: Record, system: str, options: list[object], folder: Path) -> None:
    """A second time nothing is trained or measured, and the same is said. RuntimeError where it is not."""
    out = folder / ("saber" if system == "frames" else system)  # which goes on from saber's pretraining
    before = {*out.rglob("*")} if out.exists() else set()
    said, _ = command("ablate", system, *options, "--out", out)
    record.keep(f"{system}/lines", said_without_files(said))
    fresh = [file for file in sorted(out.rglob("*")) if file not in before]
    for file in fresh:
        name = f"{system}/{file.relative_to(out)}"
        if file.suffix in (".jpg", ".png"):
            record.keep_file(name, file)
        elif file.suffix == ".md":
            record.keep(name, said_without_files(file.read_text("utf-8").splitlines()))
        elif any(file.match(pattern) for pattern in VALUES):
            _keep_values(record, name, file)
    again, log = command("ablate", system, *options, "--out", out)
    if again != said or any(" step " in line for line in log):
        raise RuntimeError(f"ablate {system}, asked again, says {again} and logs {log}")


def _keep_values(record: Record, name: str, file: Path) -> None:
    """One tensor for each variant and figure."""
    for variant, row in json.loads(file.read_text("utf-8"))["values"].items():
        for figure, values in row.items():
            record.keep(f"{name}/{variant}/{figure}", torch.tensor(values, dtype=torch.float64))


@contextmanager
def _small() -> Iterator[None]:
    """Every dataclass of the package that is defined from here on holds at most MOST. Its modules are read
    when a command runs, whatever their names."""
    made = dataclasses.dataclass

    def small(cls: type | None = None, /, **options: Any) -> Any:
        if cls is None:
            return functools.partial(small, **options)
        whole = made(cls, **options)
        return _held(whole) if whole.__module__.startswith(f"{PACKAGE}.") else whole

    dataclasses.dataclass = small
    try:
        yield
    finally:
        dataclasses.dataclass = made


def _held(cls: type) -> type:
    names = [field.name for field in dataclasses.fields(cls) if field.name in MOST]
    if not names:
        return cls
    begin: Callable[..., None] = cls.__init__

    @functools.wraps(begin)
    def held(self: Any, *more: Any, **named: Any) -> None:
        begin(self, *more, **named)
        for name in names:
            value = getattr(self, name)
            if type(value) is int and value > MOST[name]:
                object.__setattr__(self, name, MOST[name])

    cls.__init__ = held
    return cls


@contextmanager
def _encoded_once() -> Iterator[None]:
    """Have the package's VAEs encode each video once: runs of an ablation learn the same clips."""
    known = [one for one in vaes() if "encode" in vars(one)]
    before = {one: one.encode for one in known}
    seen: dict[tuple, Tensor] = {}

    def remembering(encode: Callable) -> Callable:
        def remembered(self: nn.Module, video: Tensor, *more: Any, **named: Any) -> Tensor:
            how = (more, *named.items(), torch.is_autocast_enabled("cpu"), torch.is_grad_enabled())
            digest = sha256(_bytes(video))
            for value in self.state_dict().values():
                digest.update(_bytes(value))
            key = (digest.digest(), video.shape, video.dtype, how)
            if key not in seen:
                seen[key] = encode(self, video, *more, **named)
            return seen[key].clone()

        return remembered

    for one in known:
        one.encode = remembering(before[one])
    try:
        yield
    finally:
        for one in known:
            one.encode = before[one]


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
