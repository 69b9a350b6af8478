"""refvid without ComfyUI: the same recipes on the plain torch backbones of `backbones/`."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..backbones.base import Backbone, VideoVAE
from ..backbones.wan.sampler import sample_euler
from ..core.frames import Given, Placed, given_frames
from ..core.guidance import CONDITIONED, Guidance, Pass, combine, renormed
from ..core.schedule import flow_sigma, share_of
from ..kernels.paths import AUTO
from .plain_edit import Edit, in_windows
from .plain_identity import People, read
from .plain_recall import Kept, recalling
from .plain_references import EncodedReferences, encode_pictures, tail


@dataclass(frozen=True)
class Condition:
    """What a run is conditioned on. Texts (B, S, C); `padding` fills the channels a masked-input backbone has beside the
    latent: (1, group + channels, F, h, w); `shift` of the schedule, which step windows are shares of; `attention` by name; `people`, who
    are read behind the text; `frames` of the video that are given; `edit`, a source video, which every pass keeps."""

    texts: dict[str, Tensor]
    references: EncodedReferences | None = None
    padding: Tensor | None = None
    shift: float = 1.0
    attention: str = AUTO
    people: People | None = None
    frames: Given | None = None
    edit: Edit | None = None

    def over(self, edit: Edit, start: int, stop: int) -> "Condition":
        """The same for an edit's latent frames [start, stop) alone."""
        references, people, frames = self.references, self.people, self.frames
        part = slice(start, stop)
        if references is not None and references.cells is not None:
            references = replace(references, cells=references.cells[part])
        if people is not None and people.cells is not None:
            people = replace(people, cells=people.cells[part])
        if frames is not None:
            frames = Given(frames.latent[:, :, part], frames.replaced[part], frames.clock)
        return replace(self, references=references, people=people, frames=frames, edit=edit)


def encode_frames(vae: VideoVAE, placed: Placed, empty: Tensor) -> Given:
    """Pictures on the video whose empty latent is given (1, C, F, h, w). ValueError as `core.frames.clips_to_encode` says."""
    return given_frames(placed, lambda pictures: encode_pictures(vae, pictures), empty, vae.geometry)


def grey_padding(vae: VideoVAE, frames: int, height: int, width: int) -> Tensor:
    """Mask (0, unknown) and condition channels of the video itself for a backbone of masked input: a grey video.
    frames, height, width in pictures and pixels -> (1, group + channels, F, h, w)."""
    grey = encode_pictures(vae, torch.full((frames, height, width, 3), 0.5))
    return torch.cat([torch.zeros_like(grey[:, : vae.geometry.group]), grey], dim=1)


def velocity(
    dit: Backbone,
    latent: Tensor,
    sigma: Tensor,
    condition: Condition,
    entry: Pass,
    kept: Kept | None = None,
) -> Tensor:
    """One pass, in the windows of a long edit. latent (B, C, F, h, w), behind it the frames of an edit's semantic tokens; sigma scalar,
    or (B, F) for a level per frame; `kept`, what this pass keeps from step to step."""
    if condition.edit is None:
        return _evaluate(dit, latent, sigma, condition, entry, kept)
    return in_windows(
        lambda part, edit, *span: _evaluate(dit, part, sigma, condition.over(edit, *span), entry),
        latent,
        condition.edit,
    )


def _evaluate(
    dit: Backbone,
    latent: Tensor,
    sigma: Tensor,
    condition: Condition,
    entry: Pass,
    kept: Kept | None = None,
) -> Tensor:
    """One evaluation of one pass. latent (B, C, F, h, w), behind it the frames of an edit's semantic tokens; sigma scalar, or (B, F) for a
    level per frame. A pass that keeps the conditions is shown the given frames clean, and says of them that they lead there."""
    state, edit = latent.to(dit.dtype), condition.edit
    running = latent if edit is None else latent[:, :, : edit.frames]
    batch, _, frames, rows, columns = running.shape
    latent = state[:, :, :frames]
    given = _references_of(condition.references, entry)
    clean, clock = condition.frames if entry.conditions else None, sigma
    if clean is not None:
        latent, clock = clean.on(latent), _clocks(clean, sigma, batch)
    share = 0.0
    if given is not None and given.arranged.layout.timed:
        share = share_of(float(sigma.max()), lambda part: flow_sigma(part, condition.shift))
    behind = tail(dit, given, state, share, condition.attention, edit)
    everywhere_alike = given is not None and given.arranged.layout.constant and given.cells is None
    if behind is not None and kept is not None and everywhere_alike:
        behind = recalling(behind, kept)
    text = condition.texts[entry.text].to(latent).expand(batch, -1, -1)
    identities = None
    if condition.people is not None:
        beside = 0 if behind is None or not behind.reads_text else behind.tokens.shape[1]
        video = dit.geometry.count(frames, rows, columns)
        identities = read(dit, condition.people, entry.conditions, text.shape[1], video, beside)
    extra = [] if condition.padding is None else [condition.padding.to(latent).expand(batch, -1, -1, -1, -1)]
    out, after = dit.through(
        torch.cat([latent, *extra], dim=1),
        (clock * dit.geometry.clock).expand(batch) if clock.ndim == 0 else clock * dit.geometry.clock,
        text,
        image_features=dit.no_image(batch),
        tail=behind,
        identities=identities,
    )
    out = out if clean is None else _towards(clean, running, sigma, out.to(running))
    return out if edit is None else edit.finish(out, after)


def _references_of(references: EncodedReferences | None, entry: Pass) -> EncodedReferences | None:
    """What a pass is shown of them: all, nothing, or zero latents, as their recipe says (`guider_null`)."""
    if references is None or entry.conditions:
        return references
    null = references.arranged.layout.recipe.guider_null
    if null == "zero":
        return replace(references, inputs=tuple(torch.zeros_like(one) for one in references.inputs))
    return references if null == "keep" else None


def _clocks(given: Given, sigma: Tensor, batch: int) -> Tensor:
    """Levels (B, F), 0 for frames with a clock of their own; or as they are."""
    if given.clock != "own":
        return sigma
    levels = sigma.expand(batch, len(given.replaced)) if sigma.ndim == 0 else sigma
    return levels * ~given.replaced.to(sigma.device)


def _towards(given: Given, latent: Tensor, sigma: Tensor, velocity: Tensor) -> Tensor:
    """The velocity, with that of the given frames: straight to what was given, from where they are."""
    frames = len(given.replaced)
    straight = (latent[:, :, :frames] - given.latent.to(latent)) / sigma.max()
    video = torch.where(given.mask.to(latent.device), straight, velocity[:, :, :frames])
    return torch.cat([video, velocity[:, :, frames:]], dim=2)


def guided_velocity(
    dit: Backbone, condition: Condition, guidance: Guidance
) -> Callable[[Tensor, Tensor], Tensor]:
    """The passes of each noise level, combined, in the latent's type; for the steps of one run, of one batch size."""
    kept: dict[Pass, Kept] = defaultdict(list)

    def combined(latent: Tensor, sigma: Tensor) -> Tensor:
        table = guidance.table(share_of(float(sigma), lambda part: flow_sigma(part, condition.shift)))
        passes = {
            entry: velocity(dit, latent, sigma, condition, entry, kept[entry]).to(latent)
            for entry, _ in table
        }
        guided = combine(table, passes)
        if guidance.renorm != "off" and len(table) > 1:
            guided = renormed(guided, passes[CONDITIONED], guidance.renorm == "frames")
        return guided if condition.frames is None else _towards(condition.frames, latent, sigma, guided)

    return combined


def generate(
    dit: Backbone,
    vae: VideoVAE,
    condition: Condition,
    guidance: Guidance,
    noise: Tensor,
    sigmas: Tensor,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """A whole run. noise (B, C, F, h, w), with that of an edit's semantic tokens behind it, sigmas (steps + 1,) -> video (B, 3, pictures, height, width) in [-1, 1].
    The latent is kept in fp32 whatever the weights' type, as in ComfyUI: fifty small steps would round away in bf16."""
    latent = sample_euler(guided_velocity(dit, condition, guidance), noise, sigmas.to(noise.device), progress)
    if condition.edit is not None:
        latent = latent[:, :, : condition.edit.frames]
    with torch.no_grad():
        return vae.decode(latent.to(vae.dtype)).float().clamp(-1, 1)
