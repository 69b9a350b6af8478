"""State of a run on disk: begun only where nothing is lost by it, kept twice, gone on from by the same
run alone."""

import json
import logging
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import Any

from torch import Generator, Tensor

from ...core.checkpoint import read_safetensors, read_shapes, write_tensors
from ...core.files import clear_left
from .flat import JsonValue
from .learner import Learner

logger = logging.getLogger(__name__)
STEP, _MADE_BY, _LAYOUTS = "step", "made_by", "optimisers"  # metadata; states of 0.1.0 say the step alone
_DIGEST_BYTES = 1 << 24  # read at once
_Read = Callable[[Path, str], tuple[dict[str, Tensor], dict[str, str]]]


@dataclass(frozen=True)
class RunFiles:
    """Files that a run of this name writes into its folder: states, results, and what else, by pattern."""

    name: str
    results: tuple[str, ...]
    beside: tuple[str, ...] = ()

    def states(self, folder: Path) -> tuple[Path, Path]:
        """Paths of the newest state and the one before."""
        return folder / f"{self.name}-run.safetensors", folder / f"{self.name}-run-before.safetensors"

    def fresh(self, folder: Path) -> Path:
        """Path of a state that is not yet the newest."""
        return folder / f"{self.name}-run-fresh.safetensors"

    def found_states(self, folder: Path) -> list[Path]:
        """States that are there, the newest first."""
        return [path for path in self.states(folder) if path.exists()]

    def found_results(self, folder: Path) -> list[Path]:
        """Results that are there, and what else the run writes."""
        return [path for pattern in (*self.results, *self.beside) for path in sorted(folder.glob(pattern))]

    def clear_left(self, folder: Path) -> None:
        """Remove what kills left of files of this run."""
        for path in (*self.states(folder), self.fresh(folder)):
            clear_left(path)
        for pattern in (*self.results, *self.beside):
            clear_left(folder / pattern)

    def remove(self, folder: Path) -> None:
        """Remove everything of this run from a folder of ours."""
        for path in (*self.states(folder), self.fresh(folder), *self.found_results(folder)):
            path.unlink(missing_ok=True)


class RunState:
    """State of a run in its folder, and what it must be made by. Two are kept, the newest and the one before:
    whatever happens at any moment, one is whole."""

    def __init__(self, files: RunFiles, folder: Path, made_by: dict[str, Any], resume: bool = False):
        """Check the folder, before any work; `made_by` is all that a run depends on, by name. ValueError
        where the run would begin anew over another's state or results, or with `resume` go on from what was
        not made by the same."""
        self.files, self.folder, self.resume = files, folder, resume
        self.made_by = plain(made_by)
        self._newest_is_whole = False
        self.kept: int | None = None  # steps of the newest state
        require_unused(files, folder, resume)
        if files.found_states(folder):
            self.require_same()
        elif resume:
            logger.info("%s: no state in %s to go on from; it begins at the first step", files.name, folder)
        files.clear_left(folder)

    def require_same(self) -> None:
        """ValueError where no state can be read, or one says that it was made by something else."""
        wrong = []
        for path in self.files.states(self.folder):
            try:
                theirs = _whole(path, read_shapes).made_by
            except ValueError as error:
                wrong.append(str(error))
                continue
            found = None if theirs is None else difference(self.made_by, theirs)
            if found is not None:
                field, here, there = found
                raise ValueError(
                    f"--out: {path} was made by another run: {field} is {there} there and {here} here; "
                    "give what it was begun with, or choose another --out"
                )
        if len(wrong) == len(self.files.states(self.folder)):
            raise ValueError(self._none(wrong))

    def first_step(self, learner: Learner, generator: Generator, steps: int) -> int:
        """The step to go on from, everything as it was there; 0 for a run that begins. ValueError as
        `restore` says, and for a state that is past this run's end."""
        if not self.resume or not self.files.found_states(self.folder):
            return 0
        step = self.restore(learner, generator)
        if step > steps:
            raise ValueError(
                f"--resume: the state in {self.folder} has taken {step} steps, this run has {steps}; "
                "choose another --out"
            )
        if step == steps:
            told = self.files.name, steps, ", ".join(self.files.results)
            logger.info("%s has taken all its %d steps; %s: written again from its state", *told)
        return step

    def restore(self, learner: Learner, generator: Generator | None = None) -> int:
        """Take the newest state that is whole; -> its step. One that is not is named in a warning. ValueError
        where none is."""
        wrong: list[str] = []
        for path in self.files.states(self.folder):
            try:
                shapes = _whole(path, read_shapes)
                learner.require(shapes.tensors, shapes.layouts, generator, f"state: {path.name}")
                whole = _whole(path, read_safetensors)
                learner.restore(whole.tensors, whole.layouts, generator, f"state: {path.name}")
            except ValueError as error:
                wrong.append(str(error))
                continue
            self._newest_is_whole = not wrong
            for problem in wrong:
                logger.warning("%s; %s is used, of step %d", problem, path.name, whole.step)
            self.kept = whole.step
            return whole.step
        raise ValueError(self._none(wrong))

    def save(self, learner: Learner, generator: Generator, step: int) -> None:
        """Keep the run as it is after so many steps. OSError where that cannot be written; the states are
        then as they were."""
        (newest, before), fresh = self.files.states(self.folder), self.files.fresh(self.folder)
        tensors, layouts = learner.packed(generator)
        said = {STEP: step, _MADE_BY: self.made_by, _LAYOUTS: layouts}
        write_tensors(tensors, fresh, {key: json.dumps(value) for key, value in said.items()})
        if self._newest_is_whole:  # a broken one does not take the place of a whole one
            newest.replace(before)
        fresh.replace(newest)
        self._newest_is_whole, self.kept = True, step

    def _none(self, wrong: list[str]) -> str:
        return f"--out: {self.folder} has no whole state of {self.files.name}: {'; '.join(wrong)}"


def require_unused(files: RunFiles, folder: Path, resume: bool) -> None:
    """ValueError where a run would begin over another's state, or write over what is not of a state that it
    goes on from."""
    states, results = files.found_states(folder), files.found_results(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out: {folder} is a file; needed a folder")
    if states and not resume:
        raise ValueError(
            f"--out: {folder} holds {states[0].name}, the state of a run; --resume goes on from it, "
            "or choose another --out"
        )
    if results and not states:
        raise ValueError(
            f"--out: {folder} holds {results[0].name}, which this run would write, and no state to go on "
            "from; move it away, or choose another --out"
        )


@dataclass(frozen=True)
class _State:
    """State as its file holds it: what it was made by and the optimisers' layouts are None in old ones."""

    tensors: dict[str, Tensor]
    step: int
    made_by: dict[str, Any] | None
    layouts: dict[str, JsonValue] | None


def _whole(path: Path, read: _Read) -> _State:
    """A state. ValueError where it is not there, cut short, or says no step."""
    if not path.exists():
        raise ValueError(f"state: there is no {path.name}")
    tensors, metadata = read(path, "state")
    try:
        step = json.loads(metadata[STEP])
        made_by, layouts = (json.loads(metadata.get(key, "null")) for key in (_MADE_BY, _LAYOUTS))
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"state: {path.name} does not say its step; needed a state of a run") from error
    objects = isinstance(made_by, dict | None) and isinstance(layouts, dict | None)
    if type(step) is not int or step < 0 or not objects:
        raise ValueError(
            f"state: {path.name} says {STEP} {reprlib.repr(step)}, {_MADE_BY} {reprlib.repr(made_by)}, "
            f"{_LAYOUTS} {reprlib.repr(layouts)}; needed a number of steps, and objects"
        )
    return _State(tensors, step, made_by, layouts)


def plain(value: Any) -> Any:
    """Value as JSON gives it back; a class by its name."""
    return json.loads(json.dumps(value, default=lambda one: one.__name__))


def difference(here: Any, there: Any, field: str = "") -> tuple[str, str, str] | None:
    """The first field in which two values of JSON differ, and what it is in each; None where they are the
    same. Of objects on top the keys of both alone count: an older state says less, and still goes on."""
    if isinstance(here, dict) and isinstance(there, dict):
        keys = [key for key in here if key in there] if not field else {**here, **there}
        pairs = [(f"{field}.{key}" if field else key, here.get(key), there.get(key)) for key in keys]
    elif isinstance(here, list) and isinstance(there, list):
        pairs = [(f"{field}[{place}]", *both) for place, both in enumerate(zip_longest(here, there))]
    else:
        return None if here == there else (field, _short(here), _short(there))
    return next((found for name, one, other in pairs if (found := difference(one, other, name))), None)


def _short(value: Any) -> str:
    said = "nothing" if value is None else json.dumps(value)
    return said if len(said) < 80 else f"{said[:76]} ..."


def weights_digest(path: Path, what: str) -> str:
    """Digest of the weights of a safetensors file, whatever is said beside them, which comes in another order
    each time. ValueError where there is no file; `what` names the input."""
    if not path.is_file():
        raise ValueError(f"{what}: there is no file {path}; give a .safetensors file")
    try:
        state = path.stat()
        return _digest_of_weights(path.absolute(), state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise ValueError(f"{what}: {path} cannot be read ({error.strerror}); give another file") from error


@lru_cache(maxsize=16)  # of large files, which a run asks for more than once
def _digest_of_weights(path: Path, size: int, _time: int) -> str:
    digest = sha256()
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")  # how many bytes say what follows
        file.seek(min(8 + header, size))
        while part := file.read(_DIGEST_BYTES):
            digest.update(part)
    return f"sha256 {digest.hexdigest()[:16]}"
