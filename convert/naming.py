"""Format of published files, the recipe they were trained for, and sizes that no shape tells."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from ..backbones.wan.files import CONFIG, TRANSFORMER, is_quantised
from ..backbones.wan.geometry import HEAD_SIZE
from ..backbones.wan.lora import OTHERS
from ..backbones.wan.published import PUBLISHED_FORMATS, TOKEN_LORA, OriginalNames, original_names
from ..core.header import shown
from ..core.recipes import EDITING, RECIPES, TRAINED_FOR, recipe_named
from ..core.recognition import by_name, require_runnable
from ..core.records import parsed
from .reading import Published

NO_RECIPE = "none"  # said of weights that no recipe is for
TEXT_WIDTH = 4096  # of every published Wan; a file with another one says so in its metadata
_HEADS = ("num_heads", "num_attention_heads")  # in config.json: Wan's own, and diffusers'
_NEAREST = (
    4  # folders above a file, whose names may say what it is: transformer, snapshots, a commit, a model
)
_LORA = (".lora_A.", ".lora_B.", ".lora_down.", ".lora_up.", "lora_unet_")


def known_names(tensors: Mapping[str, Published], name: str) -> OriginalNames:
    """Original names of published tensors. ValueError for quantised files, and for what is no DiT and no
    adapter for references, by its kind."""
    small = (key for key, one in tensors.items() if one.dtype.itemsize < 2)
    odd = min((*small, *filter(is_quantised, tensors)), default=None)
    if odd is not None:
        raise ValueError(
            f"{name} is quantised: it has {shown(odd)} of {tensors[odd].dtype}; such files load in ComfyUI as "
            "they are. Needed fp32, fp16 or bf16"
        )
    require_runnable(tensors, name)
    names = original_names(tensors, name)
    if names is not None:
        return names
    if any(part in key for key in tensors for part in _LORA):
        raise ValueError(f"{name} is a LoRA, which ComfyUI's Load LoRA and --lora take as it is")
    for other in OTHERS:
        if any(key.startswith(other.begins) for key in tensors):
            raise ValueError(f"{name} is {other.name}, not a DiT: {other.belongs}")
    raise ValueError(
        f"{name} is in no format that is known here: it has {shown(min(tensors, default='nothing'))}, and none of "
        f"{', '.join(one.mark for one in PUBLISHED_FORMATS)}"
    )


def told_recipe(
    said: str | None, names: OriginalNames, metadata: Mapping[str, str], files: Sequence[Path]
) -> tuple[str | None, str]:
    """The recipe that weights were trained for, and why: as said, by keys, metadata, or names of files and
    folders. None for `NO_RECIPE`. ValueError where nothing tells, and for a recipe that is not known."""
    if said is not None:
        return (None, "as said") if said == NO_RECIPE else (recipe_named(said).name, "as said")
    if names.format.recipe is not None:
        return names.format.recipe, "by its keys"
    if TRAINED_FOR in metadata:
        return metadata[TRAINED_FOR], "by its metadata"
    for place in (files[0], *files[0].absolute().parents[:_NEAREST]):
        found = by_name(place)
        if found is not None and found.weights.recipe is not None:
            return found.weights.recipe, f"by the name {place.name}"
    raise ValueError(
        f"--recipe: {files[0].name} has the keys of a plain Wan, which do not say what it was trained for; give "
        f"one of {', '.join(RECIPES | EDITING)}, or {NO_RECIPE}"
    )


def require_fitting_recipe(recipe: str | None, why: str, names: OriginalNames, name: str) -> None:
    """ValueError for a recipe that is for weights of another kind. `name` is the file's, `why` the reason why
    the recipe was taken."""
    build, adapter = (RECIPES | EDITING).get(recipe or ""), names.format is TOKEN_LORA
    if build is not None and (build().token_lora != adapter or build().carrier == "hints"):
        held = "a LoRA on reference tokens" if adapter else "a DiT without a hint branch"
        raise ValueError(
            f"--recipe: it is {recipe}, {why}, but {name} holds {held}, which that recipe is not for; give another, "
            f"or {NO_RECIPE}"
        )


def config_metadata(
    metadata: Mapping[str, str], shapes: Mapping[str, Tensor], folder: Path
) -> dict[str, str]:
    """Metadata of sizes that ComfyUI does not read from shapes: the number of heads, by config.json beside
    the files, and the width of the text. Empty where the files say it, or it is as in every published Wan."""
    if CONFIG in metadata:
        return {}
    said: dict[str, int] = {}
    heads, width = _heads(folder), shapes["patch_embedding.weight"].shape[0]
    if heads is not None and heads * HEAD_SIZE != width:
        said["num_heads"] = heads
    text = shapes.get("text_embedding.0.weight")
    if text is not None and text.ndim == 2 and text.shape[1] != TEXT_WIDTH:
        said["text_dim"] = text.shape[1]
    return {CONFIG: json.dumps({TRANSFORMER: said})} if said else {}


def _heads(folder: Path) -> int | None:
    """Number of heads by a folder's config.json, if it says one."""
    path = folder / "config.json"
    try:
        said = parsed(path.read_text("utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}); needed JSON") from error
    heads = next((said[key] for key in _HEADS if key in said), None) if isinstance(said, dict) else None
    return heads if type(heads) is int else None
