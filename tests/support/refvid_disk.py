"""Disks that are full: files that end after so many bytes, from the start or from the n-th file that is
written on."""

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from refvid_forks import settle

from refvid.core import files
from refvid.core.files import is_left


@contextmanager
def full(after: int) -> Iterator[None]:
    """A disk on which every file ends after so many bytes."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (after, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def writes(work: Callable[[], object]) -> int:
    """Count the files that are written in this."""
    with pytest.MonkeyPatch.context() as patch:
        real, count = files.token_hex, []
        patch.setattr(files, "token_hex", lambda size: count.append(1) or real(size))
        work()
    return len(count)


def filled(work: Callable[[], object], at: int) -> tuple[int, str]:
    """Run in a process whose disk is full from the file of this number on, counted from 0. -> its exit code,
    as of the command line, and the last line it says."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 70
        try:
            os.close(reading)
            settle()
            sys.stderr = open(writing, "w", buffering=1)  # noqa: SIM115  (a pipe is no disk)
            code = _filled(work, at)
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    with open(reading) as said:
        lines = [line for line in said.read().splitlines() if line.strip()]
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), lines[-1] if lines else ""


def _filled(work: Callable[[], object], at: int) -> int:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    real, count = files.token_hex, []

    def named(size: int) -> str:
        if len(count) == at:
            resource.setrlimit(resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))
        count.append(1)
        return real(size)

    files.token_hex = named
    try:
        work()
    except SystemExit as ended:
        return int(ended.code or 0)
    except OSError as error:  # as the command line ends in it
        print(f"refvid: {error}", file=sys.stderr)
        return 1
    return 0


def partials(folder: Path) -> list[str]:
    """Names of what was not written to its end."""
    return [one.name for one in folder.rglob("*") if is_left(one.name)]
