"""Hold of a folder: one command at a time works in it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ..core.files import MARK


@contextmanager
def held(folder: Path, what: str) -> Iterator[None]:
    """Hold a marked folder, as long as the block runs; the system lets go where the process is killed.
    ValueError where another process holds it. Systems without such holds are not held."""
    with (folder / MARK).open("rb+") as file:
        try:
            _hold(file)
            if os.fstat(file.fileno()).st_ino != (folder / MARK).stat().st_ino:  # marked anew meanwhile
                raise BlockingIOError
        except BlockingIOError as error:
            raise ValueError(
                f"{what}: another command is at work in {folder}; wait for its end, or choose another folder"
            ) from error
        yield


def _hold(file: IO[bytes]) -> None:
    """Take the hold. BlockingIOError where it is taken."""
    if os.name != "posix":
        return
    import errno
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # some network file systems have none
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise BlockingIOError(error.errno, error.strerror) from error
