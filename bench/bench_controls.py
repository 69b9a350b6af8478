"""Question: what do a strength and regions cost against references without controls?

1280 video tokens, two references of 256 tokens each; the same numbers as plain torch with a whole mask
(checked first).
"""

import torch
from results import paired_ratio, record

from refvid.backbones.base import Tail, attend_all
from refvid.backbones.wan.dit import DiTConfig, WanDiT
from refvid.backbones.wan.geometry import WAN_2_1
from refvid.core.controls import Controls
from refvid.core.layout import Layout, Stream
from refvid.core.positions import reference_angles
from refvid.core.recipes import recipe_named
from refvid.core.visibility import reference_turn
from refvid.kernels.eager import eager_attention
from refvid.kernels.grouped import in_groups

FRAMES, ROWS, COLUMNS = 5, 32, 32  # 5 x 16 x 16 = 1280 tokens
VIDEO = WAN_2_1.count(FRAMES, ROWS, COLUMNS)
CASE = "1280 + 512 tokens, width 256 x 4"


def halves() -> torch.Tensor:
    """The first reference on the left half of the video, the second on the right."""
    cells = torch.full((FRAMES, ROWS, COLUMNS), 0b01)
    cells[:, :, COLUMNS // 2 :] = 0b10
    return cells


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    dit = WanDiT(DiTConfig(256, 512, 2, 4, 16, 16, 64)).eval()
    latent = torch.randn(1, 16, FRAMES, ROWS, COLUMNS, generator=generator)
    timestep, context = torch.tensor([500.0]), torch.randn(1, 64, 64, generator=generator)
    tokens = torch.randn(1, 512, 256, generator=generator)

    def forward(asked: Controls, cells: torch.Tensor | None, eager: bool = False) -> torch.Tensor:
        layout = Layout(recipe_named("saber"), (Stream(16, 16, 256, asked),) * 2, WAN_2_1)
        angles = reference_angles(layout, WAN_2_1.tokens(FRAMES, ROWS, COLUMNS), dit.head_size)[None]
        now = reference_turn(layout, 0.0, cells, None, VIDEO, FRAMES, latent.device)
        assert now is not None
        attend = eager_attention(now.groups) if eager else in_groups(attend_all, now.groups)
        return dit(latent, timestep, context, tail=Tail(tokens, angles, now.bias, attend))

    neutral = Controls()
    asked = {
        "strength": (Controls(0.5), None),
        "apart": (Controls(sees="video"), None),
        "two regions": (neutral, halves()),
        "two regions, apart, strength": (Controls(0.5, sees="video"), halves()),
    }
    for name, given in asked.items():
        assert (forward(*given) - forward(*given, eager=True)).abs().max() < 1e-4, name
        ratio = paired_ratio(lambda given=given: forward(*given), lambda: forward(neutral, None))
        record("controls", f"{CASE}: {name} / no controls", ratio)
    whole = paired_ratio(lambda: forward(neutral, halves(), eager=True), lambda: forward(neutral, halves()))
    record("controls", f"{CASE}: two regions, whole mask in plain torch / groups", whole)


if __name__ == "__main__":
    main()
