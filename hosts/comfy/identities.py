"""Identities (Slot-ID) in ComfyUI: what a conditioning carries of them, their tokens behind the text, and the
node half."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...core.adapter import SlotAdapter, require_fit
from ...core.controls import FrameWindow
from ...core.identity import Bound, Identity, key_bias, require_adapter
from ...core.lora import changes
from ...core.reach import reach, words_on
from . import wire
from .adapters import LoadedAdapter
from .evaluation import Evaluation, GroupsBehindText, Inside, Options, Rider, past_apply_model
from .families import wan
from .install import install
from .pairing import Sides
from .wire import Conditioning


@dataclass(frozen=True)
class AttachedIdentities:
    """Identities as a conditioning carries them.

    tokens   (1, n, C) of each, read behind the text
    bound    of each: number of tokens, weight of their keys, and whether a phrase names it
    reach    (F or 1, h or 1, w or 1) bool of each: cells of the video that read it
    phrases  states (1, p, text width) of the words that name each of those that are named
    adapter  fingerprint of the adapter that read them; empty in files of versions that did not keep it
    """

    tokens: tuple[Tensor, ...]
    bound: tuple[Bound, ...]
    reach: tuple[Tensor, ...]
    phrases: tuple[Tensor, ...] = ()
    adapter: str = ""


@dataclass(frozen=True)
class People(Rider):
    """Identities of one evaluation.

    tokens   (B, n, C) of all
    bound    how each is bound
    phrases  (B, p, text width) of those that are named
    cells    (B, 1, F, h, w) int64, bit k where identity k is read; None once it is worked out who reads what
    """

    tokens: Tensor
    bound: Annotated[tuple[Bound, ...], wire.CONSTANT]
    phrases: tuple[Tensor, ...] = ()
    cells: Annotated[Tensor | None, wire.Cells] = None

    attached = AttachedIdentities
    name = "identities"
    nodes = "Apply Identity"

    @classmethod
    def takes(cls, model: ModelPatcher) -> bool:
        return model.attachments.get(wire.ADAPTER) is not None  # without its LoRA nobody is read

    @classmethod
    def unlike(cls, model: ModelPatcher, sides: Sides) -> Iterator[str]:
        present = model.attachments.get(wire.ADAPTER)
        for side, conditions in sides.items():
            carried = [wire.read(AttachedIdentities, options) for options in conditions]
            read = {one.adapter for one in carried if one is not None and one.adapter} - {present}
            if present is not None and read:
                yield (
                    f"model carries the LoRA of adapter {present}, {side} identities of adapter "
                    f"{', '.join(sorted(read))}: connect the model "
                    "and the conditioning of one Apply Identity"
                )

    @classmethod
    def conds(cls, cond: Options, model: ModelPatcher, grid: tuple[int, ...]) -> "People | None":
        attached = wire.read(AttachedIdentities, cond)
        if attached is None:
            return None
        cells = words_on(attached.reach, grid)
        words = None if cells is None else cells[None, None]
        return cls(torch.cat(attached.tokens, dim=1), attached.bound, attached.phrases, words)

    def now(self, evaluation: Evaluation) -> Evaluation:
        sizes = tuple(one.tokens for one in self.bound)
        cells = None if self.cells is None else self.cells[0, 0]
        mine = GroupsBehindText(sizes, key_bias(self.bound, evaluation.x.device), cells)
        left = evaluation.having(replace(self, cells=None))
        return replace(left, behind_text=(*evaluation.behind_text, mine))

    def embed_text(self, inside: Inside) -> Tensor:
        """Tokens of the identities, each with the mean of its phrase's words added, embedded as the text is
        [choice: phrase-mean-on-identity]."""
        weighed = inside.text is not None and inside.text.bias is not None
        if self.cells is not None or (any(one.strength != 1 for one in self.bound) and not weighed):
            raise past_apply_model()
        context, starts = inside.call.context, 0
        tokens = self.tokens.to(context)
        parts, phrases = [], iter(self.phrases)
        for one in self.bound:
            part = tokens[:, starts : starts + one.tokens]
            starts += one.tokens
            if one.named:
                spoken = wan.embed_text(inside.module, next(phrases).to(context))
                part = part + spoken.mean(1, keepdim=True)
            parts.append(part)
        return torch.cat(parts, dim=1)


def attach(conditioning: Conditioning, added: AttachedIdentities) -> Conditioning:
    """A copy that carries these identities after those it has. ValueError where another adapter read
    those."""
    carried = [wire.read(AttachedIdentities, options) for _, options in conditioning]
    for one in carried:
        if one is not None and one.adapter not in ("", added.adapter):
            raise ValueError(
                f"the conditioning carries identities of adapter {one.adapter} already, this is "
                f"{added.adapter}; use one adapter "
                "for all people"
            )
    return [
        [text, wire.onto(options, added if before is None else _joined(before, added))]
        for (text, options), before in zip(conditioning, carried, strict=True)
    ]


def _joined(before: AttachedIdentities, added: AttachedIdentities) -> AttachedIdentities:
    lists = {
        name: (*getattr(before, name), *getattr(added, name))
        for name in ("tokens", "bound", "reach", "phrases")
    }
    return replace(added, **lists)


def apply_identity(
    models: list[ModelPatcher], positive: Conditioning, negative: Conditioning, loaded: LoadedAdapter,
    identity: Identity, strength: float = 1.0, parts: str = "both", phrase: Tensor | None = None,
    region: Tensor | None = None, latent: dict[str, Tensor] | None = None,
) -> tuple[list[ModelPatcher], Conditioning, Conditioning]:  # fmt: skip
    """Put an identity on models and conditioning. Everything that may be refused is refused first.

    The models get the adapter's LoRA. The positive carries the identity after those it has, the negative the
    learned nobody. Strength 0 gives everything back as it came.

    phrase  states (1, S, text width) of the words that name this person, from the model's text encoder
    region  (H, W) or (pictures, H, W), where in the video of `latent` the identity is read
    """
    for model, what in zip(models, ("model", "low_noise_model"), strict=False):
        wan.require(model, what)
    require_adapter(identity, loaded.adapter.fingerprint, "identity")
    tokens = identity.tokens(parts)
    for model in models:
        _require_fit(model, loaded)
    if strength == 0:
        return models, positive, negative
    bound = Bound(len(tokens), strength, phrase is not None)  # refuses a strength that is out of bounds
    everywhere = torch.ones(1, 1, 1, dtype=torch.bool)
    cells = everywhere if region is None else _cells(region, latent, models[0])
    states = () if phrase is None else (phrase_states(phrase),)
    adapter, blank = loaded.adapter.fingerprint, loaded.adapter.nobody[None]
    named = AttachedIdentities((tokens[None],), (bound,), (cells,), states, adapter)
    nobody = AttachedIdentities((blank,), (Bound(blank.shape[1]),), (everywhere,), (), adapter)
    return (
        [_with_lora(install(model, People), loaded.adapter) for model in models],
        attach(positive, named),
        [one for entry in negative for one in _once(entry, nobody)],
    )


def phrase_states(states: Tensor) -> Tensor:
    """States (1, S, C) of a phrase alone, without padding (which is zero) and the closing token. ValueError
    where nothing is left."""
    spoken = states[:, states[0].ne(0).any(-1)][:, :-1]
    if not spoken.shape[1]:
        raise ValueError("phrase has no words; name the person as the prompt does, or leave it empty")
    return spoken


def _once(entry: list, nobody: AttachedIdentities) -> Conditioning:
    """A condition that carries nobody once, however many people are applied."""
    return [entry] if People.carried(entry[1]) else attach([entry], nobody)


def _cells(region: Tensor, latent: dict[str, Tensor] | None, model: ModelPatcher) -> Tensor:
    if latent is None:
        raise ValueError("region needs the latent of the video it lies in; connect the empty latent")
    frames, rows, columns = wan.video_latent(latent, model).shape[2:]
    # A mask of any whole number of pixels to a cell will do: there is no VAE here to ask.
    stride = max(1, region.shape[-2] // rows)
    return reach(FrameWindow(), region, (frames, rows, columns), wan.geometry(model), stride)


def _require_fit(model: ModelPatcher, loaded: LoadedAdapter) -> None:
    require_fit(loaded.adapter.config, wan.width(model), wan.geometry(model).channels, "adapter")
    changes(loaded.adapter.lora, wan.weights_of(model), "adapter")
    present = model.attachments.get(wire.ADAPTER)
    if present not in (None, loaded.adapter.fingerprint):
        raise ValueError(
            f"model carries adapter {present} already, this is {loaded.adapter.fingerprint}; use one adapter "
            "for all people"
        )


def _with_lora(model: ModelPatcher, adapter: SlotAdapter) -> ModelPatcher:
    """A model with the adapter's LoRA once, through ComfyUI's own weight adapters."""
    if model.attachments.get(wire.ADAPTER) is not None:
        return model
    patched, _ = comfy.sd.load_lora_for_models(model, None, adapter.lora, 1.0, 0.0)
    patched.set_attachments(wire.ADAPTER, adapter.fingerprint)
    return patched
