"""Readers of files, and what a refusal has to be: a ValueError that names the file, what is wrong in it and
what is needed, in little time and memory."""

import ctypes
import re
import resource
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import refvid_patience as patience
import refvid_tiny as tiny
import torch
from refvid_malice import SPRUNG, Corpus, Malice

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.geometry import WAN, WAN_2_1, WAN_2_2
from refvid.backbones.wan.loading import load_dit, load_modules, load_vae
from refvid.backbones.wan.lora import merge_lora_file
from refvid.backbones.wan.text import load_text_encoder
from refvid.core.adapter import load_adapter
from refvid.core.checkpoint import (
    header_of,
    read_safetensors,
    read_shapes,
    read_some,
    require_values,
    save_model,
)
from refvid.core.identity import Identity, load_identity, save_identity
from refvid.core.lora import CROSS, SELF
from refvid.hosts.plain.edit_film import with_editing_adapter
from refvid.hosts.plain.pipeline import inspect_references, settings_of

SIZES = tiny.config()
SECONDS, MEBIBYTES = 2.0, 64.0  # of the processor, beyond what was held before
NEEDED = re.compile(
    r"need(s|ed)\b|\bgive\b|\bchoose\b|\btakes? (it|both)\b|\bgoes into\b|\bload in ComfyUI\b|\bupdate\b|\bmake one\b|is not an? .*: it has no |in this DiT\b|this run's is\b|\bname the\b"
)


@dataclass(frozen=True)
class Reader:
    """A loader: the kind of file it reads, how, whether it reads what the file's tensors hold, or what their
    shapes are, too, and how the file has to be called, where it has to."""

    kind: str
    read: Callable[[Path], object]
    values: bool = True
    shapes: bool = True
    called: str | None = None


def whole_files(folder: Path) -> dict[str, Path]:
    """A whole file of every kind."""
    torch.manual_seed(0)
    made = {
        "dit": tiny.save_dit(folder, "dit.safetensors", SIZES, tiny.dit_state(SIZES), recipe="saber", settings={"width": 32, "height": 32}),
        "sama": tiny.save_dit(folder, "sama.safetensors", SIZES, tiny.sama_state(SIZES)),
        "vae": tiny.save_vae(folder, width=4),
        "vae22": tiny.save_vae22(folder, "vae22.safetensors", 4),
        "text": tiny.save_text_encoder(folder),
        "adapter": tiny.save_adapter(folder, SIZES),
    }  # fmt: skip
    adapter = load_adapter(made["adapter"], WAN)
    anchors, slots = torch.randn(2, SIZES.width), torch.randn(3, SIZES.width)
    made |= {kind: folder / f"{kind}.safetensors" for kind in ("identity", "lora", "editing")}
    save_identity(Identity(anchors, slots, adapter.fingerprint, torch.rand(8, 8, 3)), made["identity"])
    save_model(tiny.lora_of(SIZES, SELF), made["lora"], dtype=torch.float32)
    editing = {**tiny.semantic_state(SIZES.width), **tiny.lora_of(SIZES, CROSS)}
    save_model(editing, made["editing"], {"refvid.kind": "sama", "refvid.version": "1"}, torch.float32)
    return made


@dataclass(frozen=True)
class _Model:
    """Stands for a backbone in what puts an adapter on one."""

    dit: WanDiT
    recipe: str | None = None
    modules: object = field(default=None)


def plain_readers(files: Mapping[str, Path]) -> dict[str, Reader]:
    """Readers of files without ComfyUI."""
    dit = load_dit(files["dit"])[0]
    before = {key: value.clone() for key, value in dit.named_parameters()}

    def untouched(read: Callable[[Path], object]) -> Callable[[Path], object]:
        """Refused, a file changes nothing of the model."""

        def reading(path: Path) -> object:
            try:
                return read(path)
            except BaseException:
                assert all(torch.equal(value, before[key]) for key, value in dit.named_parameters())
                raise
            finally:
                for key, value in dit.named_parameters():
                    value.copy_(before[key])

        return reading

    model = _Model(dit)
    lora = untouched(lambda path: merge_lora_file(dit, path, 1.0, "--lora"))
    editing = untouched(lambda path: with_editing_adapter(model, path, 1.0, "--adapter"))  # pyright: ignore[reportArgumentType]
    return {
        "--dit": Reader("dit", load_dit),
        "modules of --dit": Reader("sama", lambda path: (load_dit(path), load_modules(path))),
        "--vae": Reader("vae", lambda path: load_vae(path, needed=WAN_2_1)),
        "--vae of Wan 2.2": Reader("vae22", lambda path: load_vae(path, needed=WAN_2_2)),
        "--text-encoder": Reader("text", load_text_encoder),
        "--lora": Reader("lora", lora),
        "--adapter": Reader("adapter", lambda path: load_adapter(path, WAN)),
        "--adapter of edit": Reader("editing", editing),
        "--identity": Reader("identity", load_identity),
        "settings of --dit": Reader("dit", settings_of, values=False, shapes=False),
        "inspect": Reader("dit", lambda path: inspect_references(path, [], settings_of(path)), values=False),
        "read_safetensors": Reader("dit", lambda path: read_safetensors(path, "file"), shapes=False),
        "read_shapes": Reader("dit", lambda path: read_shapes(path, "file"), values=False, shapes=False),
        "read_some": Reader("dit", lambda path: read_some(path, "file", lambda key: True), shapes=False),
        "require_values": Reader("dit", lambda path: require_values(path, "file"), shapes=False),
        "header_of": Reader("dit", lambda path: header_of(path, "file"), values=False, shapes=False),
    }


# ---- what is wrong with a refusal


def complaints(corpus: Corpus, names: list[str], whole: Path, reader: Reader, folder: Path) -> list[str]:
    """Faults in how a loader meets each of these; empty where nothing is."""
    found = [complaint(name, corpus[name], whole, reader, folder) for name in names]
    return [one for one in found if one is not None]


def complaint(name: str, malice: Malice, whole: Path, reader: Reader, folder: Path) -> str | None:
    """Fault in how a loader meets one way to break a file."""
    place = folder / "broken"
    place.mkdir()
    path = place / (reader.called or f"{whole.stem}-to-be-refused.safetensors")
    try:
        says = malice(whole, path)
        wrong = _wrong(reader, path, says)
        if (place / SPRUNG).exists():
            wrong = "what is in it was executed"
    finally:
        shutil.rmtree(place)
    return None if wrong is None else f"{name}: {wrong}"


class Waited(BaseException):
    """Nobody takes it for an error of a file."""


def outcome(reader: Reader, path: Path) -> tuple[BaseException | None, "Cost"]:
    """Error that a loader raises, and what it cost."""
    error = None
    with _measured() as cost:
        try:
            reader.read(path)
        except (Exception, Waited) as one:  # noqa: BLE001  (whichever it is, is what is asked)
            error = one
    return error, cost


def _wrong(reader: Reader, path: Path, says: str | None) -> str | None:
    error, cost = outcome(reader, path)
    if error is None:
        return "was taken"
    if not isinstance(error, ValueError) or isinstance(error, UnicodeError):
        return f"{type(error).__name__}: {str(error)[:300]}"
    message = str(error)
    lacks = [
        what
        for what, there in (
            ("the file", path.name in message),
            (says, not says or says[:60] in message),
            ("what is needed", NEEDED.search(message)),
            ("few letters", len(message) < 1000),
            ("letters that can be shown", message.isprintable()),
        )
        if not there
    ]
    if lacks:
        return f"lacks {', '.join(map(str, lacks))} in: {message[:600]}"
    if cost.seconds > SECONDS or cost.mebibytes > MEBIBYTES:
        return f"took {cost.seconds:.1f} s and {cost.mebibytes:.0f} MiB"
    return None


@dataclass
class Cost:
    seconds: float = 0.0
    mebibytes: float = 0.0


@contextmanager
def _measured() -> Iterator[Cost]:
    """Time of the processor, and the highest that memory rose above where it began; nothing of it where the
    system does not say."""
    cost, before = Cost(), _used()
    held = _memory("VmRSS", again=True)
    old = signal.signal(signal.SIGALRM, _stop)
    limit, _ = signal.setitimer(signal.ITIMER_REAL, patience.FILE)  # the timer of pytest's own limit too
    try:
        yield cost
    finally:
        signal.signal(signal.SIGALRM, old)
        signal.setitimer(signal.ITIMER_REAL, limit)
        cost.seconds = _used() - before
        cost.mebibytes = (_memory("VmHWM") - held) / 1024


def _stop(*_: object) -> None:
    raise Waited(f"it has waited for {patience.FILE:.0f} s")


def _used() -> float:
    """Seconds of the processor, the system's for us included."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory(name: str, again: bool = False) -> int:
    """A line of /proc/self/status in KiB, 0 where there is none; the highest that it was counts anew from
    `again`."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    if again:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(
                0
            )  # what is free in the heap is no memory that a loader may use unseen
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    return int(status.read_text().split(f"{name}:")[1].split()[0])
