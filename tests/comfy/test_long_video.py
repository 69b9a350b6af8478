"""A long video in a real server: one sampler in the graph, run once for each pair of key frames."""

import numpy as np
import pytest
from PIL import Image
from refvid_client import edited, failure, node

pytestmark = pytest.mark.comfy
KEYS, STRIDE = 3, 4


def graph() -> dict:
    """Two segments between three grey pictures."""
    made = {
        f"grey_{index}": node("EmptyImage", width=64, height=64, batch_size=1, color=0x505050 * index)
        for index in range(KEYS)
    }
    return made | {
        "first_two": node("ImageBatch", image1=["grey_0", 0], image2=["grey_1", 0]),
        "clip": node("ImageBatch", image1=["first_two", 0], image2=["grey_2", 0]),
        "backbone": node(
            "RefVidLoadBackbone", diffusion_model="refvid_demo_dit.safetensors", weight_dtype="default", shift=3.0,
            text_encoder="refvid_demo_text_encoder.safetensors", vae="refvid_demo_vae.safetensors",
        ),
        "prompt": node("CLIPTextEncode", clip=["backbone", 1], text="a toy"),
        "empty": node("CLIPTextEncode", clip=["backbone", 1], text=""),
        "keys": node("RefVidKeyframes", clip=["clip", 0], keys=KEYS, stride=STRIDE),
        "between": node(
            "RefVidInbetween", model=["backbone", 0], positive=["prompt", 0], negative=["empty", 0], vae=["backbone", 2],
            pair=["keys", 0], plan=["keys", 1],
        ),
        "guider": node(
            "RefVidJointGuider", model=["between", 0], positive=["between", 2], negative=["between", 3], scale=2.0
        ),
        "denoise": node(
            "RefVidDenoiseSteps", guider=["guider", 0], latent=["between", 4], add_noise="enable", noise_seed=0, steps=2,
            sampler_name="euler", scheduler="simple", start_at_step=0, end_at_step=10000,
            return_with_leftover_noise="disable",
        ),
        "decode": node("VAEDecode", samples=["denoise", 0], vae=["backbone", 2]),
        "join": node("RefVidJoinSegments", segments=["decode", 0], plan=["keys", 1]),
        "save": node("SaveImage", images=["join", 0], filename_prefix="long"),
        "segments": node("SaveImage", images=["decode", 0], filename_prefix="segment"),
    }  # fmt: skip


def pictures(files) -> np.ndarray:
    return np.stack([np.asarray(Image.open(file), dtype=int) for file in sorted(files)])


def test_segments_are_sampled_one_by_one_and_joined_without_the_frames_that_stand_still(server):
    whole = pictures(server.outputs(graph()))
    segments = pictures(server.outputs(graph(), "segments")).reshape(KEYS - 1, STRIDE + 5, 64, 64, 3)
    assert whole.shape == ((KEYS - 1) * STRIDE, 64, 64, 3)
    made = whole.reshape(KEYS - 1, STRIDE, 64, 64, 3)
    assert (made[:, 1:] == segments[:, 1:STRIDE]).all() and (made[0, 0] == segments[0, 0]).all()
    assert abs(2 * made[1, 0] - segments[0, STRIDE] - segments[1, 0]).max() <= 2  # each was rounded
    assert (segments[0] != segments[1]).any()


def test_plans_that_make_no_sense_fail_by_name(server):
    for changed, message in (({"keys.keys": 0}, "keys is 0"), ({"keys.stride": 0}, "stride is 0"),
                             ({"keys.keys": 9}, "the clip has 3 pictures")):  # fmt: skip
        entry = server.run(edited(graph(), changed))
        assert message in failure(entry).message and failure(entry).node == "keys"


def test_after_a_failure_finished_segments_are_kept_and_the_others_made(server):
    """Two segments; the model of the second breaks. Each takes two steps, whose two passes run as one or as
    two evaluations."""
    broken, evaluated = (server.base / "input" / name for name in ("broken.txt", "evaluated.txt"))
    asked = edited(
        graph(), {"guider.model": ["breaks", 0]}, {"breaks": node("RefVidTestBreaks", model=["between", 0])}
    )
    broken.touch()
    failed = failure(server.run(asked))
    assert failed.node == "denoise" and "broken on purpose" in failed.message
    first = evaluated.read_text()
    assert set(first) == {"0"}
    broken.unlink()
    whole = pictures(server.outputs(asked))
    assert evaluated.read_text() == first + "1" * len(first)
    assert (whole == pictures(server.outputs(graph()))).all()
