"""Question: what does a step cost with separate guidance, with joint guidance, and outside of the guidance's
window?

One evaluation of all passes of a step on the plain host: the demo model's sizes on a longer clip, random
weights, one whole reference.
"""

import torch
from results import paired_ratio, record

from refvid.backbones.wan.dit import DiTConfig, WanDiT
from refvid.backbones.wan.vae import WanVAE
from refvid.core.controls import StepWindow
from refvid.core.guidance import Guidance, Scale, joint
from refvid.core.recipes import recipe_named
from refvid.core.references import make_reference
from refvid.hosts.plain.evaluation import Text
from refvid.hosts.plain.references import encode_references
from refvid.hosts.plain.sampling import Condition, guided_velocity

GRID, SIZE = (6, 20, 20), 160
CASE = "width 256 x 6, 600 video tokens, 100 of a reference"
EARLY = StepWindow(0.0, 0.5)  # the noise level measured lies behind it


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dit = WanDiT(DiTConfig(256, 768, 2, 6, 16, 16, 128)).eval()
    reference = make_reference(torch.rand(SIZE, SIZE, 3))
    encoded = encode_references(dit, WanVAE(8).eval(), [reference], recipe_named("saber"), GRID)
    texts = {name: Text(torch.randn(1, 24, 128)) for name in ("positive", "negative")}
    condition = Condition(texts, () if encoded is None else (encoded,))
    latent, sigma = torch.randn(1, 16, *GRID), torch.tensor(0.3)

    def step(guidance: Guidance):
        velocity = guided_velocity(dit, condition, guidance)
        return lambda: velocity(latent, sigma)

    both, separate = step(joint(Scale(5.0))), step(Guidance(Scale(1.5), Scale(5.0)))
    outside = step(joint(Scale(5.0, EARLY)))
    record("guidance", f"{CASE}: separate (SIT) / joint (JIT)", paired_ratio(separate, both))
    record("guidance", f"{CASE}: joint / outside its window", paired_ratio(both, outside))


if __name__ == "__main__":
    main()
