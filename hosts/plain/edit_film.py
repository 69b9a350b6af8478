"""Film editing without ComfyUI (SAMA): from a film and an instruction to the edited film."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ...backbones.wan.loading import load_modules
from ...backbones.wan.lora import merge_lora
from ...core.checkpoint import read_shapes, read_some
from ...core.controls import CROP
from ...core.editing import PREFIX, Windows, edit_prompt, fitted_size, padded
from ...core.fit import fitted_pictures
from ...core.lora import changes
from ...core.recipes import EDITING, choose_recipe, recipe_for
from ...core.semantic import beside_modules, require_editing
from .pipeline import Pipeline, Progress, Request, generate
from .references import encode_pictures
from .source import SourceRider


def with_editing_adapter(backbone: Pipeline, path: str | Path, strength: float, what: str) -> Pipeline:
    """The backbone with the modules of another file, and with that file's LoRA merged into the DiT, if it
    holds one.

    Of a whole model only the modules are read. ValueError for a file without the modules, one of another
    width, and a LoRA that does not fit; also for a strength without a LoRA. Nothing is changed then.
    """
    dit = backbone.dit
    shapes, metadata = read_shapes(path, what)
    require_editing(metadata, f"{what}: {Path(path).name}")
    modules = load_modules(path, dit.dtype, str(dit.device), what)
    width = dit.width
    if modules is None or modules.config.width != width:
        held = "none" if modules is None else f"them for a Wan of width {modules.config.width}"
        raise ValueError(
            f"{what}: {Path(path).name} holds {held} of segment_embedding, siglip_feat_mlp and "
            "semantic_head; the model needs them for "
            f"its width {width}"
        )
    others = beside_modules(shapes)
    if not others and strength != 1:
        raise ValueError(
            f"{what}: {Path(path).name} holds no LoRA beside the modules; a strength of {strength} acts on "
            "nothing"
        )
    if others:
        weights = dict(dit.named_parameters())
        changes({key: shapes[key] for key in others}, weights, f"{what}: {Path(path).name}")
        lora = read_some(path, what, others.__contains__)
        merge_lora(dit, lora, strength, f"{what}: {Path(path).name}")
    return replace(backbone, recipe=recipe_for(modules, backbone.recipe), modules=modules)


def edit_film(
    backbone: Pipeline, request: Request, film: Tensor, windows: Windows, progress: Progress | None = None,
    fit: str = CROP,
) -> Tensor:  # fmt: skip
    """Edit a film (F, H, W, 3) in [0, 1] as the request's prompt says. -> (3, F, h, w) in [-1, 1].

    The result has the film's aspect and about as many pixels as the settings ask for, in whole tokens, to
    which `fit` (`core.fit`) brings it. Beyond that the request's frames, width and height are not looked at.
    ValueError for an empty instruction, for too few or too many pictures, and for a recipe that takes no
    source video.
    """
    geometry = backbone.dit.geometry
    prompt, pictures = edit_prompt(request.prompt), padded(film, geometry)
    recipe = choose_recipe(request.recipe, backbone.recipe, EDITING, backbone.found)
    settings = request.settings
    width, height = fitted_size(
        film.shape[2], film.shape[1], settings.width * settings.height, geometry.token
    )
    settings = replace(settings, width=width, height=height, frames=len(pictures))
    modules = backbone.modules if recipe.types is not None else None
    source = encode_pictures(backbone.vae, fitted_pictures(pictures, height, width, fit))
    asked = replace(
        request,
        prompt=prompt,
        negative=PREFIX,
        settings=settings,
        recipe=recipe.name,
        source=SourceRider(source, recipe, modules),
        windows=windows,
    )
    return generate(backbone, asked, progress)[:, : len(film)]
