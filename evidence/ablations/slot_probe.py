"""Linear probe of an encoder's tokens for how a toy moves in itself [choice: linear-probe].

A base that cannot show a motion hides what an adapter knows of it.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ...backbones.wan.geometry import WAN
from ...core.adapter import load_adapter
from ...core.slots import Encoded, SlotEncoder
from ...demo.source import WorldFootage, WorldSource
from ...hosts.plain.identities import slot_encoder
from ...training.engine.cache import PART
from ...training.engine.encode import ClipEncoder
from ...training.methods.slot_id.config import Meeting, SlotTraining
from ...training.methods.slot_id.rows import Meetings, cached_meetings, footage_of_part
from ..runs import Ablation
from ..tables import FigureValues, interval_cell, markdown
from ..trials.clips import UNSEEN_SEED
from .slot_baselines import ENCODERS

UNSEEN_CLIPS = 512  # of unseen toys
_FOLDS = 8
_RIDGE = 0.1  # of the mean square of a toy's features
_BATCH = 64
UNTRAINED = "untrained slots"


@dataclass(frozen=True)
class Probe:
    """Tokens of an encoder that are looked at; `ordered`, or with the latent frames of every clip in an order
    of their own."""

    encoder: str
    tokens: Callable[[Encoded], Tensor]
    ordered: bool = True


def _slots(read: Encoded) -> Tensor:
    return read.slots


def _anchors(read: Encoded) -> Tensor:
    return read.anchors


PROBES = {
    "slots": Probe("slots", _slots),
    "slots, frames shuffled": Probe("slots", _slots, ordered=False),
    "the anchor beside them": Probe("slots", _anchors),
    UNTRAINED: Probe(UNTRAINED, _slots),
    "mean pooling": Probe("mean pooling", _slots),
    "one picture": Probe("one picture", _slots),
}
COMPARED = (
    ("slots", "mean pooling"),
    ("slots", "one picture"),
    ("slots", "the anchor beside them"),
    ("slots", "slots, frames shuffled"),
    ("slots", UNTRAINED),
)


def probe_lines(config: SlotTraining, ablation: Ablation) -> list[str]:
    """Table of what each of PROBES tells, and paired differences, with 95 % intervals over the toys; means
    over the training seeds."""
    clips = cache(partial(_clips, config, ablation))  # made where a probe is not kept yet, once
    told = {name: _told(config, ablation, name, clips) for name in PROBES}
    most = torch.bincount(next(iter(told.values()))["moves"].long()).max().item() / UNSEEN_CLIPS
    lines = [
        f"How {UNSEEN_CLIPS} unseen toys move in themselves, told from their tokens by a linear probe; "
        f"the most common answer is right in {most:.3f}."
    ]
    rows = [[name, interval_cell(one["right"])] for name, one in told.items()]
    lines += ["", *markdown(["tokens", "right"], rows)]
    differences = [
        f"{a} minus {b} {interval_cell(told[a]['right'] - told[b]['right'], '+.3f')}" for a, b in COMPARED
    ]
    return [*lines, "", f"Paired: {'; '.join(differences)}."]


def _clips(config: SlotTraining, ablation: Ablation) -> tuple[Meetings, Tensor]:
    """Clips with the reference videos of their toys, and how each toy moves in itself."""
    backbone = replace(ablation, device="cpu").backbone()
    encoder = ClipEncoder(backbone.vae, backbone.text, WorldSource(), ablation.clips)
    meeting = replace(config.meetings[0], name="probe", clips=UNSEEN_CLIPS)
    data = cached_meetings(encoder, config.slots, meeting, config.size, UNSEEN_SEED)
    return data, motion_of(WorldSource(), meeting, UNSEEN_SEED)


def _told(
    config: SlotTraining, ablation: Ablation, name: str, clips: Callable[[], tuple[Meetings, Tensor]]
) -> dict[str, Tensor]:
    """Share of training seeds whose tokens tell a toy's motion, "right" (UNSEEN_CLIPS,), and its row of
    DYNAMICS, "moves" (UNSEEN_CLIPS,)."""
    probe = PROBES[name]

    def measured(seed: int) -> FigureValues:
        data, moves = clips()
        tokens = read_all(_encoder(config, ablation, probe.encoder, seed), data, probe)
        return {name: {"right": told_by_probe(tokens.flatten(1), moves).float(), "moves": moves.float()}}

    runs = []
    for seed in range(ablation.seeds):
        made = [name, {**asdict(config), "encoder": probe.encoder, "seed": seed}]
        place, file = ablation.place(probe.encoder, seed), f"probe-{name.replace(' ', '-')}.json"
        runs.append(ablation.kept(place, made, partial(measured, seed), file)[name])
    return {"right": torch.stack([run["right"] for run in runs]).mean(0), "moves": runs[0]["moves"]}


def _encoder(config: SlotTraining, ablation: Ablation, name: str, seed: int) -> SlotEncoder:
    if name == UNTRAINED:
        torch.manual_seed(seed)
        encoder = SlotEncoder(config.slots, WAN[config.slots.channels].patch)
        encoder.start()
        return encoder.eval()
    return slot_encoder(load_adapter(ablation.place(name, seed) / "slot_id.safetensors", WAN), ENCODERS[name])


def motion_of(source: WorldSource, meeting: Meeting, seed: int) -> Tensor:
    """Row of DYNAMICS of the first of each clip's toys, (N,): those that `cached_meetings` draws."""
    parts = [footage_of_part(source, meeting, seed, index)[0] for index in range(meeting.clips // PART)]
    return torch.cat([cast(WorldFootage, footage).cast[0][0].dynamics for footage in parts])


@torch.no_grad()
def read_all(encoder: SlotEncoder, data: Meetings, probe: Probe) -> Tensor:
    """Tokens (N, n, C) that the encoder reads of the first toy of every clip."""
    found = []
    for start in range(0, len(data.clip), _BATCH):
        part = slice(start, start + _BATCH)
        clip, cover, anchor, anchor_cover = (
            one[part, 0].float() for one in (data.clip, data.cover, data.anchor, data.anchor_cover)
        )
        if not probe.ordered:
            generator = torch.Generator().manual_seed(start)
            order = torch.rand(clip.shape[0], clip.shape[2], generator=generator).argsort(1)
            row = torch.arange(len(clip))[:, None]
            clip, cover = clip.movedim(2, 1)[row, order].movedim(1, 2), cover[row, order]
        found.append(probe.tokens(encoder(clip, cover, anchor, anchor_cover)))
    return torch.cat(found)


def told_by_probe(features: Tensor, kinds: Tensor) -> Tensor:
    """Test features (N, D) by ridge regression in folds: whether the others' find each one's kind (N,) int64,
    (N,) bool."""
    wanted, right = F.one_hot(kinds).double(), torch.zeros(len(kinds), dtype=torch.bool)
    folds = torch.arange(len(kinds)) % _FOLDS
    for fold in range(_FOLDS):
        seen = folds != fold
        mean, spread = features[seen].mean(0), features[seen].std(0).clamp_min(1e-6)
        scaled = ((features - mean) / spread).double()
        alike = scaled @ scaled[seen].T
        square = alike[seen].diagonal().mean().clamp_min(1e-9)  # features that never change tell nothing
        middle = wanted[seen].mean(0)
        weights = torch.linalg.solve(
            alike[seen] + _RIDGE * square * torch.eye(int(seen.sum())), wanted[seen] - middle
        )
        said = (alike[~seen] @ weights + middle).argmax(1)
        right[~seen] = said == kinds[~seen]
    return right
