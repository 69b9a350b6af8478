"""Processes that are killed at any moment at which a file changes its name or goes, and what is in their
folders afterwards."""

import itertools
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from refvid_forks import settle
from safetensors import safe_open

Work = Callable[[], object]
FIRST = 6  # moments: before and after three changes
EVENTS = ("replace", "unlink", "rmdir")  # methods of a Path that change a folder


@contextmanager
def counted(at: int | None = None) -> Iterator[list[str]]:
    """Changes of folders, noted; at the moment of this number the process is killed: even ones are before an
    event, odd ones after it."""
    seen: list[str] = []

    def watched(name: str):
        real = getattr(Path, name)

        def does(self: Path, *given, **named):
            if name == "unlink" and not os.path.lexists(self):
                return real(self, *given, **named)  # of what is left, which is nothing
            seen.append(f"{name} {self.name}")
            _die_if(at == 2 * len(seen) - 2)
            made = real(self, *given, **named)
            _die_if(at == 2 * len(seen) - 1)
            return made

        return does

    with pytest.MonkeyPatch.context() as patch:
        for name in EVENTS:
            patch.setattr(Path, name, watched(name))
        yield seen


def _die_if(now: bool) -> None:
    if now:
        os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Work, at: int | None, log: Path) -> bool:
    """Run in a process that is killed at that moment. -> whether it was; what it raises fails the test."""
    child = os.fork()
    if not child:
        code = 1
        try:
            settle()
            with counted(at):
                work()
            code = 0
        except BaseException:  # noqa: BLE001  (said in the parent)
            log.write_text(traceback.format_exc())
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, log.read_text()
    return False


def killed_again_and_again(work: Work, log: Path, most: int = 1000) -> int:
    """Run in one process after the other, each killed at one of the first changes that it makes to a folder,
    later ones a little later, until one ends. -> how many were killed."""
    return next(number for number in range(most) if not killed(work, number % (FIRST + number // 2), log))


def held(folder: Path) -> dict[str, object]:
    """Contents of a folder, by name; of safetensors what is in them, since their metadata has no order."""
    return {
        str(file.relative_to(folder)): _content(file) for file in sorted(folder.rglob("*")) if file.is_file()
    }


def _content(file: Path) -> object:
    if file.suffix != ".safetensors":
        return file.read_bytes()
    with safe_open(file, framework="pt") as said:
        bits = {key: said.get_tensor(key) for key in sorted(said.keys())}
        shown = {
            key: (one.dtype, tuple(one.shape), one.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
            for key, one in bits.items()
        }
        return dict(sorted((said.metadata() or {}).items())), shown


def differing(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """Names of files that are in one alone, or differ."""
    return sorted(
        name for name in itertools.chain(one, other.keys() - one.keys()) if one.get(name) != other.get(name)
    )
