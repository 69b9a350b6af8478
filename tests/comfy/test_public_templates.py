"""Workflows of public weights on a real server, small, on files that are like the published ones in name,
keys and nothing else."""

import av
import pytest
from refvid_client import failure
from refvid_public_files import SMALL, made_small
from refvid_templates import PUBLIC, model_files

from refvid.core.recognition import by_name

pytestmark = pytest.mark.comfy


@pytest.mark.parametrize("name", PUBLIC)
def test_a_workflow_of_public_weights_runs_small_by_the_names_of_its_files_alone(server, name):
    """The recipe is on auto, and the files say nothing."""
    entry = server.run(made_small(PUBLIC[name]))
    assert entry["status"]["status_str"] == "success", failure(entry)
    (said,) = entry["outputs"]["apply"]["text"]
    found = [by_name(file) for file in model_files(PUBLIC[name])]
    recipes = {one.weights.recipe for one in found if one is not None}
    assert len(recipes) == 1 and said.startswith(f"recipe {recipes.pop()}, by the name of its file, ")
    (made,) = entry["outputs"]["save"]["images"]
    with av.open(str(server.base / made["type"] / made["subfolder"] / made["filename"])) as film:
        stream = film.streams.video[0]
        frames = sum(1 for _ in film.decode(stream))
        assert (stream.width, stream.height, frames) == tuple(SMALL.values())
