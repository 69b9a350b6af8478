"""References inside ComfyUI's CONDITIONING, as plain tensors, lists of tensors and strings, so that core's nodes for
saving, combining and areas keep working. Lists that come in are never changed: other nodes hold them too."""

from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor

from ...core.controls import SEES, Controls, FrameWindow, StepWindow
from ...core.frames import Given
from ...core.geometry import Geometry
from ...core.identity import Bound
from ...core.layout import Layout
from ...core.reach import words
from ...core.recipes import NullPass, Recipe, recipe_named
from ...core.references import Arranged, arrange
from ...kernels.paths import AUTO

Conditioning = list[list[Any]]

RECIPE = "refvid_recipe"  # str
LATENTS = "refvid_latents"  # list of (1, C, 1, h, w), as the VAE made them
MASKS = "refvid_masks"  # list of (H, W) in [0, 1], prepared
CONTROLS = "refvid_controls"  # (K, 9) float64, a row of numbers each
REACH = "refvid_reach"  # list of (F or 1, h or 1, w or 1) bool: cells of the video latent that each acts on
ATTENTION = "refvid_attention"  # str: which attention runs
ZERO = "refvid_zero"  # True: the references are there with zero latents
NULL_PASS = "refvid_null_pass"  # str: a word of AS_RECIPE, "keep", "drop", "zero" for each; absent where all are the first
BLANK_IMAGE = "refvid_blank_image"  # True: the image features of an image-to-video model are zero

IDENTITIES = "refvid_identities"  # list of (1, n, C): tokens of each, read behind the text
ADAPTER = "refvid_adapter"  # str: the fingerprint of the adapter that read them
BOUND = "refvid_bound"  # (K, 2) float64: the weight of each one's keys, and whether a phrase names it
PHRASES = "refvid_phrases"  # list of (1, p, text width): states of the words that name each of those
IDENTITY_REACH = (
    "refvid_identity_reach"  # list of (F or 1, h or 1, w or 1) bool: cells of the video that read each
)

FRAMES = "refvid_frames"  # (1, C, F, h, w): latents that stand on replaced frames, as the VAE made them
FRAMES_AT = "refvid_frames_at"  # (F,) bool: which those are
FRAMES_CLOCK = "refvid_frames_clock"  # str: core.frames.CLOCKS

SOURCE = "refvid_source"  # (1, C, F, h, w): a source video's latent, as the VAE made it; every pass keeps it
SOURCE_RECIPE = "refvid_source_recipe"  # str

REFERENCE_KEYS = (RECIPE, LATENTS, MASKS, CONTROLS, REACH, ATTENTION, ZERO, NULL_PASS)
FRAME_KEYS = (FRAMES, FRAMES_AT, FRAMES_CLOCK)
AS_RECIPE = "recipe"  # a null pass as the recipe has it
NULL_PASSES = (AS_RECIPE, *get_args(NullPass))


def with_values(conditioning: Conditioning, values: dict[str, Any]) -> Conditioning:
    """A copy whose entries carry these values too."""
    return [[text, {**options, **values}] for text, options in conditioning]


@dataclass(frozen=True)
class Attached:
    """References as they travel: latents (1, C, 1, h, w), prepared masks (H, W), controls, and cells of the video."""

    latents: list[Tensor]
    masks: list[Tensor]
    controls: list[Controls]
    reach: list[Tensor]


def attach(
    conditioning: Conditioning,
    recipe: Recipe,
    references: Attached,
    attention: str = AUTO,
    null_pass: str = AS_RECIPE,
) -> Conditioning:
    """A copy that carries these references after those it has, and what guiders' null pass has of them (`NULL_PASSES`). ValueError on
    another recipe, or too many."""
    return [
        [text, _appended(options, recipe, references, attention, null_pass)] for text, options in conditioning
    ]


def controls_of(options: dict[str, Any]) -> list[Controls]:
    """What is asked of each reference that a condition carries."""
    return [
        Controls(
            strength,
            StepWindow(*steps),
            FrameWindow(int(first), None if last < 0 else int(last)),
            SEES[int(sees)],
            bool(soft),
        )
        for strength, *steps, first, last, sees, soft in options[CONTROLS].tolist()
    ]


def arranged_of(options: dict[str, Any], geometry: Geometry) -> Arranged:
    """Layout, kept tokens and soft masks of the references that a condition carries, for a model of this geometry; a source video's
    own tokens are not among them."""
    if not options.get(LATENTS):
        layout = Layout(recipe_named(options[SOURCE_RECIPE]), (), geometry)
        return Arranged(layout, torch.zeros(0, dtype=torch.int64), None)
    return arrange(options[MASKS], controls_of(options), recipe_named(options[RECIPE]), geometry)


def cells_of(options: dict[str, Any], grid: tuple[int, ...], reach: str = REACH) -> Tensor | None:
    """Cells of a video latent of grid (frames, rows, columns) that each reference (or identity) acts on, (F, h, w)
    int64, bit k where reference k does; None where all act everywhere. ValueError for another latent than they were applied for."""
    if all(cells.all() for cells in options[reach]):
        return None
    for cells in options[reach]:
        if any(side not in (1, whole) for side, whole in zip(cells.shape, grid, strict=True)):
            raise ValueError(
                f"latent has {grid[0]} frames of {grid[2]}x{grid[1]} cells, but a region or frame window was applied for "
                f"{tuple(cells.shape)}; connect the latent that they were applied with"
            )
    return words(options[reach], *grid)


@dataclass(frozen=True)
class AttachedIdentity:
    """An identity as it travels: tokens (1, n, C), the weight of their keys, states of its phrase (1, p, text width) if it has
    one, cells of the video that read it, and the fingerprint of its adapter."""

    tokens: Tensor
    strength: float
    phrase: Tensor | None
    reach: Tensor
    adapter: str


def attach_identity(conditioning: Conditioning, identity: AttachedIdentity) -> Conditioning:
    """A copy that carries this identity after those it has. ValueError where another adapter read those."""
    for _, options in conditioning:
        if options.get(ADAPTER, identity.adapter) != identity.adapter:
            raise ValueError(
                f"the conditioning carries identities of adapter {options[ADAPTER]} already, this is {identity.adapter}; use one adapter "
                "for all people"
            )
    added = {
        IDENTITIES: [identity.tokens],
        PHRASES: [] if identity.phrase is None else [identity.phrase],
        IDENTITY_REACH: [identity.reach],
    }
    row = torch.tensor([[identity.strength, identity.phrase is not None]], dtype=torch.float64)
    return [
        [
            text,
            {
                **options,
                **{key: [*options.get(key, ()), *values] for key, values in added.items()},
                BOUND: torch.cat([options[BOUND], row]) if BOUND in options else row,
                ADAPTER: identity.adapter,
            },
        ]
        for text, options in conditioning
    ]


def bound_of(options: dict[str, Any]) -> tuple[Bound, ...]:
    """How many tokens each identity of a condition has, and how strongly it acts."""
    return tuple(
        Bound(tokens.shape[1], strength, bool(named))
        for tokens, (strength, named) in zip(options[IDENTITIES], options[BOUND].tolist(), strict=True)
    )


def attach_frames(conditioning: Conditioning, given: Given) -> Conditioning:
    """A copy that carries these frames beside those it has. ValueError where one is given already, or with another clock."""
    return [[text, {**options, **_frames(given, given_of(options))}] for text, options in conditioning]


def given_of(options: dict[str, Any]) -> Given | None:
    """The replaced frames of a condition."""
    if FRAMES not in options:
        return None
    return Given(options[FRAMES], options[FRAMES_AT], options[FRAMES_CLOCK])


def attach_source(conditioning: Conditioning, source: Tensor, recipe: Recipe) -> Conditioning:
    """A copy that carries this source video. ValueError where it carries one already, or references for another recipe."""
    for _, options in conditioning:
        if SOURCE in options:
            raise ValueError(
                "source: the conditioning carries a source video already; edit one video at a time"
            )
        if options.get(RECIPE, recipe.name) != recipe.name:
            raise ValueError(
                f"recipe is {recipe.name}, but the conditioning carries references for {options[RECIPE]}: use one recipe"
            )
    return with_values(conditioning, {SOURCE: source, SOURCE_RECIPE: recipe.name})


def _frames(given: Given, before: Given | None) -> dict[str, Any]:
    latent, replaced = given.latent, given.replaced
    if before is not None:
        both = before.replaced & replaced if before.replaced.shape == replaced.shape else None
        if both is None or both.any() or before.clock != given.clock:
            raise ValueError(
                "frames: the conditioning carries replaced frames already, and these are for another length, share a latent frame with "
                "them, or have another clock"
            )
        latent, replaced = given.on(before.latent), before.replaced | replaced
    return {FRAMES: latent, FRAMES_AT: replaced, FRAMES_CLOCK: given.clock}


def _row(controls: Controls) -> list[float]:
    steps, frames = controls.steps, controls.frames
    return [
        controls.strength, steps.start, steps.end, steps.fade_in, steps.fade_out,
        frames.first, -1 if frames.last is None else frames.last, SEES.index(controls.sees), controls.soft,
    ]  # fmt: skip


def strip(conditioning: Conditioning) -> Conditioning:
    """A copy without references and replaced frames. Identities stay: the negative side carries the learned nobody."""
    return [
        [text, {k: v for k, v in options.items() if k not in (*REFERENCE_KEYS, *FRAME_KEYS)}]
        for text, options in conditioning
    ]


def null_of(negative: Conditioning, positive: Conditioning) -> Conditioning:
    """The unconditional pass of guiders: `negative` without references and replaced frames, but for those references of `positive` that
    their null pass keeps, or has at zero latents; where one of them is zero, all that are left are, as in the negative that core's
    samplers get."""
    options = next((options for _, options in positive if options.get(LATENTS)), None)
    nulls = [] if options is None else null_passes(options)
    left = [index for index, null in enumerate(nulls) if null != "drop"]
    if options is None or not left:
        return strip(negative)
    values = {key: value for key, value in options.items() if key in REFERENCE_KEYS}
    for key in (LATENTS, MASKS, REACH):
        values[key] = [values[key][index] for index in left]
    values[CONTROLS] = values[CONTROLS][left]
    return with_values(strip(negative), {**values, **({ZERO: True} if "zero" in nulls else {})})


def null_passes(options: dict[str, Any]) -> list[str]:
    """What guiders' null pass has of each reference of a condition: "keep", "drop" or "zero". ValueError for other words, or of another
    number."""
    said, recipe = _null_words(options), recipe_named(options[RECIPE])
    if len(said) != len(options[LATENTS]) or not set(said) <= set(NULL_PASSES):
        raise ValueError(
            f"positive: {NULL_PASS} is {options[NULL_PASS]!r}; needed one of {', '.join(NULL_PASSES)} for each of its "
            f"{len(options[LATENTS])} references: apply them anew"
        )
    return [recipe.guider_null if null == AS_RECIPE else null for null in said]


def _null_words(options: dict[str, Any]) -> list[str]:
    if NULL_PASS in options:
        return options[NULL_PASS].split()
    return [AS_RECIPE] * len(options.get(LATENTS, ()))


def carrying(text: Conditioning, conditions: Conditioning) -> Conditioning:
    """The words of one conditioning with all that another carries. ValueError where the words are more than one."""
    if len(text) != 1:
        raise ValueError(
            f"negative has {len(text)} parts, the pass that keeps the references and leaves out the prompt needs one: do not combine "
            "negative conditionings for this guider"
        )
    return [[text[0][0], dict(options)] for _, options in conditions]


def _appended(
    options: dict, recipe: Recipe, references: Attached, attention: str, null_pass: str
) -> dict[str, Any]:
    present = options.get(RECIPE, options.get(SOURCE_RECIPE, recipe.name))
    if present != recipe.name:
        raise ValueError(
            f"recipe is {recipe.name}, but the conditioning carries references, or a source video, for {present}: use one recipe"
        )
    joined = [*options.get(LATENTS, ()), *references.latents]
    if len(joined) > recipe.max_references:
        raise ValueError(
            f"references: with those already in the conditioning there are {len(joined)}, the recipe {recipe.name} "
            f"takes at most {recipe.max_references}"
        )
    rows = torch.tensor([_row(controls) for controls in references.controls], dtype=torch.float64)
    nulls = [*_null_words(options), *[null_pass] * len(references.latents)]
    said = {} if set(nulls) == {AS_RECIPE} else {NULL_PASS: " ".join(nulls)}
    return {
        **options,
        RECIPE: recipe.name,
        LATENTS: joined,
        MASKS: [*options.get(MASKS, ()), *references.masks],
        CONTROLS: torch.cat([options[CONTROLS], rows]) if CONTROLS in options else rows,
        REACH: [*options.get(REACH, ()), *references.reach],
        ATTENTION: attention,
        **said,
    }
