"""Batch of Saber on clips of people. What is random about it follows from the run's seed and the batch's
number, on every device and in any number of processes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from ....backbones.wan.geometry import CONTEXT_LENGTH
from ....data.index import Clip
from ....data.order import generator
from ....data.prepared import Prepared
from ....hosts.plain.evaluation import Text
from .config import SaberSettings
from .references import draw_references

EncodePictures = Callable[[Tensor], Tensor]  # pictures (N, 3, H, W) in [-1, 1] -> latents (N, channels, h, w)


@dataclass(frozen=True)
class ClipBatch:
    """Batch of B clips with up to K references each.

    names            of the clips, with the seconds that are seen
    latent, noise    (B, channels, F, h, w)
    sigma            (B,)
    reference        (B, channels, K, h, w)
    masks            (B, K, H, W) of 0 and 1; all 0: no reference
    text             of their captions
    """

    names: tuple[str, ...]
    latent: Tensor
    noise: Tensor
    sigma: Tensor
    reference: Tensor
    masks: Tensor
    text: Text

    def to(self, device: str) -> "ClipBatch":
        """Batch on a device."""
        moved = {
            name: getattr(self, name).to(device)
            for name in ("latent", "noise", "sigma", "reference", "masks")
        }
        bias = None if self.text.bias is None else self.text.bias.to(device)
        return replace(self, **moved, text=Text(self.text.states.to(device), bias))


@dataclass(frozen=True)
class ClipRow:
    """Row of a batch: a clip's window, its references (K, 3, H, W) and masks (K, H, W), and the states (S,
    width) of its words."""

    name: str
    latent: Tensor
    noise: Tensor
    sigma: Tensor
    pictures: Tensor
    masks: Tensor
    words: Tensor


def draw_row(prepared: Prepared, clip: Clip, settings: SaberSettings, turn: int, place: int) -> ClipRow:
    """Row `place` of batch `turn`: its window, words, noise and references are drawn."""
    draws = row_generator(settings.seed, turn, place)
    window = int(torch.randint(clip.windows, (1,), generator=draws))
    without_words, short, without_references = (
        torch.rand(3, generator=draws)
        < torch.tensor(
            [settings.data.caption_dropout, settings.data.short_captions, settings.references.dropout]
        )
    ).tolist()
    words = "no_text" if without_words else "short_text" if short and clip.short_caption else "text"
    latent = prepared.latent(clip, window).float()
    noise = torch.randn(latent.shape, generator=draws)
    sigma = settings.train.noise.sample(1, draws)[0]
    chances = torch.tensor(settings.references.count)
    count = 0 if without_references else 1 + int(torch.multinomial(chances, 1, generator=draws))
    references = draw_references(prepared, clip, window, count, settings.references, draws)
    return ClipRow(
        window_name(prepared, clip, window), latent, noise, sigma, *references, prepared.text(clip, words)
    )


def row_generator(seed: int, *what: object) -> Generator:
    """Random numbers of a purpose on the CPU, the same for the same words."""
    return Generator().manual_seed(int(generator(seed, "saber", *what).integers(2**63)))


def window_name(prepared: Prepared, clip: Clip, window: int) -> str:
    """Name of a clip's window for people: its file, and the seconds of it."""
    if not clip.fps:
        return Path(clip.path).name
    first, last = (clip.begin + float((clip.start + one) / clip.rate) for one in prepared.span(clip, window))
    return f"{Path(clip.path).name} [{first:.1f}–{last:.1f} s]"


def batch_from_rows(rows: Sequence[ClipRow], encode: EncodePictures) -> ClipBatch:
    """Batch of rows. Those with fewer references than others have masked-out ones, which nobody sees."""
    most = max(len(row.pictures) for row in rows)
    counts = [len(row.pictures) for row in rows]
    latents = encode(torch.cat([row.pictures for row in rows])).split(counts) if most else ()
    channels, _, height, width = rows[0].latent.shape
    reference = torch.zeros(len(rows), channels, most, height, width)
    masks = torch.zeros(len(rows), most, *rows[0].masks.shape[1:])
    for place, found in enumerate(latents):
        reference[place, :, : len(found)] = found.movedim(0, 1)
        masks[place, : len(found)] = rows[place].masks
    latent, noise, sigma = (
        torch.stack([getattr(row, name) for row in rows]) for name in ("latent", "noise", "sigma")
    )
    names = tuple(row.name for row in rows)
    return ClipBatch(names, latent, noise, sigma, reference, masks, padded_words([row.words for row in rows]))


def padded_words(words: Sequence[Tensor]) -> Text:
    """States (S, width) of words, a row each, as cross-attention reads them. Padding is one token, counted as
    often as there is of it, as `backbones.wan.text.fold_padding` has it."""
    longest = max(len(states) for states in words) + 1
    padded = torch.stack([F.pad(states.float(), (0, 0, 0, longest - len(states))) for states in words])
    bias = torch.full((len(words), longest), -torch.inf)
    for place, states in enumerate(words):
        count = len(states)
        bias[place, :count] = 0
        bias[place, -1] = torch.tensor(float(CONTEXT_LENGTH - count)).clamp_min(0).log()
    return Text(padded, bias)
