"""Workflows of public weights on a real server, small, on files that are like the published ones in name,
keys and nothing else."""

import av
import pytest
from refvid_public_files import SMALL, made_small
from refvid_templates import PUBLIC

pytestmark = pytest.mark.comfy


@pytest.mark.parametrize("name", PUBLIC)
def test_a_workflow_of_public_weights_runs_small_on_files_of_their_layout(server, name):
    (made,) = server.outputs(made_small(PUBLIC[name]))
    with av.open(str(made)) as film:
        stream = film.streams.video[0]
        frames = sum(1 for _ in film.decode(stream))
        assert (stream.width, stream.height, frames) == tuple(SMALL.values())
