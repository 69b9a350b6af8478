"""Files that are no whole safetensors files, a name for each: places and bytes that every loader has to
refuse, whatever it reads.

A way to break a file is a function of a whole file and of the path where the broken one is made; it returns
what a refusal has to name beside the file, or None."""

import json
import os
import pickle
import socket
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Malice = Callable[[Path, Path], str | None]
Corpus = dict[str, Malice]
METADATA = "__metadata__"
SPRUNG = "sprung"  # what a pickle that is run leaves behind


def unpacked(whole: Path) -> tuple[dict[str, Any], bytes]:
    """A file's header and what follows it."""
    raw = whole.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def packed(where: Path, header: object, data: bytes = b"") -> None:
    """A file of this header (bytes and text as they are, all else as JSON) and data."""
    raw = header if isinstance(header, bytes) else header.encode() if isinstance(header, str) else None
    raw = json.dumps(header).encode() if raw is None else raw
    where.write_bytes(struct.pack("<Q", len(raw)) + raw + data)


# ---- places


def directory(whole: Path, where: Path) -> None:
    where.mkdir()
    (where / "model.safetensors").write_bytes(whole.read_bytes())


def unreadable(whole: Path, where: Path) -> None:
    where.write_bytes(whole.read_bytes())
    where.chmod(0)


def listening(_whole: Path, where: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        here = os.getcwd()
        os.chdir(where.parent)  # such a name may have a hundred letters
        one.bind(where.name)
        os.chdir(here)


def link_to_pipe(_whole: Path, where: Path) -> None:
    os.mkfifo(where.with_name("pipe"))
    where.symlink_to("pipe")


PLACES: Corpus = {
    "nothing there": lambda whole, where: None,
    "a directory": directory,
    "a dangling link": lambda whole, where: where.symlink_to(where.with_name("nowhere")),
    "a link to itself": lambda whole, where: where.symlink_to(where),
    "a link to a directory": lambda whole, where: where.symlink_to(whole.parent),
    "a link to zeros without end": lambda whole, where: where.symlink_to("/dev/zero"),
    "a link to a full device": lambda whole, where: where.symlink_to("/dev/full"),
    "a link to a file of the kernel's": lambda whole, where: where.symlink_to("/proc/self/mem"),
    "a link to a pipe": link_to_pipe,
    "a pipe": lambda whole, where: os.mkfifo(where),
    "a socket": listening,
}
# Not for tests of what writes: who is root and finds a fault would lose these.
SYSTEMS = ("a link to zeros without end", "a link to a full device", "a link to a file of the kernel's")
if os.geteuid():  # who is root may read anything
    PLACES["a file that may not be read"] = unreadable


# ---- bytes


class Payload:
    """Unpickling it makes a file beside itself."""

    def __init__(self, where: Path):
        self.where = where

    def __reduce__(self):
        return os.mkdir, (str(self.where.with_name(SPRUNG)),)


def pickled(_whole: Path, where: Path) -> None:
    where.write_bytes(pickle.dumps({"weight": Payload(where)}))


def zipped(_whole: Path, where: Path) -> None:
    """File as torch.save writes it."""
    with zipfile.ZipFile(where, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Payload(where)))


def cut(share: float, more: int = 0) -> Malice:
    def make(whole: Path, where: Path) -> None:
        raw = whole.read_bytes()
        where.write_bytes(raw[: max(0, int(len(raw) * share) + more)])

    return make


def sized(length: int, data: bytes = b"{}") -> Malice:
    """A header that is said to be so long."""
    return lambda whole, where: where.write_bytes(struct.pack("<Q", length) + data) and None


def sparse_header(length: int) -> Malice:
    """A header that is so long, of zeros that take no place on the disk."""

    def make(whole: Path, where: Path) -> None:
        where.write_bytes(struct.pack("<Q", length) + b"{")
        os.truncate(where, 8 + length)

    return make


def holding(data: bytes) -> Malice:
    return lambda whole, where: where.write_bytes(data) and None


BYTES: Corpus = {
    "empty": holding(b""),
    "seven bytes": holding(b"\2\0\0\0\0\0\0"),
    "eight zeros": holding(bytes(8)),
    "a header beyond the file": sized(1000),
    "a header of one byte more than the file": sized(3),
    "a header of 2^63": sized(1 << 63),
    "a header of 2^64 - 1": sized((1 << 64) - 1),
    "a header of 100 MB, sparse": sparse_header(100_000_000),
    "a header of 8 GiB, sparse": sparse_header(8 << 30),
    "cut in the length": cut(0, 5),
    "cut in the header": cut(0, 100),
    "cut in half": cut(0.5),
    "cut by a byte": cut(1, -1),
    "a byte too many": lambda whole, where: where.write_bytes(whole.read_bytes() + b"\0") and None,
    "trailing data": lambda whole, where: where.write_bytes(whole.read_bytes() * 2) and None,
    "a pickle": pickled,
    "a zip with a pickle": zipped,
    "a picture": holding(b"\x89PNG\r\n\x1a\n" + bytes(500)),
    "GGUF": holding(b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + bytes(500)),
    "a page of HTML": holding(b"<!DOCTYPE html><html><body>401 Unauthorized</body></html>"),
    "a pointer of git-lfs": holding(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n"),
    "zeros": holding(bytes(4096)),
    "ones": holding(b"\xff" * 4096),
}
