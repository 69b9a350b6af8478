"""Our nodes' model and conditioning, together and apart, under every kind of guider."""

from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch
from comfy_extras.nodes_custom_sampler import Guider_Basic, Guider_DualCFG
from comfy_extras.nodes_perpneg import Guider_PerpNeg
from refvid_in_process import empty_latent, picture, text

import nodes
from refvid.core.controls import Controls
from refvid.core.editing import Windows
from refvid.core.frames import Placed
from refvid.core.guidance import Guidance, Scale, joint
from refvid.core.references import make_reference
from refvid.hosts.comfy import adapters, identities
from refvid.hosts.comfy.evaluation import kinds
from refvid.hosts.comfy.frames import replace_frames
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.references import apply_references
from refvid.hosts.comfy.source.edit import instruction_edit
from refvid.hosts.comfy.steps import StepRange, denoise_steps

NAMES = ("references", "identities", "frames", "source")
FEATURE = dict(zip(NAMES, kinds(), strict=False))  # VACE's own references need another model
CORES = ("Basic", "CFG", "DualCFG", "PerpNeg")
GUIDERS = ("Joint", "Separate", *CORES)
JOINT, SEPARATE = joint(Scale(3.0)), Guidance(Scale(1.5), Scale(4.0))


class Clip:
    """A text encoder of two prompts."""

    def tokenize(self, prompt: str) -> int:
        return len(prompt)

    def encode_from_tokens_scheduled(self, tokens: int) -> list:
        return [[text(tokens), {}]]


@dataclass(frozen=True)
class Halves:
    """Inputs of a sampler."""

    model: Any
    positive: list
    negative: list

    @property
    def both(self) -> tuple[list, list]:
        return self.positive, self.negative


class Maker:
    """Each of our nodes on a model and texts."""

    def __init__(self, model, vae, loaded):
        self.vae, self.loaded = vae, loaded
        self.raw = Halves(model, [[text(1), {}]], [[text(2), {}]])
        self.person = adapters.encode_comfy_identity(
            loaded, vae, torch.stack([picture(n) for n in range(9)]), None, None
        )[0]

    def references(self, given: Halves, low=None, strength: float = 1.0, **how):
        shown = [make_reference(picture(3), None, Controls(strength))]
        out = apply_references(given.model, low, *given.both, self.vae, empty_latent(), shown, "saber", **how)
        made = Halves(out.model, out.positive, out.negative)
        return made if low is None else (made, out.low_noise_model)

    def identities(self, given: Halves, loaded=None, person=None, **how) -> Halves:
        loaded, person = loaded or self.loaded, person or self.person
        (model,), positive, negative = identities.apply_identity(
            [given.model], *given.both, loaded, person, **how
        )
        return Halves(model, positive, negative)

    def frames(self, given: Halves) -> Halves:
        placed = Placed(picture(8)[None], [0], "own")
        (model,), *both, _ = replace_frames([given.model], *given.both, self.vae, empty_latent(), placed)
        return Halves(model, *both)

    def source(self, given: Halves) -> Halves:
        clip = torch.stack([picture(20 + index) for index in range(9)])
        out = instruction_edit(
            given.model, Clip(), self.vae, clip, "make it red", [], Windows(4), "in_context"
        )
        return Halves(out.model, out.positive, out.negative)

    def made(self, name: str, given: Halves | None = None) -> Halves:
        return getattr(self, name)(given or self.raw)


def core_guider(kind: str, model, positive, negative):
    """Core's guiders, as its nodes build them."""
    if kind == "Basic":
        guider = Guider_Basic(model)
        guider.set_conds(positive)
        return guider
    if kind == "CFG":
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(3.0)
        return guider
    guider = (Guider_DualCFG if kind == "DualCFG" else Guider_PerpNeg)(model)
    guider.set_conds(positive, negative, negative)
    guider.set_cfg(3.0, 1.5)
    return guider


def denoised(guider) -> torch.Tensor:
    part = StepRange(2, "euler", "simple", 0, 10000, False)
    return denoise_steps(guider, empty_latent(), part, 3, True)[0]["samples"]


def through(kind: str, given: Halves) -> torch.Tensor:
    """Two steps with one of our guiders, or with one of core's in Denoise Steps."""
    if kind in CORES:
        return denoised(core_guider(kind, given.model, *given.both))
    return denoised(table_guider(given.model, *given.both, SEPARATE if kind == "Separate" else JOINT))


def by_core(given: Halves) -> torch.Tensor:
    return nodes.KSampler().sample(
        given.model, 3, 2, 3.0, "euler", "simple", *given.both, empty_latent()
    )[0]["samples"]  # fmt: skip
