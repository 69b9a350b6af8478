"""Tables of settings that weights were published with: the numbers of the pages are those of the recipes."""

from pathlib import Path

import pytest

from refvid.core.recipes import RECIPES, recipe_named

ROOT = Path(__file__).resolve().parents[3]
HINTED = [name for name in RECIPES if recipe_named(name).hints is not None]


def cells(page: str, name: str) -> list[list[str]]:
    """Rows of a page's tables that have a recipe in their first cell."""
    lines = (ROOT / page).read_text("utf-8").splitlines()
    rows = [[one.strip() for one in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [row for row in rows if f"`{name}`" in row[0]]


@pytest.mark.parametrize("name", HINTED)
def test_the_page_of_public_weights_says_what_auto_takes(name):
    hints = recipe_named(name).hints
    assert hints is not None
    ((_, _, scales, at, _),) = cells("docs/weights.md", name)
    assert scales == f"{hints.image_scale:g}, {hints.text_scale:g}"
    said = [f"{hints.steps} steps", "{}x{}".format(*hints.size), f"{hints.frames} frames", f"{hints.fps} fps"]
    said += [] if hints.shift is None else [f"shift {hints.shift:g}"]
    assert [one for one in said if one not in at] == [] and (hints.shift is None) == ("shift" not in at)


@pytest.mark.parametrize("name", HINTED)
def test_the_page_of_separate_guider_says_which_scales_auto_takes(name):
    hints = recipe_named(name).hints
    assert hints is not None
    ((_, said),) = cells("web/docs/RefVidSeparateGuider.md", name)
    assert said.split(":")[0] == f"{hints.image_scale:g}, {hints.text_scale:g}"


@pytest.mark.parametrize("name", RECIPES)
def test_the_page_of_apply_references_says_what_each_pass_has(name):
    recipe = recipe_named(name)
    rows = [row for row in cells("web/docs/RefVidApplyReferences.md", name) if "KSampler" not in row[0]]
    ((_, plain, guided),) = [row for row in rows if len(row) == 3 and row[1].startswith("`")]
    assert plain == f"`{recipe.null_pass}`" and guided.startswith(f"`{recipe.guider_null}`")
