"""Pictures, masks, films and their sound on disk: one reader and one writer for every option, without
ComfyUI.

docs/reading.md says what is read how.
"""

from .film_writing import write_video
from .films import Film, read_film, read_masks, read_video
from .outputs import FILM, FOLDER, PICTURE, TENSORS, OutputKind, check_output, require_other, written
from .pictures import read_mask, read_picture, write_picture

__all__ = [
    "FILM",
    "FOLDER",
    "PICTURE",
    "TENSORS",
    "Film",
    "OutputKind",
    "check_output",
    "read_film",
    "read_mask",
    "read_masks",
    "read_picture",
    "read_video",
    "require_other",
    "write_picture",
    "write_video",
    "written",
]
