"""Without ComfyUI: references through the kernel against a whole mask in plain torch."""

import pytest
import refvid_tiny as tiny
import torch

from refvid.core.controls import Controls
from refvid.core.guidance import CONDITIONED
from refvid.core.recipes import saber
from refvid.core.references import make_reference
from refvid.hosts import plain, plain_references
from refvid.wan.dit import WanDiT
from refvid.wan.vae import WanVAE

pytestmark = pytest.mark.interpreted
LEFT = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)
CASES = {
    "neutral": [Controls()],
    "strengths": [Controls(0.3), Controls(2.0)],
    "visibility": [Controls(sees="itself"), Controls(0.5)],
}


@pytest.mark.parametrize("region", [None, LEFT], ids=["everywhere", "left"])
@pytest.mark.parametrize("case", CASES)
def test_the_kernel_agrees_with_plain_torch(case, region):
    torch.manual_seed(0)
    dit, vae = WanDiT(tiny.config()), WanVAE(4).eval().requires_grad_(False)
    dit.load_state_dict(tiny.dit_state(tiny.config()))
    dit.eval().requires_grad_(False)
    given = [make_reference(torch.rand(40, 60, 3), None, controls, region) for controls in CASES[case]]
    encoded = plain_references.encode_references(dit, vae, given, saber(), (2, 8, 8))
    texts = {name: torch.randn(1, 6, tiny.TEXT_WIDTH) for name in ("positive", "negative")}
    latent, clips = torch.randn(2, 16, 2, 8, 8), {}
    for name in ("triton", "eager"):
        condition = plain.Condition(texts, encoded, attention=name)
        clips[name] = plain.velocity(dit, latent, torch.tensor(0.6), condition, CONDITIONED)
    torch.testing.assert_close(clips["triton"], clips["eager"], rtol=0, atol=2e-5)
