"""Files that a node lists and reads by name: of ComfyUI's input folder, or of its output folder where the
name ends in [output]."""

from pathlib import Path

import folder_paths

_MARK = " [output]"
_MOST_HEADER = 1 << 24  # bytes of a safetensors header that are looked through
_marked: dict[tuple[str, str, int, int], bool] = {}  # by path, mark, size and time of writing


def pictures() -> list[str]:
    """Names of the pictures at the top of the input folder, as Load Image lists them."""
    folder = Path(folder_paths.get_input_directory())
    names = [one.name for one in folder.iterdir() if one.is_file()]
    return sorted(folder_paths.filter_files_content_types(names, ["image"]))


def inputs(folder: str, ending: str, mark: str) -> list[str]:
    """Names of the files with an ending at the top of the input folder, and in a folder of it, whose header
    has the mark."""
    top = Path(folder_paths.get_input_directory())
    found = (one for place in (top, top / folder) for one in place.glob(f"*{ending}") if one.is_file())
    return sorted(one.relative_to(top).as_posix() for one in found if _is_marked(str(one), mark))


def loras(mark: str) -> list[str]:
    """Names of the LoRA files that are of one kind: their header has the mark, a name of tensors that no
    other kind has. What cannot be read is left out."""
    names = folder_paths.get_filename_list("loras")
    paths = {name: folder_paths.get_full_path("loras", name) for name in names}
    return [name for name, path in paths.items() if path is not None and _is_marked(path, mark)]


def _is_marked(path: str, mark: str) -> bool:
    """True where the raw header of a safetensors file holds the mark. Parsed, thousands of files would take
    minutes; read once while they stay as they are, they take a moment."""
    try:
        found = Path(path).stat()
        key = path, mark, found.st_size, found.st_mtime_ns
        if key not in _marked:
            with open(path, "rb") as file:
                length = min(_MOST_HEADER, int.from_bytes(file.read(8), "little"))
                _marked[key] = mark.encode() in file.read(length)
        return _marked[key]
    except OSError:
        return False


def saved(folder: str, ending: str, mark: str | None = None) -> list[str]:
    """Names of the files with an ending in a folder below the output folder, in its sub-folders too. With a
    mark, those whose header has it."""
    output = Path(folder_paths.get_output_directory())
    found = (one for one in (output / folder).rglob(f"*{ending}") if not one.name.startswith("."))
    return sorted(
        f"{one.relative_to(output).as_posix()}{_MARK}"
        for one in found
        if one.is_file() and (mark is None or _is_marked(str(one), mark))
    )


def path_of(name: str, what: str, needed: str) -> str:
    """The path of a file by its name. ValueError, which names the input `what`, where there is none, or where
    it leads out of its folder."""
    try:
        path = folder_paths.get_annotated_filepath(name)
    except ValueError as error:
        raise ValueError(f"{what}: {name} cannot be read ({error}); needed {needed}") from error
    _, folder = folder_paths.annotated_filepath(name)
    top = Path(folder or folder_paths.get_input_directory()).resolve()
    if not Path(path).resolve().is_relative_to(top):  # older ComfyUIs let any path pass
        raise ValueError(f"{what}: {name} cannot be read (it leads out of its folder); needed {needed}")
    if not Path(path).is_file():
        place = "output" if name.endswith(_MARK) else "input"
        raise ValueError(
            f"{what}: there is no {name.removesuffix(_MARK)} in ComfyUI's {place} folder; needed {needed}"
        )
    return path


def as_history(file: Path) -> dict[str, str]:
    """A file below the output folder as ComfyUI's page and its history name it."""
    place = file.relative_to(folder_paths.get_output_directory())
    return {"filename": place.name, "subfolder": place.parent.as_posix().removeprefix("."), "type": "output"}
