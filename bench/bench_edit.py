"""Question: what does a step of an edit cost against a plain step, with semantic tokens and without?

One evaluation of all passes of a step on the plain host: the demo model's sizes on a longer clip, random
weights. CPU time of processes that share the machine: ratios, not seconds.
"""

import torch
from results import paired_ratio, record

from refvid.backbones.wan.dit import DiTConfig, WanDiT
from refvid.core.guidance import Scale, joint
from refvid.core.recipes import in_context, sama
from refvid.core.semantic import SemanticConfig, SemanticModules
from refvid.hosts.plain.evaluation import Text
from refvid.hosts.plain.sampling import Condition, guided_velocity
from refvid.hosts.plain.source import SourceRider

GRID = (6, 20, 20)
CASE = "width 256 x 6, 600 tokens of a video and of its source"


@torch.no_grad()
def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dit = WanDiT(DiTConfig(256, 768, 2, 6, 16, 16, 128)).eval()
    modules, source = SemanticModules(SemanticConfig(256)), torch.randn(1, 16, *GRID)
    texts = {name: Text(torch.randn(1, 24, 128)) for name in ("positive", "negative")}
    noise, sigma = torch.randn(1, 16, *GRID), torch.tensor(0.3)

    def step(edit: SourceRider | None):
        condition = Condition(texts, () if edit is None else (edit,))
        velocity, latent = guided_velocity(dit, condition, joint(Scale(5.0))), condition.begin(noise, 0)
        return lambda: velocity(latent, sigma)

    bare = step(None)
    record("edit", f"{CASE}: in_context / plain", paired_ratio(step(SourceRider(source, in_context())), bare))
    record(
        "edit",
        f"{CASE}: sama, 65 semantic / plain",
        paired_ratio(step(SourceRider(source, sama(), modules)), bare),
    )


if __name__ == "__main__":
    main()
