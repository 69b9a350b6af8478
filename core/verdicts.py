"""Verdicts of races between attentions (`kernels.race`), kept by the machine they were held on, so that a
seed keeps its bits there."""

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from .. import kernels
from ..kernels.paths import (
    ALL,
    ANY_ATTENTION,
    Need,
    PathChoice,
    Verdict,
    attention_asked,
    choose_path,
    rivals,
)
from ..kernels.race import AttentionCall, Contender, out_of_memory, race
from .files import write_text
from .records import parsed

logger = logging.getLogger(__name__)
VERDICTS_FILE = "attention.json"
_MOST_LETTERS = 1 << 20  # of the file
PACKAGES = ("torch", "triton", "triton-windows", "sageattention", "flash-attn", "xformers", "comfy-kitchen")
TRYING = "trying"  # of an entry: a path that was being tried; where that stays, the process died of it
DIED = "the process ended while it was tried"
LOADED = Path("/proc/driver/nvidia/version")
_LONGEST = 1e9  # milliseconds that a file may say
Said = dict[str, dict[str, Any]]  # machine: kind of call: what is said of it


@dataclass(frozen=True)
class Contest:
    """Contest between those that could make a call: contenders by the name of their path. The attention of
    the host is among them by a name of its own."""

    call: AttentionCall
    contenders: Mapping[str, Contender]
    host: str

    @property
    def kind(self) -> str:
        return f"{self.call.kind}, {self.host}"


class Verdicts:
    """Verdicts of races on this machine. The folder is the host's to say; a file there holds all machines
    that share it.

    `versions` of what the host brings itself enter a machine's name, beside its GPU, driver and packages.
    Nothing is raced but on a CUDA device, and not where torch was told to be deterministic.
    """

    def __init__(self, folder: Callable[[], Path], versions: Callable[[], str] = lambda: ""):
        self._folder, self._versions = folder, versions
        self._known: dict[tuple[str, str], Verdict | None] = {}

    def choose(self, need: Need, name: str, contest: Contest | None, hold: bool = True) -> PathChoice:
        """The path that runs and why: what is asked for; else what a race says, which is held where none was;
        `hold` False: not now."""
        among = {} if contest is None or attention_asked(name) != ANY_ATTENTION else _among(need, contest)
        if contest is None or not among:
            return choose_path(need, name)
        verdict, known = self._verdict(contest, among, hold)
        choice = choose_path(need, name, verdict)
        if not known:
            return PathChoice(choice.path, f"{choice.reason}; timed against others before the first step")
        return choice

    def _verdict(
        self, contest: Contest, among: dict[str, Contender], hold: bool
    ) -> tuple[Verdict | None, bool]:
        """Verdict of a race, None where memory was short; and whether a race was asked."""
        place = (self._machine(contest.call.device), f"{contest.kind}: {', '.join(among)}")
        if place not in self._known:
            said = self._entry(place)
            if said and TRYING not in said:
                self._known[place] = _verdict_of(said)
            elif hold:
                self._known[place] = self._race(contest, among, place, said.get(TRYING))
        return self._known.get(place), place in self._known

    def _race(
        self, contest: Contest, among: dict[str, Contender], place: tuple[str, str], died: str | None
    ) -> Verdict | None:
        first = next(iter(among))
        left = {name: one for name, one in among.items() if name != died}
        logger.info("refvid: timing attention once for %s: %s", contest.kind, ", ".join(left))

        def tried(name: str) -> None:
            if name != first and not self._lives(place, died):  # the first would have run anyway
                self._write(place, {TRYING: name})

        try:
            found = race(contest.call, left, tried=tried)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            logger.warning("refvid: no memory to time attention; %s runs as ever", first)
            self._write(place, None)
            return None
        except KeyboardInterrupt:  # nobody died of what was being tried
            self._write(place, None)
            raise
        if self._lives(place, died):
            said = self._entry(place)
            return _verdict_of(said) if said else found
        if died is not None:
            found = Verdict(found.path, found.milliseconds, {**found.left_out, died: DIED}, found.lasting)
        if found.path is not None:  # else the device may be lost, of what was tried last
            self._write(place, asdict(found) if found.lasting else None)
        if found.left_out:
            logger.warning("refvid: timed attention for %s: %s (kept in %s)", contest.kind, found, self._file)
        return found

    def _lives(self, place: tuple[str, str], died: str | None) -> bool:
        """True where the process that a mark was found of has ended its race since, and took the mark
        away."""
        return died is not None and self._file is not None and TRYING not in self._entry(place)

    def _entry(self, place: tuple[str, str]) -> dict[str, Any]:
        return self._read().get(place[0], {}).get(place[1], {})

    @cached_property
    def _file(self) -> Path | None:
        try:
            return self._folder() / VERDICTS_FILE
        except (OSError, RuntimeError) as error:  # there is no home
            logger.warning("refvid: verdicts on attention hold for this process only (%s)", error)
            return None

    def _machine(self, device: torch.device) -> str:
        return ", ".join(
            filter(None, [_gpu(device), *_packages(), f"kernels {_kernels()}", self._versions()])
        )

    def _read(self) -> Said:
        if self._file is None:
            return {}
        try:
            if not self._file.exists():
                return {}
            if self._file.stat().st_size > _MOST_LETTERS:
                raise ValueError(f"it is longer than {_MOST_LETTERS} letters")
            return _checked(parsed(self._file.read_text("utf-8")))
        except (OSError, ValueError) as error:
            logger.warning("refvid: %s is not used: %s; attention is timed anew", self._file, error)
            return {}

    def _write(self, place: tuple[str, str], entry: dict[str, Any] | None) -> None:
        """Put an entry beside the others, which another process may have written since, or take it out."""
        if self._file is None:
            return
        said, (machine, kind) = self._read(), place
        said.setdefault(machine, {}).pop(kind, None)
        if entry is not None:
            said[machine][kind] = entry
        try:
            write_text(self._file, json.dumps(said, indent=1))
        except OSError as error:
            logger.warning("refvid: what attention is fastest holds for this process only: %s", error)
            self._file = None


def _among(need: Need, contest: Contest) -> dict[str, Contender]:
    """Contenders of a race: none where there is nothing to choose."""
    if contest.call.dense or not _can_race(contest.call.device):
        return {}
    who = {p.name: contest.contenders[p.name] for p in rivals(need) if p.name in contest.contenders}
    return who if len(who) > 1 else {}


def _can_race(device: torch.device) -> bool:
    return device.type == "cuda" and not torch.are_deterministic_algorithms_enabled()


def _checked(said: Any) -> Said:
    """Check what a file says, as it is written here. ValueError for anything else."""
    if not isinstance(said, dict) or not all(isinstance(one, dict) for one in said.values()):
        raise ValueError("it is no table of machines")
    for kinds in said.values():
        for kind, entry in kinds.items():
            if not isinstance(entry, dict) or not (_is_path(entry.get(TRYING)) or _is_verdict(entry)):
                raise ValueError(f"what it says of {kind!r} is no verdict")
    return said


def _is_verdict(entry: dict[str, Any]) -> bool:
    times, left_out = entry.get("milliseconds"), entry.get("left_out")
    return (
        set(entry) == {"path", "milliseconds", "left_out", "lasting"}
        and (entry["path"] is None or _is_path(entry["path"]))
        and isinstance(times, dict)
        and all(type(one) in (int, float) and 0 <= one <= _LONGEST for one in times.values())
        and isinstance(left_out, dict)
        and all(isinstance(one, str) for one in left_out.values())
        and set(times) | set(left_out) <= set(ALL)
    )


def _is_path(name: Any) -> bool:
    return isinstance(name, str) and name in ALL


def _verdict_of(entry: dict[str, Any]) -> Verdict:
    return Verdict(entry["path"], entry["milliseconds"], entry["left_out"])


def nvidia_driver() -> str | None:
    """Version of the driver of NVIDIA's GPUs. Slim machines have no nvidia-smi, which is what torch asks."""
    if LOADED.is_file():
        found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", LOADED.read_text("utf-8", "replace"))
        return None if found is None else found[0]
    from torch.utils.collect_env import get_nvidia_driver_version, run

    return get_nvidia_driver_version(run)


@cache
def _gpu(device: torch.device) -> str:
    driver = None if torch.version.hip else nvidia_driver()
    return f"{torch.cuda.get_device_name(device)}, driver {driver or 'unknown'}"


@cache
def _packages() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


@cache
def _kernels() -> str:
    """Digest of this package's own sources: a verdict holds for one state of them."""
    folder = Path(next(iter(kernels.__path__)))
    digest = sha256()
    for file in sorted(one for one in folder.rglob("*") if one.suffix in (".py", ".json")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:8]
