"""Models and samples that the pack ships, where ComfyUI looks for them.

Models stay in the pack. Their folders come after every folder of the user's, so a user's file of the same
name is the one that is loaded. Whatever saves or downloads models writes into the first folder of a kind,
never here. Samples are copied: Load Image and Load Video look into one folder, and follow no link that leads
out of it.
"""

import logging
import shutil
from pathlib import Path

import folder_paths

from ...core.files import replacing

logger = logging.getLogger(__name__)

DEMO = Path(__file__).parents[2] / "demo"


def offer_models() -> None:
    """Register each folder below `demo/models`, named as ComfyUI names its kind, behind those that are
    there."""
    for folder in sorted({file.parent for file in DEMO.glob("models/*/*.safetensors")}):
        folder_paths.add_model_folder_path(folder.name, str(folder))


def lay_out_samples() -> None:
    """Copy what is missing of `demo/samples` into ComfyUI's input folder. A name that is taken stays as it
    is. A folder that cannot be written gives a warning that says what to do."""
    inputs = Path(folder_paths.get_input_directory())
    wanted = [(sample, inputs / sample.name) for sample in sorted(DEMO.glob("samples/refvid_*"))]
    try:
        for sample, place in wanted:
            if not (place.exists() or place.is_symlink()):
                with replacing(place) as beside:
                    shutil.copyfile(sample, beside)
    except OSError as error:
        logger.warning(
            "refvid: the samples of its templates could not be copied into %s (%s); choose pictures of your "
            "own there, "
            "or copy them from %s", inputs, error, DEMO / "samples",
        )  # fmt: skip
