"""Question: what does removing masked-out reference tokens save against hiding them with an attention mask?

1280 video tokens and 1024 reference tokens of which a quarter is kept; the same numbers come out either way.
The mask is measured in three forms. Without a fused kernel, because most fused kernels (flash, sage) take no
mask. As (query x key) in torch's fused kernel, which does, and there as one value per key, the cheapest
form."""

import torch
import torch.nn.functional as F
from results import paired_ratio, record

from refvid.backbones.base import Tail
from refvid.backbones.wan.dit import DiTConfig, WanDiT
from refvid.backbones.wan.geometry import WAN_2_1
from refvid.core.layout import Layout, Stream
from refvid.core.positions import reference_angles
from refvid.core.recipes import recipe_named
from refvid.kernels.eager import masked_attention

FRAMES, ROWS, COLUMNS = 5, 32, 32  # 5 x 16 x 16 = 1280 tokens
REFERENCES, KEPT = 4, 0.25
CASE = "1280 + 1024 tokens, 25 % kept, width 256 x 4"


def with_mask(attend, row: torch.Tensor):
    """Self-attention under a mask row (1, tokens), by `attend(query, key, value, row)`."""
    return lambda query, key, value, _: attend(query, key, value, row)


def dense(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """The mask as (query x key), in torch's fused kernel."""
    mask = row.expand(1, 1, query.shape[2], -1).contiguous()
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


def eager(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
    """The mask in plain matrix products: where a kernel that takes no mask leaves the work to."""
    return masked_attention(query, key, value, keep=row.isfinite())


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    dit = WanDiT(DiTConfig(256, 512, 2, 4, 16, 16, 64)).eval()
    latent = torch.randn(1, 16, FRAMES, ROWS, COLUMNS, generator=generator)
    timestep, context = torch.tensor([500.0]), torch.randn(1, 64, 64, generator=generator)
    layout = Layout(recipe_named("saber"), (Stream(ROWS // 2, COLUMNS // 2, 256),) * REFERENCES, WAN_2_1)
    angles = reference_angles(layout, WAN_2_1.tokens(FRAMES, ROWS, COLUMNS), dit.head_size)[None]
    tokens = torch.randn(1, angles.shape[1], 256, generator=generator)
    order = torch.randperm(tokens.shape[1], generator=generator)
    keep = order[: int(KEPT * len(order))].sort().values
    bias = torch.full((1, len(order)), float("-inf")).index_fill(1, keep, 0.0)
    every, masked, removed = (
        Tail(tokens, angles),
        Tail(tokens, angles, bias),
        Tail(tokens[:, keep], angles[:, keep]),
    )

    def forward(tail: Tail | None) -> torch.Tensor:
        return dit(latent, timestep, context, tail=tail)

    row = F.pad(bias, (1280, 0))

    def through(attend) -> torch.Tensor:
        return forward(Tail(tokens, angles, attend=with_mask(attend, row)))

    runs = {
        "mask without a fused kernel / removal": lambda: through(eager),
        "dense mask / removal": lambda: through(dense),
        "mask of one value per key / removal": lambda: forward(masked),
        "all tokens, no mask / removal": lambda: forward(every),
    }
    for name, run in runs.items():
        same = name.startswith("all") or (run() - forward(removed)).abs().max() < 1e-4
        assert same, name
        record("removal", f"{CASE}: {name}", paired_ratio(run, lambda: forward(removed)))
    without = paired_ratio(lambda: forward(removed), lambda: forward(None))
    record("removal", f"{CASE}: removal / no references", without)


if __name__ == "__main__":
    main()
