"""A method that the pack does not know, added to the plain host by its `register` functions alone."""

import pytest
import refvid_sixth as sixth
import refvid_tiny as tiny
import torch
from refvid_riders import condition, velocity, with_riders

from refvid.backbones.wan.loading import load_dit
from refvid.core import recipes
from refvid.core.guidance import CONDITIONED, NULL
from refvid.core.recipes import choose_recipe, recipe_named
from refvid.hosts.plain import evaluation as plain

SIZES = tiny.config()
LATENT = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(7))


@pytest.fixture(autouse=True)
def alone():
    """Registries are for other tests as they were."""
    with sixth.left_as_it_was(recipes.RECIPES, plain._kinds):
        yield


def said(tmp_path, entry=CONDITIONED, riders=()):
    dit = load_dit(tiny.save_dit(tmp_path, "t2v.safetensors", SIZES, tiny.dit_state(SIZES)))[0]
    texts = {name: torch.randn(1, 12, 32, generator=torch.Generator().manual_seed(1)) for name in
             ("positive", "negative")}  # fmt: skip
    asked = with_riders(condition(texts), *riders)
    return velocity(dit, LATENT, torch.tensor(0.6), asked, entry)


def test_its_pass_says_what_comfyui_says(tmp_path):
    rider = sixth.plain_rider()(sixth.learned(SIZES.width))
    found = said(tmp_path, riders=(rider,))
    assert found[0, :8, 1, 2, 3].tolist() == pytest.approx(sixth.SAID, abs=2e-5)
    assert (found - said(tmp_path)).abs().max() > 1e-3


def test_a_pass_without_conditions_is_without_it(tmp_path):
    rider = sixth.plain_rider()(sixth.learned(SIZES.width))
    assert torch.equal(said(tmp_path, NULL, (rider,)), said(tmp_path, NULL))


def test_its_recipe_is_found_by_name_and_its_name_is_taken():
    made = sixth.recipe()
    assert recipe_named(sixth.NAME) is made and choose_recipe("auto", sixth.NAME) is made
    with pytest.raises(ValueError, match=f"{sixth.NAME} is registered already"):
        recipes.register_recipe(lambda: made)


def test_a_rider_that_is_not_registered_is_refused(tmp_path):
    rider = sixth.plain_rider()(sixth.learned(SIZES.width))
    plain._kinds.remove(type(rider))
    with pytest.raises(ValueError, match="Learned came 1 times; needed one each of"):
        said(tmp_path, riders=(rider,))
