"""Recipes: how each published system puts references in front of a Wan DiT, as data. A new method is a new
function here."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

logger = logging.getLogger(__name__)
_told: set[tuple[str, str]] = set()

Canvas = Literal["video", "own"]
NullPass = Literal["keep", "drop", "zero"]
ReferenceClock = Literal["video", "own"]
GREY = 127 / 255
AUTO_RECIPE = "auto"  # the recipe the model's file names
TRAINED_FOR = "refvid.recipe"  # metadata key of a file that was trained for a recipe
WHITE = 1.0


@dataclass(frozen=True)
class Types:
    """Rows of a model's type embedding, which is added to tokens of each kind."""

    clean: int  # pictures and the source video
    semantic: int
    video: int


@dataclass(frozen=True)
class Recipe:
    """Recipe of conditioning on reference pictures.

    canvas      "video": every picture is fitted into the video's size; "own": it keeps its size, up to
                `longest_edge`
    fill        what stands where a picture is masked out or padded, 0…1
    keeps_padding  tokens of the padding stay in the sequence, because the weights were trained with them
    masked_input   the recipe fills a (latent, mask, latent) patch embedding, 36 channels on Wan 2.1
    own_source  each reference is a stream with the video's positions and a source id of its own. Otherwise
                reference k stands at frame F + k, right after a video of F latent frames
    null_pass   what the negative conditioning has of the references, for samplers that do not build their
                passes. It keeps them, drops them, or has zero latents in their places
    guider_null  what the pass without conditions has of them that guidance builds itself
                (`core.guidance.NULL`), by what the weights were trained with. Where it keeps them, a scale of
                its own does nothing to references
    clock       timestep of reference tokens: the video's, or their own, 0, since they are clean
    reads_text  whether reference tokens read the prompt
    types       the type embedding that tokens are told apart by, or None
    semantic_tokens  of them travel beside the video, as noisy as it, and are denoised with it; their queries
                and keys are zero
    """

    name: str
    source: str
    canvas: Canvas
    fill: float
    keeps_padding: bool
    masked_input: bool
    own_source: bool
    null_pass: NullPass
    guider_null: NullPass
    max_references: int = 8
    longest_edge: int = 848
    clock: ReferenceClock = "video"
    reads_text: bool = True
    types: Types | None = None
    semantic_tokens: int = 0

    def placement(self, index: int, video_frames: int) -> tuple[int, int]:
        """(first latent frame, source id) of reference `index`, counted from 0; source 0 is the video."""
        return (0, index + 1) if self.own_source else (video_frames + index, 0)


def saber() -> Recipe:
    """Masked references behind the video: Saber (arXiv 2512.06905) §3. Order, grey ground and joint attention
    are as published; positions F + k, token rule and null passes are not public [choice: saber-layout]. Our
    training leaves a clip's references out of the sequence (`reference_dropout`)."""
    return Recipe("saber", "arXiv 2512.06905", "video", GREY, False, True, False, "keep", "drop")


def phantom() -> Recipe:
    """Whole reference frames behind the video, white padding included; zero latents in guidance's null pass.
    Phantom (arXiv 2502.11079) and core's WanPhantomSubjectToVideo, whose third output that pass is."""
    where = "arXiv 2502.11079"
    return Recipe("phantom", where, "video", WHITE, True, False, False, "keep", "zero", max_references=4)


def bernini() -> Recipe:
    """Pictures as in-context streams of their own size, which its training leaves out of the sequence.
    ByteDance Bernini-R (bernini/training/data.py) and core's BerniniConditioning."""
    return Recipe("bernini", "ByteDance/Bernini-R", "own", WHITE, False, False, True, "keep", "drop")


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
    return Recipe("in_context", "our choice", "video", GREY, False, False, False, "keep", "drop")


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


for shipped in (saber, phantom, bernini):
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


def choose_recipe(name: str, trained: str | None, among: _Recipes = RECIPES) -> Recipe:
    """The recipe of that name; for `AUTO_RECIPE` the one the model's file, or that of its LoRA, was trained
    for (`TRAINED_FOR` metadata). A name of another family than the file says is the caller's to choose: that
    is logged, once. ValueError where it is none of those."""
    if name == AUTO_RECIPE and trained is None:
        raise ValueError(
            f"recipe is {AUTO_RECIPE}, but the model's file does not say what it was trained for; choose one of "
            f"{', '.join(among)}"
        )
    chosen = trained if name == AUTO_RECIPE and trained is not None else name
    if chosen not in among:
        said = f"{AUTO_RECIPE}, and the model's file says {chosen!r}" if name == AUTO_RECIPE else repr(chosen)
        raise ValueError(f"recipe is {said}; choose one of {', '.join(among)}")
    if trained is not None:
        _tell_other(chosen, trained)
    return among[chosen]()


def _tell_other(chosen: str, trained: str) -> None:
    family = _families.get(trained)
    kin = chosen == trained or (family is not None and _families.get(chosen) == family)
    if not kin and (chosen, trained) not in _told:
        _told.add((chosen, trained))
        logger.warning(
            "refvid: the recipe is %s, but the model's file says it was trained for %s, which may ignore or misread "
            "what %s puts before it; auto takes what the file says",
            chosen,
            trained,
            chosen,
        )
