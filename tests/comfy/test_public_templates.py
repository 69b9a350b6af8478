"""Workflows of public weights on a real server, small, on files that are like the published ones in name,
keys and nothing else."""

import av
import pytest
from refvid_client import failure
from refvid_public_files import SMALL, made_small, recipe_by_files
from refvid_templates import PUBLIC

pytestmark = pytest.mark.comfy


@pytest.mark.parametrize("name", PUBLIC)
def test_a_workflow_of_public_weights_runs_small_with_the_recipe_that_its_files_names_and_keys_say(
    server, name
):
    """The recipe is on auto, and no metadata say anything."""
    entry = server.run(made_small(PUBLIC[name]))
    assert entry["status"]["status_str"] == "success", failure(entry)
    (said,) = entry["outputs"]["apply"]["text"]
    assert f"; recipe {recipe_by_files(PUBLIC[name])}, " in said
    (made,) = entry["outputs"]["save"]["images"]
    with av.open(str(server.base / made["type"] / made["subfolder"] / made["filename"])) as film:
        stream = film.streams.video[0]
        frames = sum(1 for _ in film.decode(stream))
        assert (stream.width, stream.height, frames) == tuple(SMALL.values())
