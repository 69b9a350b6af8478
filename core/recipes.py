"""Recipes: how each published system puts references in front of a Wan DiT, as data. A new method is a new
function here."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from .published_recipes import PUBLISHED
from .recipe import GREY, Recipe, Types
from .recognition import Recognised

logger = logging.getLogger(__name__)
_told: set[str] = set()

AUTO_RECIPE = "auto"  # the recipe the model's file names
TRAINED_FOR = "refvid.recipe"  # metadata key of a file that was trained for a recipe


def saber() -> Recipe:
    """Masked references behind the video: Saber (arXiv 2512.06905) §3. Order, grey ground and joint attention
    are as published; positions F + k, token rule and null passes are not public [choice: saber-layout]. Our
    training leaves a clip's references out of the sequence (`reference_dropout`)."""
    return Recipe("saber", "arXiv 2512.06905", "video", GREY, False, True, "keep", "drop")


def videomaker() -> Recipe:
    """Video model as its own reference encoder: one clean frame behind the video, and a zero latent in the
    null pass. VideoMaker (arXiv 2412.19645) §3, on Wan's attention over all frames. The reference has its own
    timestep 0 [choice: videomaker-clock]; the picture is grey where it is masked out, and those tokens are
    left out [choice: videomaker-grey]."""
    return Recipe(
        "videomaker",
        "arXiv 2412.19645",
        "video",
        GREY,
        False,
        False,
        "zero",
        "zero",
        max_references=1,
        clock="own",
    )


def videomaker_shared() -> Recipe:
    """`videomaker` as published: the reference has the video's timestep, though it is clean."""
    return replace(videomaker(), name="videomaker_shared", clock="video")


def videomaker_no_text() -> Recipe:
    """`videomaker` whose reference does not read the prompt: the paper's ablation without cross-attention.
    What it says then depends on the picture alone."""
    return replace(videomaker(), name="videomaker_no_text", reads_text=False)


def in_context() -> Recipe:
    """Source video beside the one that is made, on the same positions, with the same timestep, seen by all
    [choice: in-context]. Pictures stand at frame F + k. Guidance's null pass has none, as in training, which
    shows none."""
    return Recipe("in_context", "our choice", "video", GREY, False, False, "keep", "drop")


def recipe_for(modules: object | None, said: str | None) -> str | None:
    """The recipe of a model: `sama` where it has SAMA's modules, else what its file says, if it says any."""
    return said if modules is None else sama().name


def sama() -> Recipe:
    """Recipe `in_context`, told apart by type embeddings, with 65 semantic tokens: features of SigLIP's for
    one frame, 64 places and their mean. SAMA (arXiv 2603.19228) and its released code, which is the truth
    where the two differ. Pictures have type 0 and frame F + k [choice: sama-pictures]: the released weights
    never saw one."""
    return replace(
        in_context(),
        name="sama",
        source="arXiv 2603.19228",
        types=Types(clean=0, semantic=1, video=2),
        semantic_tokens=65,
    )


_Recipes = dict[str, Callable[[], Recipe]]
RecipeKind = Literal["references", "edits"]
RECIPES: _Recipes = {}
EDITING: _Recipes = {}  # those that take a source video
_families: dict[str, str] = {}  # by recipe


def register_recipe(
    build: Callable[[], Recipe], kind: RecipeKind = "references", family: str | None = None
) -> None:
    """Make a recipe known by its name: among those of pictures, or among those that take a source video.
    Recipes of one family are meant to be run with weights that were trained for any of them. ValueError where
    another has the name."""
    name, among = build().name, {"references": RECIPES, "edits": EDITING}[kind]
    if (RECIPES | EDITING).get(name, build) is not build:
        raise ValueError(f"recipe: {name} is registered already; give yours another name")
    among[name] = build
    if family is not None:
        _families[name] = family


for shipped in (saber, *PUBLISHED):
    register_recipe(shipped)
for shipped in (videomaker, videomaker_shared, videomaker_no_text):
    register_recipe(shipped, family="videomaker")
for shipped in (sama, in_context):
    register_recipe(shipped, "edits", family="edits")


def recipe_named(name: str) -> Recipe:
    """The recipe of that name; ValueError lists the choices."""
    known = RECIPES | EDITING
    if name not in known:
        raise ValueError(f"recipe is {name!r}; choose one of {', '.join(known)}")
    return known[name]()


def choose_recipe(
    name: str, trained: str | None, among: _Recipes = RECIPES, found: Recognised | None = None
) -> Recipe:
    """The recipe of that name; for `AUTO_RECIPE` the one the model is for. It is what its file, or that of
    its LoRA, was trained for (`TRAINED_FOR` metadata). Else it is that of public weights that the model was
    recognised as. A choice by a file's name is logged once; so is a recipe that the weights contradict.

    ValueError where it is none of `among`, and for weights that no recipe runs. Where a name alone says that
    they are such, a recipe that is chosen runs."""
    found = None if trained is not None else _runnable(name, found)
    said = trained if trained is not None else found and found.weights.recipe
    if name == AUTO_RECIPE and said is None:
        raise ValueError(
            f"recipe is {AUTO_RECIPE}, but the model's file does not say what it was trained for; choose one of "
            f"{', '.join(among)}"
        )
    chosen = said if name == AUTO_RECIPE and said is not None else name
    if chosen not in among:
        how = f"the model's file says {chosen!r}" if found is None else found.said
        raise ValueError(
            f"recipe is {f'{AUTO_RECIPE}, and {how}' if name == AUTO_RECIPE else repr(chosen)}; choose one of "
            f"{', '.join(among)}"
        )
    if name == AUTO_RECIPE and found is not None and found.guessed:
        _tell(logging.INFO, f"recipe {chosen}, by {found.by}; a recipe that you choose is taken instead")
    if contradicted := contradiction(chosen, trained, found):
        _tell(logging.WARNING, contradicted)
    return among[chosen]()


def contradiction(chosen: str, trained: str | None, found: Recognised | None = None) -> str | None:
    """A sentence where a model is for another recipe than the chosen one. None where it is of one family with
    it, or nothing says what it is for."""
    if trained is not None:
        its, how = trained, f"the model's file says it was trained for {trained}"
    elif found is not None and not found.weights.beside:
        its, how = found.weights.recipe, found.said
    else:
        return None
    family = _families.get(its or "")
    if chosen == its or (family is not None and _families.get(chosen) == family):
        return None
    ends = "; auto takes what the file says" if its is not None else ""
    return (
        f"the recipe is {chosen}, but {how}, which may ignore or misread what {chosen} puts before it{ends}"
    )


def _runnable(name: str, found: Recognised | None) -> Recognised | None:
    """Recognised weights; None for those of a recipe that is not known here. ValueError for those that no
    recipe runs, unless a recipe is chosen and the file's name alone says so."""
    if found is None or not found.weights.refusal:
        return found if found is not None and found.weights.recipe in RECIPES | EDITING else None
    if name == AUTO_RECIPE or not found.guessed:
        raise ValueError(f"{found.said}: {found.weights.refusal}")
    return found


def _tell(level: int, said: str) -> None:
    if said not in _told:
        _told.add(said)
        logger.log(level, "refvid: %s", said)
