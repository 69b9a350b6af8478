"""Claims of the matrix for replaced frames (STIV): what they do on every variant that takes them, and with
the features they live beside."""

from dataclasses import dataclass

import comfy.sample
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from refvid_in_process import picture
from refvid_matrix import Claim, close, compiled, differs, differs_at_all, same, with_lora, with_patches
from refvid_matrix_identities import known
from refvid_matrix_variants import FRAMES, SIDE, Case, frames_of
from torch import Tensor

from refvid.core.frames import Placed
from refvid.hosts.comfy.frames import replace_frames

LAST = FRAMES - 1
REFUSED = ("Fun-InP", "I2V")  # their frames are an input of the model


@dataclass(frozen=True)
class Given:
    """A case with a picture on its last frame."""

    case: Case

    def picture(self, seed: int = 11) -> Tensor:
        side = SIDE * self.case.vae.spacial_compression_encode()
        return picture(seed, side, side)[None]

    def apply(self, model=None, texts=None, seed: int = 11, clock: str | None = None, latent=None):
        """(model, positive, negative, latent)"""
        case = self.case
        placed = Placed(self.picture(seed), [-1], clock or self.clock)
        (one,), *others = replace_frames(
            [model or case.model], *(texts or case.texts()), case.vae, latent or case.latent(), placed
        )
        return one, *others

    def run(self, **how) -> Tensor:
        return self.sample(*self.apply(**how))

    def sample(self, model, positive, negative, latent, **kwargs) -> Tensor:
        return self.case.run(model, positive, negative, latent, steps=1, **kwargs)

    @property
    def clock(self) -> str:
        return "shared" if self.case.name == "VACE" else "own"


def frames_act(case: Case) -> list[Claim]:
    given = Given(case)
    if case.name in REFUSED:
        return [("refused, and by what", _refusal(given), same, "model takes 36 input channels")]
    bare = case.run(case.model, *case.texts(), steps=1)
    *applied, latent = given.apply()
    made, wanted = given.sample(*applied, latent), latent["samples"]
    claims: list[Claim] = [
        ("the given frame", made[:, :, LAST:], same, wanted[:, :, LAST:]),
        ("the others follow it", made[:, :, :LAST], differs, bare[:, :, :LAST]),
        ("another picture", given.run(seed=12)[:, :, :LAST], differs_at_all, made[:, :, :LAST]),
    ]
    if "noise_mask" in case.latent():
        claims.append(("beside core's own first frame", made[:, :, :1], close, wanted[:, :, :1]))
    if given.clock == "own":
        shared = given.run(clock="shared")[:, :, :LAST]
        claims.append(("the video's clock", shared, differs_at_all, made[:, :, :LAST]))
    return claims


def frames_beside(case: Case) -> list[Claim]:
    """LoRA of core before and after, patches and overrides of other packs, references and identities, a
    batch, a compiled model, windows."""
    given = Given(case)
    if case.name in REFUSED:
        return [("refused, and by what", _refusal(given), same, "model takes 36 input channels")]
    return [
        *with_lora(given),
        *with_patches(given),
        *_with_references_and_identities(given),
        *_in_batches(given),
        *compiled(given),
        *_in_windows(given),
    ]


def _refusal(given: Given) -> str:
    try:
        given.apply()
    except ValueError as error:
        return str(error).partition(":")[0]
    return "not refused"


def _with_references_and_identities(given: Given) -> list[Claim]:
    case, who, alone = given.case, known(given.case), given.run()
    out = case.apply(1.0, 0.5)
    first = given.run(model=out.model, texts=(out.positive, out.negative))
    model, positive, negative, latent = given.apply()
    after = case.apply_to(model, positive, negative)
    last = given.sample(after.model, after.positive, after.negative, latent)
    people = who.apply({}, model=model, texts=(positive, negative))
    model, *texts = who.apply({})
    return [
        ("references, in either order", last, close, first),
        ("references act", first, differs_at_all, alone),
        ("identities, in either order", given.sample(*people, latent), close, given.run(model=model, texts=texts)),
        ("identities act", given.sample(*people, latent), differs_at_all, alone),
        ("the given frame beside references", first[:, :, LAST:], same, alone[:, :, LAST:]),
    ]  # fmt: skip


def _in_batches(given: Given) -> list[Claim]:
    two = Given(given.case.twice())
    noise = comfy.sample.prepare_noise(two.case.latent()["samples"], 5)
    both, applied = two.run(), given.apply()
    return [
        (f"row {row} of a batch", both[row : row + 1], close, given.sample(*applied, noise=noise[row : row + 1]))
        for row in (0, 1)
    ]  # fmt: skip


def _in_windows(given: Given) -> list[Claim]:
    """Only the window with the given frame has it."""
    case, half = given.case, FRAMES // 2
    model, positive, negative, latent = given.apply()
    windowed = ContextWindowsManualNode.execute(
        model, half, 0, "batched", 1, False, "pyramid", 2, False, causal_window_fix=False
    ).result[0]
    noise = comfy.sample.prepare_noise(latent["samples"], 5)
    together, claims = given.sample(windowed, positive, negative, latent), []
    for start in range(0, FRAMES, half):
        span = slice(start, start + half)
        part = {key: value[:, :, span] for key, value in case.latent().items()}
        texts = tuple(frames_of(c, start, start + half) for c in case.texts())
        applied = (case.model, *texts, part) if start == 0 else given.apply(texts=texts, latent=part)
        alone = given.sample(*applied, noise=noise[:, :, span])
        claims.append((f"frames from {start}", together[:, :, span], close, alone))
    return claims
