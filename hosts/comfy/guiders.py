"""Guiders that build their own passes from what the conditioning carries."""

import logging

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.guidance import CONDITIONED, MIDDLE, NULL, Guidance, GuidanceTable, combine, renormed
from ...core.recipes import recipe_named
from ...core.schedule import share_of
from .evaluation import kinds, recipe_carried
from .pairing import require_halves
from .wire import Conditioning

logger = logging.getLogger(__name__)
_NAMES = {CONDITIONED: "positive", MIDDLE: "middle", NULL: "negative"}


class TableGuider(comfy.samplers.CFGGuider):
    """A guider that weighs the passes of a `core.guidance.Guidance` anew at every step."""

    def set_guidance(self, guidance: Guidance) -> None:
        self._guidance = guidance

    def table(self, sigma: float) -> GuidanceTable:
        """Passes and weights at a noise level."""
        return self._guidance.table(share_of(sigma, self.inner_model.model_sampling.percent_to_sigma))

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: dict = {}, seed: int | None = None):  # noqa: B006
        """ComfyUI's own guidance where it is one pass or two, with every hook that other packs put there."""
        table = self.table(float(timestep.max()))
        if len(table) < 3:
            weights = dict(table)
            first, *others = weights
            scale, null = weights[first], others[0] if others else NULL
            return comfy.samplers.sampling_function(
                self.inner_model, x, timestep, self.conds[_NAMES[null]], self.conds[_NAMES[first]], scale,
                model_options=model_options, seed=seed,
            )  # fmt: skip
        return self._three(table, x, timestep, model_options)

    def _three(self, table: GuidanceTable, x: Tensor, timestep: Tensor, model_options: dict) -> Tensor:
        """Three passes, as `sampling_function` does two: hooks see the first and the last of them."""
        if "sampler_cfg_function" in model_options:
            raise ValueError(
                "model carries a CFG function of another node (RescaleCFG, for one), which combines two "
                "passes; these scales make "
                "three. Remove it, set image_scale equal to text_scale, or use Renorm Guidance"
            )
        order = (CONDITIONED, NULL, MIDDLE)
        conds = [self.conds[_NAMES[entry]] for entry in order]
        shared = {"input": x, "sigma": timestep, "model": self.inner_model, "model_options": model_options}
        out = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options)
        scale = dict(table)[CONDITIONED]
        for hook in model_options.get("sampler_pre_cfg_function", ()):
            out = hook(
                {"conds": conds, "conds_out": out, "cond_scale": scale, "timestep": timestep, **shared}
            )
        denoised = combine(table, dict(zip(order, out, strict=True)))
        for hook in model_options.get("sampler_post_cfg_function", ()):
            denoised = hook(
                {
                    "denoised": denoised, "cond": conds[0], "uncond": conds[1], "cond_scale": scale,
                    "cond_denoised": out[0], "uncond_denoised": out[1], **shared,
                }
            )  # fmt: skip
        return denoised


def table_guider(
    model: ModelPatcher, positive: Conditioning, negative: Conditioning, guidance: Guidance
) -> TableGuider:
    """A guider for JIT-CFG or SIT-CFG (STIV, arXiv 2412.07730, §3.3).

    Its null pass has neither the prompt nor the conditions (references, frames), whatever `negative` carries.
    Of references it has what `null_of` says. ValueError where model and conditioning do not belong together.
    """
    given = {"positive": positive, "negative": negative}
    require_halves(model, {side: [options for _, options in words] for side, words in given.items()})
    guider = TableGuider(model)
    conds = {"positive": positive, "negative": null_of(negative, positive)}
    if guidance.image != guidance.text:  # else no step needs it
        _tell_nothing_carried(positive)
        if guidance.image.value != 1:
            for kind in kinds():
                kind.tell_scale([options for _, options in positive])
        conds["middle"] = carrying(negative, positive)
    guider.inner_set_conds(conds)
    guider.set_guidance(guidance)
    return guider


def published_scales(positive: Conditioning, given: tuple[float, float]) -> tuple[float, float]:
    """Image and text scale that the weights of the conditioning's recipe were published with
    (`core.recipe.Hints`). Where it carries no recipe, or one without hints, they are the given ones, and the
    log says so."""
    name = next((name for _, options in positive if (name := recipe_carried(options)) is not None), None)
    hints = None if name is None else recipe_named(name).hints
    if hints is None:
        logger.info(
            "refvid: scales: no published ones are known for %s; %g and %g are used",
            name or "no references",
            *given,
        )
        return given
    logger.info(
        "refvid: scales of %s as published: image %g, text %g", name, hints.image_scale, hints.text_scale
    )
    return hints.image_scale, hints.text_scale


def _tell_nothing_carried(positive: Conditioning) -> None:
    if not any(kind.guided and kind.carried(options) for _, options in positive for kind in kinds()):
        logger.warning(
            "refvid: image_scale: positive carries neither references nor identities nor given frames; it "
            "acts only on what other nodes put there beside the prompt"
        )


def null_of(negative: Conditioning, positive: Conditioning) -> Conditioning:
    """The null pass of guiders: `negative` without the conditions, but for what a rider has there of
    `positive`. Identities stay: the negative side carries the learned nobody."""
    carried = [options for _, options in positive]
    entries = []
    for text, options in negative:
        for kind in kinds():
            options = kind.null(options, carried)
        entries.append([text, dict(options)])
    return entries


def strip(conditioning: Conditioning) -> Conditioning:
    """A copy without the conditions that guiders' null pass leaves out."""
    return null_of(conditioning, [])


def carrying(text: Conditioning, conditions: Conditioning) -> Conditioning:
    """The words of one conditioning with all that another carries. ValueError where the words are more than
    one."""
    if len(text) != 1:
        raise ValueError(
            f"negative has {len(text)} parts, the pass that keeps the references and leaves out the prompt "
            "needs one: do not combine "
            "negative conditionings for this guider"
        )
    return [[text[0][0], dict(options)] for _, options in conditions]


def renorm_guidance(model: ModelPatcher, per_frame: bool) -> ModelPatcher:
    """A clone whose guided velocity has the norm of the conditioned one (`core.guidance.renormed`). It works
    with any guider, after the hooks that are there."""

    def renorm(args: dict) -> Tensor:
        x, sigma = args["input"], args["sigma"].reshape(-1, *[1] * (args["input"].ndim - 1))
        guided, conditioned = ((x - args[name]) / sigma for name in ("denoised", "cond_denoised"))
        if torch.equal(guided, conditioned):  # one pass: nothing to do, to the last bit
            return args["denoised"]
        return x - renormed(guided, conditioned, per_frame) * sigma

    model = model.clone()
    model.set_model_sampler_post_cfg_function(renorm)
    return model
