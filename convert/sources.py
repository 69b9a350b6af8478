"""Files of published weights: those of a set of shards, in folders or by name."""

import re
from collections.abc import Sequence
from pathlib import Path

from ..core.header import SAFETENSORS_ENDINGS
from ..core.records import parsed

PICKLED_ENDINGS = (".pt", ".pth", ".ckpt", ".bin")
_INDEX = "index.json"  # how the names of indices of shards end
TRANSFORMER_FOLDERS = ("transformer", "transformer_2")  # of a diffusers folder; the second is an expert
_SHARD = re.compile(r"(?P<stem>.*?)[-_.]?(?P<number>\d{5})(?:-of-(?P<of>\d{5}))?$")


def source_files(sources: Sequence[Path], what: str = "SOURCE") -> list[Path]:
    """Weight files that a command names: each a file, or a folder that holds those of one model. ValueError
    where there is none, where one is missing or comes twice, and where a folder holds several models."""
    files: list[Path] = []
    for source in sources:
        files += _in_folder(source, what) if source.is_dir() else [_known(source, what)]
    twice = next((one for one in files if sum(one.resolve() == other.resolve() for other in files) > 1), None)
    if twice is not None:
        raise ValueError(f"{what}: {twice} is named twice; needed each file once")
    _require_whole(files, what)
    return files


def _known(path: Path, what: str) -> Path:
    ending = path.suffix.lower()
    if ending == ".gguf":
        raise ValueError(f"{what}: {path.name} is a GGUF file, which ComfyUI's GGUF loaders take as it is")
    if not path.exists():
        raise ValueError(f"{what}: there is no file or folder {path}")
    if ending not in (*SAFETENSORS_ENDINGS, *PICKLED_ENDINGS):
        raise ValueError(
            f"{what}: {path.name} ends in {ending or 'nothing'}; needed a folder, or a file that ends in "
            f"{', '.join((*SAFETENSORS_ENDINGS, *PICKLED_ENDINGS))}"
        )
    if not path.is_file():
        raise ValueError(f"{what}: {path} is a folder; needed a file")
    with path.open("rb") as file:
        if file.read(23) == b"version https://git-lfs":
            raise ValueError(
                f"{what}: {path.name} is a pointer of Git LFS, not the weights; fetch them with `git lfs pull`"
            )
    return path


def _in_folder(folder: Path, what: str) -> list[Path]:
    """The files of the one model in a folder, or in its transformer's."""
    inner = [folder / one for one in TRANSFORMER_FOLDERS if (folder / one).is_dir()]
    if len(inner) > 1:
        raise ValueError(
            f"{what}: {folder} holds two experts, {inner[0].name} and {inner[1].name}; convert one at a time"
        )
    if inner:
        return _in_folder(inner[0], what)
    indices = sorted(folder.glob(f"*.{_INDEX}"))
    if len(indices) == 1:
        return _indexed(indices[0], what)
    for endings in (SAFETENSORS_ENDINGS, PICKLED_ENDINGS):
        found = sorted(one for one in folder.iterdir() if one.suffix.lower() in endings and one.is_file())
        sets = {_set_of(one) for one in found}
        if len(sets) > 1:
            raise ValueError(
                f"{what}: {folder} holds {len(sets)} sets of weights, {' and '.join(sorted(sets)[:3])} among "
                "them; name the files of one"
            )
        if found:
            return [_known(one, what) for one in found]
    raise ValueError(
        f"{what}: {folder} holds no weights; needed files that end in "
        f"{', '.join((*SAFETENSORS_ENDINGS, *PICKLED_ENDINGS))}"
    )


def _indexed(index: Path, what: str) -> list[Path]:
    """The files that an index of shards names."""
    try:
        said = parsed(index.read_text("utf-8"))
        names = sorted({*said["weight_map"].values()})
        files = [index.parent / name for name in names if Path(name).name == name]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{what}: {index.name} is no index of shards ({error}); needed a weight_map from keys to files"
        ) from error
    if not names or len(files) < len(names):
        raise ValueError(
            f"{what}: {index.name} names no files beside it; needed a weight_map from keys to files"
        )
    missing = next((one for one in files if not one.is_file()), None)
    if missing is not None:
        raise ValueError(f"{what}: {index.name} names {missing.name}, which is not there; download it too")
    return [_known(one, what) for one in files]


def _set_of(path: Path) -> str:
    """The name that the shards of a set have in common."""
    shard = _SHARD.match(path.stem)
    return f"{shard['stem'] if shard else path.stem}…{path.suffix}"


def _require_whole(files: Sequence[Path], what: str) -> None:
    """ValueError where the numbers of shards say that one is missing."""
    sets: dict[tuple[Path, str], list[re.Match[str]]] = {}
    for path in files:
        if shard := _SHARD.match(path.stem):
            sets.setdefault((path.parent, _set_of(path)), []).append(shard)
    for (_, name), shards in sets.items():
        numbers = {int(one["number"]) for one in shards}
        of, first = max(int(one["of"] or 0) for one in shards), 0 if 0 in numbers else 1
        if len(shards) == 1 and not of:
            continue  # a name that ends in a number
        wanted = set(range(first, first + of if of else max(numbers) + 1))
        if missing := wanted - numbers:
            raise ValueError(
                f"{what}: shard {min(missing):05d} of {name} is missing ({len(numbers)} came, needed "
                f"{len(wanted)}); name all of them, or their folder"
            )
