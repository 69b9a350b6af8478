"""A Wan DiT to begin with: from nothing, or from the weights of a run before."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ....backbones.wan.dit import DiTConfig, WanDiT
from ....backbones.wan.loading import load_dit
from ....backbones.wan.text import TextEncoder, load_text_encoder
from ..text import take_over


@dataclass(frozen=True)
class Start:
    """The weights a run begins with: a DiT of its sizes, and the text encoder that was trained with it.

    Without a text encoder the run learns all words anew.
    """

    dit: Path
    text_encoder: Path | None = None


def fresh_dit(model: DiTConfig) -> WanDiT:
    """A DiT with Wan's initialisation: xavier for projections, zero for the output of the head."""
    dit = WanDiT(model)
    # Projections of attention and feed-forward; embeddings and modulation stay as `WanDiT` makes them.
    for name, module in dit.named_modules():
        if isinstance(module, nn.Linear) and ("_attn." in name or "ffn." in name):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    nn.init.zeros_(dit.head.head.weight)
    nn.init.zeros_(dit.head.head.bias)
    return dit


def begun_dit(model: DiTConfig, text: TextEncoder, start: Start) -> WanDiT:
    """The DiT of `start`; `text` takes over its text encoder, if there is one. ValueError where either is of
    another size."""
    dit, _ = load_dit(start.dit, what="--from")
    if dit.config != model:
        raise ValueError(f"--from: {start.dit.name} is {dit.config}; the run needs {model}")
    if start.text_encoder is not None:
        take_over(text, load_text_encoder(start.text_encoder, what="--from-text"), "--from-text")
    return dit.train().requires_grad_()
