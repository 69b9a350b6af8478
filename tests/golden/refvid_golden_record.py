"""One part of what a tree makes, as named tensors in a file.

    python refvid_golden_record.py PART TREE ASKED OUT

TREE is the pack's folder, ASKED a tree whose workflows are run. All goes through what is frozen for users:
the command line, API graphs, files. A process for each part and tree, which sees that tree's modules alone.
"""

import importlib
import io
import json
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "support"))

import torch  # noqa: E402
from refvid_folder import import_folder  # noqa: E402
from refvid_golden_compare import FAILED  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

PACKAGE = "refvid"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


@dataclass
class Record:
    """Tensors by name, and what failed."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def keep(self, name: str, tensor: Tensor) -> None:
        """A copy. ValueError for a name that is taken: half of a record would be lost."""
        if name in self.tensors:
            raise ValueError(f"two tensors of one name: {name}")
        self.tensors[name] = tensor.detach().cpu().clone().contiguous()

    def keep_file(self, name: str, path: Path) -> None:
        """Tensors of a file, by its kind: frames of a folder of PNGs, a picture, a film, tensors, numbers."""
        for part, tensor in read_tensors(path).items():
            self.keep(f"{name}/{part}" if part else name, tensor)

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        """What raises here is written down, and the other cases go on."""
        try:
            yield
        except (Exception, SystemExit) as error:  # noqa: BLE001
            self.failed[name] = f"{type(error).__name__}: {error}"[:2000]

    def write(self, path: Path, **said: str) -> None:
        """Whole or not at all."""
        beside = path.with_suffix(".part")
        save_file(self.tensors, beside, {FAILED: json.dumps(self.failed), **said})
        beside.replace(path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """By name, the empty one for a file that holds one. ValueError for a kind that is not known here."""
    if path.is_dir():
        return {"": torch.stack([_picture(file) for file in sorted(path.glob("*.png"))])}
    if path.suffix in (".png", ".jpg"):
        return {"": _picture(path)}
    if path.suffix in (".safetensors", ".latent"):
        return load_file(path)
    if path.suffix == ".json":
        return dict(_numbers(json.loads(path.read_text("utf-8")), ""))
    if path.suffix == ".mp4":
        import av

        with av.open(str(path)) as film:
            frames = [torch.from_numpy(one.to_ndarray(format="rgb24")) for one in film.decode(video=0)]
        return {"": torch.stack(frames)}
    raise ValueError(f"{path.name}: no kind of file that is recorded")


def _picture(path: Path) -> Tensor:
    import numpy as np
    from PIL import Image

    return torch.from_numpy(np.asarray(Image.open(path)).copy())


def _numbers(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Every number of a JSON value."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, one in pairs:
            yield from _numbers(one, f"{name}.{key}" if name else str(key))
    elif isinstance(value, int | float):
        yield name, torch.tensor(float(value), dtype=torch.float64)


class Enough(BaseException):
    """What was wanted has been seen."""


@contextmanager
def latents(record: Record, name: str, enough: bool = False) -> Iterator[None]:
    """Keep every latent that a VAE of the package decodes, as it comes; where one is `enough`, the work ends
    there. ValueError where none was decoded."""
    known = [one for one in vaes() if "decode" in vars(one)]
    before = {one: one.decode for one in known}
    seen: list[Tensor] = []

    def catching(decode: Callable) -> Callable:
        def caught(self: nn.Module, latent: Tensor, *more: Any, **named: Any) -> Any:
            seen.append(latent.detach().clone())
            if enough:
                raise Enough
            return decode(self, latent, *more, **named)

        return caught

    for one in known:
        one.decode = catching(before[one])
    try:
        yield
    except Enough:
        pass
    finally:
        for one in known:
            one.decode = before[one]
    if not seen:
        raise ValueError(f"no latent was decoded by any of {[one.__name__ for one in known]}")
    for index, latent in enumerate(seen):
        record.keep(f"{name}/latent.{index}", latent)


def vaes() -> set[type]:
    """Classes by their names, wherever a tree has put them, among what a run has loaded."""
    loaded = [module for key, module in list(sys.modules.items()) if key.split(".")[0] == PACKAGE]
    found = {one for module in loaded for one in vars(module).values() if isinstance(one, type)}
    return {one for one in found if issubclass(one, nn.Module) and one.__name__.endswith("VAE")}


class Log(logging.Handler):
    """Lines of the package's log."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def command(*arguments: object) -> tuple[list[str], list[str]]:
    """`refvid ARGUMENTS` in this process. -> lines of its output and of its log. RuntimeError with its last
    words where it ends badly."""
    said, wrong, log = io.StringIO(), io.StringIO(), Log()
    logger = logging.getLogger(PACKAGE)
    logger.handlers = [log]  # with one there, the command line adds none
    try:
        with redirect_stdout(said), redirect_stderr(wrong):
            importlib.import_module(f"{PACKAGE}.cli").main([str(one) for one in arguments])
    except SystemExit as error:
        raise RuntimeError(f"refvid {arguments[0]}: {wrong.getvalue().strip()[-1000:]}") from error
    return said.getvalue().splitlines(), log.lines


def numbers(lines: list[str]) -> Tensor:
    """Every number in lines that name no file: beside some stands how long it took."""
    found = [NUMBER.findall(line) for line in lines if os.sep not in line]
    return torch.tensor([float(one) for line in found for one in line], dtype=torch.float64)


def said_without_files(lines: list[str]) -> Tensor:
    """Lines that name no file, as bytes."""
    text = "\n".join(line for line in lines if os.sep not in line)
    return torch.tensor(list(text.encode()), dtype=torch.uint8)


def require_own_modules(tree: Path) -> None:
    """RuntimeError where a module came from elsewhere: an installed copy serves what a tree lacks."""
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.split(".")[0] == PACKAGE and file and not Path(file).resolve().is_relative_to(tree):
            raise RuntimeError(f"{name} is {file}, which is not of {tree}")


def main(part: str, tree: Path, asked: Path, out: Path) -> None:
    """Record, in a folder that is nobody's."""
    began, record = time.monotonic(), Record()
    recorder = importlib.import_module(f"refvid_golden_{part}")
    if part != "server":  # that one serves the tree
        import_folder(PACKAGE, tree)
    with tempfile.TemporaryDirectory() as folder:
        recorder.record(record, tree, asked, Path(folder))
    if part != "server":
        require_own_modules(tree)
    seconds = f"{time.monotonic() - began:.1f}"
    record.write(out, part=part, seconds=seconds, torch=torch.__version__)


if __name__ == "__main__":
    # Under its own name too: its parts import it.
    sys.modules["refvid_golden_record"] = sys.modules["__main__"]
    main(sys.argv[1], *(Path(one).resolve() for one in sys.argv[2:5]))
