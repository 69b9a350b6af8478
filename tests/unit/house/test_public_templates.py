"""The workflows of public weights: each at the settings that its weights were published with, and with notes
that name every file, where it is from, and what nobody knows."""

import json

import pytest
from refvid_public_files import recipe_by_files
from refvid_templates import PUBLIC, ROOT, model_files

from refvid.core.recipes import recipe_named

NOTES = {
    name: "\n".join(
        one["widgets_values"][0]
        for one in json.loads((ROOT / "workflows" / f"{name}.json").read_text("utf-8"))["nodes"]
        if one["type"] == "MarkdownNote"
    )
    for name in PUBLIC
}
SAID = (
    "Nobody has run these weights with this pack yet; this note says so until somebody does.",
    "**not measured**",
    "**24 GB**", "**16 GB**", "**12 GB**", "GGUF", "cfg 1", "**Not known**", "**Licence**",
)  # fmt: skip
every_template = pytest.mark.parametrize("name", PUBLIC)


def all_of(name: str, *labels: str) -> list[set]:
    """Values of each input, over all nodes of a workflow that have it."""
    given = [one["inputs"] for one in PUBLIC[name].values()]
    return [{one[label] for one in given if isinstance(one.get(label), (int, float))} for label in labels]


def recipe_of(name: str):
    """The recipe of its files: the node is on auto."""
    assert {one["inputs"]["recipe"] for one in PUBLIC[name].values() if "recipe" in one["inputs"]} == {"auto"}
    return recipe_named(recipe_by_files(PUBLIC[name]))


def test_there_is_a_workflow_of_public_weights():
    assert PUBLIC


@every_template
def test_its_numbers_are_those_that_its_recipes_weights_were_published_with(name):
    hints = recipe_of(name).hints
    if hints is None:
        pytest.skip("what was read of these weights' recipe names no settings")
    (width, height), graph = hints.size, PUBLIC[name]
    sizes = [one["inputs"] for one in graph.values() if "length" in one["inputs"]]
    assert {(one["width"], one["height"], one["length"]) for one in sizes} == {(width, height, hints.frames)}
    assert all_of(name, "steps", "fps") == [{hints.steps}, {hints.fps}]
    assert hints.shift is None or all_of(name, "shift") == [{hints.shift}]
    scales = all_of(name, "image_scale", "text_scale", "cfg")
    assert scales in ([{hints.image_scale}, {hints.text_scale}, set()], [set(), set(), {hints.text_scale}])
    assert hints.image_scale == 1 or not scales[2], "KSampler has no scale for pictures"


@every_template
def test_masks_of_regions_have_the_videos_size(name):
    graph = PUBLIC[name].values()
    ((width, height),) = {
        (one["inputs"]["width"], one["inputs"]["height"]) for one in graph if "length" in one["inputs"]
    }
    masks = [one["inputs"] for one in graph if one["class_type"] == "SolidMask"]
    assert all(one["height"] == height and one["width"] in (width, width // 2) for one in masks)


@every_template
def test_its_notes_say_where_each_file_is_from_and_what_nobody_knows(name):
    notes = NOTES[name]
    assert [file for file in model_files(PUBLIC[name]) if f"`{file}`" not in notes] == []
    assert [words for words in SAID if words not in " ".join(notes.split())] == []
    assert f"`{recipe_of(name).name}`" in notes


@every_template
def test_a_file_that_cannot_be_downloaded_is_made_by_a_command_that_its_notes_name(name):
    nodes = json.loads((ROOT / "workflows" / f"{name}.json").read_text("utf-8"))["nodes"]
    offered = {model["name"] for one in nodes for model in one["properties"].get("models", ())}
    if model_files(PUBLIC[name]).keys() - offered:
        assert "`refvid convert" in NOTES[name]


@every_template
def test_its_pictures_are_those_of_the_pack(name):
    shown = {one["inputs"]["image"] for one in PUBLIC[name].values() if one["class_type"] == "LoadImage"}
    assert shown and all((ROOT / "demo" / "samples" / picture).is_file() for picture in shown)


def test_a_workflow_of_bernini_names_its_pictures_as_bernini_was_trained():
    named = [name for name in PUBLIC if recipe_of(name).name == "bernini"]
    assert named
    for name in named:
        graph = PUBLIC[name]
        count = sum("references.reference_" in label for one in graph.values() for label in one["inputs"])
        words = [f"image{index}" for index in range(count)]
        assert all(
            word in graph["positive_prompt"]["inputs"]["text"] and word in NOTES[name] for word in words
        )
