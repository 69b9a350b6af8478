"""Claims of the matrix for a source video that is edited (SAMA): what it does on every variant that takes
one, and with the features it lives beside."""

from dataclasses import dataclass

import comfy.sample
import refvid_tiny as tiny
import torch
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from refvid_in_process import picture
from refvid_matrix import Claim, close, compiled, differs, differs_at_all, same, with_lora, with_patches
from refvid_matrix_frames import Given
from refvid_matrix_identities import known
from refvid_matrix_variants import FRAMES, SIDE, Case, frames_of, references
from torch import Tensor

from refvid.core.editing import Windows
from refvid.core.recipes import recipe_named
from refvid.hosts.comfy.install import install
from refvid.hosts.comfy.references import apply_references
from refvid.hosts.comfy.source.edit import instruction_edit
from refvid.hosts.comfy.source.modules import attach_modules
from refvid.hosts.comfy.source.rider import Source, attach

REFUSED = ("Fun-InP", "I2V", "VACE")


@dataclass(frozen=True)
class Editing:
    """A case with a source video."""

    case: Case
    recipe: str = "sama"

    def source(self, seed: int = 21) -> Tensor:
        """The latent of a clip that the case's VAE encodes."""
        side = SIDE * self.case.vae.spacial_compression_encode()
        clip = torch.stack([picture(seed + index, side, side) for index in range(4 * FRAMES - 3)])
        return self.case.vae.encode(clip)

    def apply(self, model=None, texts=None, seed: int = 21, source: Tensor | None = None):
        """(model, positive, negative)"""
        model = self.with_modules(model or self.case.model)
        given = self.source(seed) if source is None else source
        recipe = recipe_named(self.recipe)
        return install(model, Source), *(attach(one, given, recipe) for one in texts or self.case.texts())

    def with_modules(self, model):
        return attach_modules(model, tiny.semantic_state(self.case.sizes.width), "test")

    def run(self, **how) -> Tensor:
        return self.sample(*self.apply(**how))

    def sample(self, model, positive, negative, latent=None, **kwargs) -> Tensor:
        return self.case.run(model, positive, negative, latent, steps=1, **kwargs)


def edits_act(case: Case) -> list[Claim]:
    editing = Editing(case)
    if case.name in REFUSED:
        return [("refused, and by what", _refusal(editing), same, _WHY[case.name])]
    bare, made = case.run(case.model, *case.texts(), steps=1), editing.run()
    plain = Editing(case, "in_context").run()
    claims: list[Claim] = [
        ("a source", made, differs, bare),
        ("another source", editing.run(seed=31), differs_at_all, made),
        ("without semantic tokens and types", plain, differs, made),
        ("modules alone", case.run(editing.with_modules(case.model), *case.texts(), steps=1), same, bare),
    ]
    if "noise_mask" in case.latent():
        given = case.latent()["samples"][:, :, :1]
        claims.append(("beside core's own first frame", made[:, :, :1], close, given))
    return claims


_WHY = {
    "Fun-InP": "model takes 36 input channels (image-to-video)",
    "I2V": "model takes 36 input channels (image-to-video)",
    "VACE": "model is a VACE model, which edits by its own control video",
}


def _refusal(editing: Editing) -> str:
    case = editing.case
    clip = torch.rand(5, 64, 64, 3)
    try:
        instruction_edit(
            editing.with_modules(case.model), None, case.vae, clip, "make it red", [], Windows(4)
        )
    except ValueError as error:
        return str(error).partition(":")[0]
    return "not refused"


def edits_beside(case: Case) -> list[Claim]:
    """LoRA of core before and after, patches and overrides of other packs, references, replaced frames and
    identities, a batch, a compiled model, windows."""
    if case.name in REFUSED:
        return [("refused, and by what", _refusal(Editing(case)), same, _WHY[case.name])]
    sides = (with_lora, with_patches, _with_the_others, _in_batches, compiled)
    claims = [claim for side in sides for claim in side(Editing(case))]
    return [*claims, *_in_windows(Editing(case, "in_context"))]


def _with_the_others(editing: Editing) -> list[Claim]:
    case, who, alone, given = editing.case, known(editing.case), editing.run(), Given(editing.case)
    model, *texts = editing.apply()
    shown = references(1.0, 0.5)
    out = apply_references(model, None, *texts, case.vae, case.latent(), shown, recipe_named("sama"), "keep")
    framed, *framed_texts, latent = given.apply()
    first = editing.sample(*editing.apply(model=framed, texts=framed_texts), latent)
    after = given.sample(*given.apply(model=model, texts=tuple(texts)))
    people = editing.sample(*who.apply({}, model=model, texts=tuple(texts)))
    known_model, *known_texts = who.apply({})
    return [
        ("references act", editing.sample(out.model, out.positive, out.negative), differs_at_all, alone),
        ("frames, in either order", after, close, first),
        ("the given frame", after[:, :, FRAMES - 1 :], same, latent["samples"][:, :, FRAMES - 1 :]),
        ("frames act", after[:, :, 1:-1], differs_at_all, alone[:, :, 1:-1]),
        ("identities, in either order", people, close, editing.run(model=known_model, texts=known_texts)),
        ("identities act", people, differs_at_all, alone),
    ]


def _in_batches(editing: Editing) -> list[Claim]:
    """With in_context: semantic noise of a batch is drawn for all rows at once."""
    one, two = Editing(editing.case, "in_context"), Editing(editing.case.twice(), "in_context")
    noise = comfy.sample.prepare_noise(two.case.latent()["samples"], 5)
    both, applied = two.run(), one.apply()
    return [
        (f"row {row} of a batch", both[row : row + 1], close, one.sample(*applied, noise=noise[row : row + 1]))
        for row in (0, 1)
    ]  # fmt: skip


def _in_windows(editing: Editing) -> list[Claim]:
    """Each window has its part of the source."""
    case, half, source = editing.case, FRAMES // 2, editing.source()
    model, *texts = editing.apply(source=source)
    windowed = ContextWindowsManualNode.execute(
        model, half, 0, "batched", 1, False, "pyramid", 2, False, causal_window_fix=False
    ).result[0]
    noise = comfy.sample.prepare_noise(case.latent()["samples"], 5)
    together, claims = editing.sample(windowed, *texts), []
    for start in range(0, FRAMES, half):
        span = slice(start, start + half)
        part = {key: value[:, :, span] for key, value in case.latent().items()}
        words = tuple(frames_of(c, start, start + half) for c in case.texts())
        alone = editing.sample(
            *editing.apply(texts=words, source=source[:, :, span]), part, noise=noise[:, :, span]
        )
        claims.append((f"frames from {start}", together[:, :, span], close, alone))
    return claims
