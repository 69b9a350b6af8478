"""One training step of masked references with replaced frames, alike on every device."""

from contextlib import nullcontext
from dataclasses import fields

import torch
from refvid_latents import latents
from refvid_tiny import TEXT_WIDTH, dit_state
from torch import Generator, Tensor, nn

from refvid.backbones.wan.dit import DiTConfig, WanDiT
from refvid.training.base.dit.batch import MaskedBatch, draw_batch
from refvid.training.base.dit.config import Drawing
from refvid.training.base.dit.losses import masked_reference_loss


class Words(nn.Module):
    """Stands in for a text encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, TEXT_WIDTH)

    def states(self, tokens: Tensor) -> Tensor:
        return self.table(tokens) * tokens.ne(0).unsqueeze(-1)


def step_of(
    device: torch.device,
    head: int = 64,
    attention_mask: bool = True,
    replaced: bool = False,
    autocast: torch.dtype | None = None,
) -> list[Tensor]:
    """The loss and the gradients of every weight, on the CPU."""
    sizes = DiTConfig(2 * head, 3 * head, 2, 1, 16, 16, TEXT_WIDTH)
    torch.manual_seed(0)
    dit, words = WanDiT(sizes), Words()
    dit.load_state_dict(dit_state(sizes))
    dit.to(device)
    words.to(device)
    patterns = (0, 1, 0, 0, 0) if replaced else (1, 0, 0, 0, 0)
    drawing = Drawing((0.0, 1.0), patterns, reference_dropout=0.3, frame_dropout=0.5)
    drawn = draw_batch(latents(), 4, drawing, Generator().manual_seed(0))
    batch = MaskedBatch(**{one.name: getattr(drawn, one.name).to(device) for one in fields(drawn)})
    rounding = nullcontext() if autocast is None else torch.autocast(device.type, autocast)
    with rounding:
        loss = masked_reference_loss(dit, words, "saber", attention_mask)(batch)
    grads = torch.autograd.grad(loss, [*dit.parameters(), *words.parameters()])
    return [one.detach().float().cpu() for one in (loss, *grads)]
