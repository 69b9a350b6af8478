"""References in ComfyUI: what a conditioning carries of them, their tokens behind the video, and the node
half."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, get_args

from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.controls import AS_RECIPE, Controls
from ...core.geometry import Geometry
from ...core.layout import Layout
from ...core.reach import reach, words_on
from ...core.recipe import NullPass, Recipe
from ...core.recipes import AUTO_RECIPE, recipe_named
from ...core.references import (
    Arranged,
    Reference,
    active,
    arrange,
    reference_input,
    with_empty_places,
)
from ...kernels.paths import ANY_ATTENTION, attention_asked
from . import masked_input, token_lora, wire
from .applied import Applied, require_room
from .evaluation import Embedded, Evaluation, Inside, Options, Rider, StreamsBehindVideo
from .families import wan
from .hints import in_hints
from .install import install
from .pictures import encoded
from .recognition import recipe_of
from .vace import frames_in_front
from .wire import Conditioning

logger = logging.getLogger(__name__)
EACH = ("latents", "masks", "controls", "reach")  # of attached references, what each has
NULL_PASSES = (AS_RECIPE, *get_args(NullPass))


@dataclass(frozen=True)
class AttachedReferences:
    """References as a conditioning carries them.

    recipe     its name
    latents    (1, C, 1, h, w) of each, as the VAE made them
    masks      (H, W) of each in [0, 1], prepared
    controls   of each
    reach      (F or 1, h or 1, w or 1) bool of each: cells of the video latent that it acts on
    attention  that is asked for, by name
    zero       whether their latents are zeros in their places
    null_pass  a word of `NULL_PASSES` for each; None where all are the first
    """

    recipe: str
    latents: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    controls: tuple[Controls, ...]
    reach: tuple[Tensor, ...]
    attention: str = ANY_ATTENTION
    zero: bool = False
    null_pass: tuple[str, ...] | None = None

    def arranged(self, geometry: Geometry) -> Arranged:
        """Layout, kept tokens and soft masks, for a model of this geometry."""
        return arrange(list(self.masks), list(self.controls), recipe_named(self.recipe), geometry)

    def cells(self, grid: tuple[int, ...]) -> Tensor | None:
        """Cells (F, h, w) int64 of a video latent of that grid, bit k where reference k, or an empty place,
        acts; None where all act everywhere."""
        return words_on(with_empty_places(self.reach, recipe_named(self.recipe), True), grid)

    @property
    def null_words(self) -> tuple[str, ...]:
        """Words of `NULL_PASSES`, one for each reference, as they were asked for."""
        return (AS_RECIPE,) * len(self.latents) if self.null_pass is None else self.null_pass

    def null_passes(self) -> list[str]:
        """Null passes, one for each reference: "keep", "drop" or "zero". ValueError for other words, or
        another number of them."""
        words, recipe = self.null_words, recipe_named(self.recipe)
        if len(words) != len(self.latents) or not set(words) <= set(NULL_PASSES):
            raise ValueError(
                f"positive: {wire.key(AttachedReferences, 'null_pass')} is {' '.join(words)!r}; needed one "
                "of "
                f"{', '.join(NULL_PASSES)} for each of its {len(self.latents)} references: apply them anew"
            )
        return [recipe.guider_null if null == AS_RECIPE else null for null in words]

    def chosen(self, which: Sequence[int]) -> "AttachedReferences":
        """A copy with some of the references."""
        lists = {name: tuple(getattr(self, name)[index] for index in which) for name in EACH}
        return replace(self, null_pass=tuple(self.null_words[index] for index in which), **lists)


@dataclass(frozen=True)
class References(Rider):
    """References of one evaluation. All but `inputs` is gone once their streams stand behind the video.

    inputs     of the patch embedding, (B, channels, 1, h, w) each
    keep       (B, n) int64, the tokens that are kept
    layout     of their streams
    soft       (B, n), log of the shares that soft masks cover
    cells      (B, 1, F, h, w) int64, bit k where reference k acts
    attention  that is asked for, by name
    """

    inputs: tuple[Tensor, ...]
    keep: Tensor | None = None
    layout: Annotated[Layout | None, wire.CONSTANT] = None
    soft: Tensor | None = None
    cells: Annotated[Tensor | None, wire.Cells] = None
    attention: str = ANY_ATTENTION

    attached = AttachedReferences
    name = "references"
    nodes = "Apply References"

    @classmethod
    def conds(cls, cond: Options, model: ModelPatcher, grid: tuple[int, ...]) -> "References | None":
        attached = wire.read(AttachedReferences, cond)
        if attached is None:
            return None
        geometry, channels = wan.geometry(model), wan.input_channels(model)
        arranged = attached.arranged(geometry)
        shown = [model.model.process_latent_in(latent) * (not attached.zero) for latent in attached.latents]
        inputs = tuple(
            reference_input(latent, mask, channels, arranged.layout.recipe, geometry)
            for latent, mask in zip(shown, attached.masks, strict=True)
        )
        inputs, cells = with_empty_places(inputs, arranged.layout.recipe), attached.cells(grid)
        words = None if cells is None else cells[None, None]
        return cls(inputs, arranged.keep[None], arranged.layout, arranged.soft, words, attached.attention)

    @classmethod
    def model_conds(cls, cond: Options, model: ModelPatcher) -> Options:
        return masked_input.image_features_on_grey(cond, model)

    @classmethod
    def null(cls, options: Options, positive: Sequence[Options]) -> Options:
        """A condition of the null pass: without references, but for those of `positive` that stay there.

        References whose null pass keeps them stay, and those whose null pass has zero latents. One zero makes
        all that stay zero, as in the negative that core's samplers get.
        """
        bare = wire.without(AttachedReferences, options)
        attached = next((one for of in positive if (one := wire.read(AttachedReferences, of))), None)
        nulls = [] if attached is None else attached.null_passes()
        left = [index for index, null in enumerate(nulls) if null != "drop"]
        if attached is None or not left:
            return bare
        return bare | wire.pack(replace(attached.chosen(left), zero=attached.zero or "zero" in nulls))

    @classmethod
    def tell_scale(cls, positive: Sequence[Options]) -> None:
        """Log where the null pass keeps all references: an image scale then compares it with itself."""
        carried = [one for of in positive if (one := wire.read(AttachedReferences, of))]
        if carried and all(null == "keep" for one in carried for null in one.null_passes()):
            logger.warning(
                "refvid: image_scale: it does nothing to the references, which the null pass keeps "
                "(null_pass of Apply References, or the "
                "recipe %s); set it to 1, which saves a pass",
                carried[0].recipe,
            )

    def count(self, geometry: Geometry) -> int:
        return 0 if self.layout is None else self.layout.kept

    def now(self, evaluation: Evaluation) -> Evaluation:
        if self.layout is None or self.keep is None:
            return evaluation
        cells = None if self.cells is None else self.cells[0, 0]
        mine = StreamsBehindVideo(Arranged(self.layout, self.keep, self.soft), cells, self.attention)
        left = evaluation.having(References(self.inputs))
        return replace(left, behind=(*evaluation.behind, mine))

    def embed(self, inside: Inside) -> Embedded:
        layout, call = inside.layout, inside.call
        places = layout.placements(layout.geometry.tokens(call.frames, *call.x.shape[3:]))
        embedded = [
            wan.embed(inside.module, call, latent, at)
            for latent, at in zip(self.inputs, places, strict=False)  # other riders' streams follow
        ]
        return Embedded([tokens for tokens, _ in embedded], [turned for _, turned in embedded])


def attach(conditioning: Conditioning, added: AttachedReferences, null_pass: str = AS_RECIPE) -> Conditioning:
    """A copy that carries these references after those it has. `null_pass` (`NULL_PASSES`): what guiders'
    null pass has of them. ValueError on another recipe, or too many."""
    return [[text, _appended(options, added, null_pass)] for text, options in conditioning]


def _appended(options: Options, added: AttachedReferences, null_pass: str) -> Options:
    recipe = recipe_named(added.recipe)
    before = wire.read(AttachedReferences, options)
    require_room(options, recipe, len(added.latents) + (0 if before is None else len(before.latents)))
    nulls = (*(() if before is None else before.null_words), *(null_pass,) * len(added.latents))
    words = None if set(nulls) == {AS_RECIPE} else nulls
    joined = added
    if before is not None:
        lists = {name: (*getattr(before, name), *getattr(added, name)) for name in EACH}
        joined = replace(added, zero=before.zero, **lists)
    return wire.onto(options, replace(joined, null_pass=words))


def apply_references(
    model: ModelPatcher,
    low_noise_model: ModelPatcher | None,
    positive: Conditioning,
    negative: Conditioning,
    vae,
    latent: dict[str, Tensor],
    references: list[Reference],
    recipe: str | Recipe = AUTO_RECIPE,
    null_pass: str = AS_RECIPE,
    attention: str = ANY_ATTENTION,
    files: Sequence[str | None] = (),
) -> Applied:
    """Put references on models and conditioning. Everything that may be refused is refused before anything is
    encoded.

    Without an active reference the inputs come back as they are, so nothing of the graph changes. `null_pass`
    (`NULL_PASSES`) says what the negative has of them, and what our guiders' null pass has, where it is not
    left to the recipe. `files` are the names of the models' files, where their loaders keep none.
    """
    models = [model] if low_noise_model is None else [model, low_noise_model]
    for given, what in zip(models, ("model", "low_noise_model"), strict=False):
        wan.require(given, what)
    wan.require_vae(vae, model)
    attention_asked(attention)
    against, why = (), ""
    if not isinstance(recipe, Recipe):
        chosen = recipe_of(recipe, models, files)
        recipe, against, why = chosen.recipe, chosen.against, f"; {chosen.why}"
    references, put = active(references, recipe), CARRIERS[recipe.carrier]
    # What is wrong comes first: the node shows few lines.
    lines = (*against, f"references that act: {len(references)}{why}")
    if not references:
        trim = frames_in_front(positive)
        return Applied(model, low_noise_model, positive, negative, latent, trim, lines)
    token_lora.require_adapters(models, recipe)
    out = put(models, (positive, negative), vae, latent, references, recipe, null_pass, attention)
    return replace(out, lines=lines)


def _behind(
    models: list[ModelPatcher], sides: tuple[Conditioning, Conditioning], vae, latent: dict[str, Tensor],
    references: list[Reference], recipe: Recipe, null_pass: str, attention: str,
) -> Applied:  # fmt: skip
    """Put references behind the video."""
    model, samples = models[0], wan.video_latent(latent, models[0])
    (frames, rows, columns), geometry = samples.shape[2:], wan.geometry(model)
    cells = tuple(
        reach(r.controls.frames, r.region, (frames, rows, columns), geometry, fit=r.fit) for r in references
    )
    masked_input.require_input(models, recipe)
    wan.require_places(model, recipe.place)
    positive, negative = masked_input.on_grey(model, sides, vae, samples)
    prepared, latents = encoded(references, recipe, vae, samples, geometry)
    masks, controls = tuple(r.mask for r in prepared), tuple(r.controls for r in prepared)
    added = AttachedReferences(recipe.name, latents, masks, controls, cells, attention)
    null = recipe.null_pass if null_pass == AS_RECIPE else null_pass
    if null != "drop":
        negative = attach(negative, added)
    if null == "zero":
        negative = [[text, _zeroed(options)] for text, options in negative]
    patched = [*(install(one, References) for one in models), None]
    return Applied(patched[0], patched[1], attach(positive, added, null_pass), negative, latent)


# How references are put onto models and conditions, by the recipe's word for where they travel.
CARRIERS = {"behind": _behind, "hints": in_hints}


def _zeroed(options: Options) -> Options:
    given = wire.read(AttachedReferences, options)
    return options if given is None else wire.onto(options, replace(given, zero=True))
