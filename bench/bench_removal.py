"""Question: what does removing masked-out reference tokens save against hiding them with an attention mask?

1280 video tokens and 1024 reference tokens of which a quarter is kept; the same numbers come out either way. The mask
is measured twice: (query x key), as masks are usually given to attention, and one value per key, the cheapest form.
"""

from contextlib import contextmanager
from unittest import mock

import torch
import torch.nn.functional as F
from results import paired_ratio, record

from refvid.core.layout import Layout, Stream
from refvid.core.positions import reference_angles
from refvid.core.recipes import recipe_named
from refvid.wan.dit import DiTConfig, SelfAttention, Tail, WanDiT

FRAMES, ROWS, COLUMNS = 5, 32, 32  # 5 x 16 x 16 = 1280 tokens
REFERENCES, KEPT = 4, 0.25


@contextmanager
def dense_mask(video_tokens: int, bias: torch.Tensor):
    """Self-attention with a (query x key) mask, made once, in place of one value per key."""
    row = F.pad(bias, (video_tokens, 0))
    mask = row.expand(row.shape[1], -1).contiguous()[None, None]

    def attend(_self, query, key, value, _key_bias):
        query, key, value = (t.transpose(1, 2) for t in (query, key, value))
        seen = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask if key.shape[2] == mask.shape[3] else None
        )
        return seen.transpose(1, 2).flatten(2)

    with mock.patch.object(SelfAttention, "_attend", attend):
        yield


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    dit = WanDiT(DiTConfig(256, 512, 2, 4, 16, 16, 64)).eval()
    latent = torch.randn(1, 16, FRAMES, ROWS, COLUMNS, generator=generator)
    timestep, context = torch.tensor([500.0]), torch.randn(1, 64, 64, generator=generator)
    layout = Layout(recipe_named("saber"), (Stream(ROWS // 2, COLUMNS // 2, 256),) * REFERENCES)
    angles = reference_angles(layout, FRAMES, dit.head_size)[None]
    tokens = torch.randn(1, angles.shape[1], 256, generator=generator)
    order = torch.randperm(tokens.shape[1], generator=generator)
    keep = order[: int(KEPT * len(order))].sort().values
    bias = torch.full((1, len(order)), float("-inf")).index_fill(1, keep, 0.0)

    def forward(tail: Tail | None) -> torch.Tensor:
        return dit(latent, timestep, context, tail=tail)

    def forward_dense() -> torch.Tensor:
        with dense_mask(1280, bias):
            return forward(every)

    masked, removed, every = (
        Tail(tokens, angles, bias),
        Tail(tokens[:, keep], angles[:, keep]),
        Tail(tokens, angles),
    )
    for same in (forward(masked), forward_dense()):
        assert (same - forward(removed)).abs().max() < 1e-4
    case = "1280 + 1024 tokens, 25 % kept, width 256 x 4"
    record("removal", f"{case}: dense mask / removal", paired_ratio(forward_dense, lambda: forward(removed)))
    record(
        "removal",
        f"{case}: key mask / removal",
        paired_ratio(lambda: forward(masked), lambda: forward(removed)),
    )
    record(
        "removal",
        f"{case}: all tokens, no mask / removal",
        paired_ratio(lambda: forward(every), lambda: forward(removed)),
    )
    record(
        "removal",
        f"{case}: removal / no references",
        paired_ratio(lambda: forward(removed), lambda: forward(None)),
    )


if __name__ == "__main__":
    main()
