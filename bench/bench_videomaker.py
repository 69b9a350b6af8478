"""Question: what does a step with a VideoMaker reference cost against a step without, by what the reference
reads? And a later step of one that reads only itself, whose keys and values are kept?

All passes of a step on the plain host: the demo model's sizes on a longer clip, random weights, one whole
reference.
"""

import torch
from results import paired_ratio, record

from refvid.backbones.wan.dit import DiTConfig, WanDiT
from refvid.backbones.wan.vae import WanVAE
from refvid.core.controls import Controls
from refvid.core.guidance import Scale, joint
from refvid.core.recipes import recipe_named
from refvid.core.references import make_reference
from refvid.hosts.plain.evaluation import Text
from refvid.hosts.plain.references import encode_references
from refvid.hosts.plain.sampling import Condition, guided_velocity

GRID, SIZE = (6, 20, 20), 160
CASE = "width 256 x 6, 600 video tokens, 100 of a reference"


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dit, vae = WanDiT(DiTConfig(256, 768, 2, 6, 16, 16, 128)).eval(), WanVAE(8).eval()
    texts = {name: Text(torch.randn(1, 24, 128)) for name in ("positive", "negative")}
    latent, sigma = torch.randn(1, 16, *GRID), torch.tensor(0.3)
    picture = torch.rand(SIZE, SIZE, 3)

    def step(sees: str | None, keep: bool = False):
        """A step; one of its own run unless what the first keeps is to be used."""
        condition = Condition(texts)
        if sees is not None:
            given = [make_reference(picture, None, Controls(sees=sees))]
            recipe = recipe_named("videomaker")
            encoded = encode_references(dit, vae, given, recipe, GRID)
            condition = Condition(texts, () if encoded is None else (encoded,))
        kept = guided_velocity(dit, condition, joint(Scale(5.0)))
        if keep:
            return lambda: kept(latent, sigma)
        return lambda: guided_velocity(dit, condition, joint(Scale(5.0)))(latent, sigma)

    bare = step(None)
    for sees in ("all", "frames", "itself"):
        record("videomaker", f"{CASE}: sees {sees}, every step anew / none", paired_ratio(step(sees), bare))
    later = step("itself", keep=True)
    record("videomaker", f"{CASE}: sees itself, later steps / none", paired_ratio(later, bare))


if __name__ == "__main__":
    main()
