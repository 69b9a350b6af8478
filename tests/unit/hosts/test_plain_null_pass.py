"""The pass without conditions on the plain host: what it has of the references is the recipe's to say."""

from dataclasses import replace

import pytest
import refvid_riders as plain
import refvid_tiny as tiny
import torch

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.vae import WanVAE
from refvid.core.guidance import NULL, Pass
from refvid.core.recipes import saber
from refvid.core.references import make_reference

GRID = (2, 8, 8)


@pytest.fixture(scope="module")
def dit():
    made = WanDiT(tiny.config())
    made.load_state_dict(tiny.dit_state(tiny.config()))
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return WanVAE(4).eval().requires_grad_(False)


@pytest.mark.parametrize("null", ["drop", "zero", "keep"])
def test_a_pass_without_conditions_has_of_the_references_what_the_recipe_says(dit, vae, null):
    """Whatever samplers are told that do not build their passes (`null_pass`)."""
    recipe = replace(saber(), guider_null=null, null_pass="keep" if null == "drop" else "drop")
    generator = torch.Generator().manual_seed(3)
    picture = make_reference(torch.rand(40, 60, 3, generator=generator), None)
    encoded = plain.encode_references(dit, vae, [picture], recipe, GRID)
    assert encoded is not None
    nothing = replace(encoded, inputs=tuple(torch.zeros_like(one) for one in encoded.inputs))
    texts = {name: torch.randn(1, 6, 32, generator=generator) for name in ("positive", "negative")}
    latent = torch.randn(1, 16, *GRID, generator=generator)

    def made(references, entry: Pass) -> torch.Tensor:
        return plain.velocity(dit, latent, torch.tensor(0.6), plain.condition(texts, references), entry)

    unprompted = Pass("negative", True)
    wanted = {"drop": None, "zero": nothing, "keep": encoded}
    got = made(encoded, NULL)
    assert [name for name, one in wanted.items() if torch.equal(got, made(one, unprompted))] == [null]
