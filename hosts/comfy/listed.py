"""Files that a node lists and reads by name: of ComfyUI's input folder, or of its output folder where the
name ends in [output]."""

from pathlib import Path

import folder_paths

_MARK = " [output]"


def pictures() -> list[str]:
    """Names of the pictures at the top of the input folder, as Load Image lists them."""
    folder = Path(folder_paths.get_input_directory())
    names = [one.name for one in folder.iterdir() if one.is_file()]
    return sorted(folder_paths.filter_files_content_types(names, ["image"]))


def saved(folder: str, ending: str) -> list[str]:
    """Names of the files with an ending in a folder below the output folder, in its sub-folders too."""
    output = Path(folder_paths.get_output_directory())
    found = (one for one in (output / folder).rglob(f"*{ending}") if not one.name.startswith("."))
    return sorted(f"{one.relative_to(output).as_posix()}{_MARK}" for one in found if one.is_file())


def path_of(name: str, what: str, needed: str) -> str:
    """The path of a file by its name. ValueError, which names the input `what`, where there is none, or where
    it leads out of its folder."""
    try:
        path = folder_paths.get_annotated_filepath(name)
    except ValueError as error:
        raise ValueError(f"{what}: {name} cannot be read ({error}); needed {needed}") from error
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
