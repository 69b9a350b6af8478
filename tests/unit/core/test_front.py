"""References in front of the video: whose keys are seen by whom, and what is added to them."""

import math

import pytest
import torch

from refvid.backbones.wan.geometry import WAN_2_1
from refvid.core.controls import Controls, StepWindow
from refvid.core.front import front_turn, require_visible, shown_spans
from refvid.core.recipes import recipe_named
from refvid.core.references import arrange
from refvid.kernels.eager import masked_attention
from refvid.kernels.grouped import grouped_attention

SIDE, EACH, VIDEO = 64, 16, 32  # pixels, tokens of a picture, tokens of a video of two frames
CPU = torch.device("cpu")
WHOLE, LEFT = torch.ones(SIDE, SIDE), torch.zeros(SIDE, SIDE).index_fill(1, torch.arange(32), 1.0)


def turn_of(*given, share=0.0, cells=None):
    """Turn of references, a mask and controls each."""
    masks, controls = zip(*given, strict=True)
    arranged = arrange(list(masks), list(controls), recipe_named("vace"), WAN_2_1)
    return front_turn(arranged.layout, shown_spans(arranged), share, cells, arranged.soft, VIDEO, CPU)


def test_nothing_asked_is_nothing_done():
    turn = turn_of((WHOLE, Controls()), (WHOLE, Controls()))
    assert turn.kept is None and turn.bias is None and turn.groups is None


def test_keys_of_masked_out_tokens_are_seen_by_nobody_themselves_included():
    seen = turn_of((WHOLE, Controls()), (LEFT, Controls())).groups.dense()
    hidden = torch.zeros(2 * EACH + VIDEO, dtype=torch.bool)
    hidden[EACH : 2 * EACH] = torch.arange(EACH) % 4 >= 2
    assert torch.equal(seen, ~hidden.expand(len(hidden), -1))


def test_a_reference_outside_of_its_steps_is_seen_by_nobody_and_reads_on():
    late = Controls(steps=StepWindow(0.5))
    seen = turn_of((WHOLE, late), (WHOLE, Controls())).groups.dense()
    assert not seen[:, :EACH].any() and seen[:, EACH:].all()
    assert turn_of((WHOLE, late), (WHOLE, Controls()), share=0.5).groups is None
    alone = Controls(steps=StepWindow(0.5), sees="itself")
    seen = turn_of((WHOLE, alone), (WHOLE, Controls())).groups.dense()
    assert seen[:EACH, :EACH].all() and not seen[:EACH, EACH:].any()  # a query sees something, always
    assert not seen[EACH:, :EACH].any() and seen[EACH:, EACH:].all()


def test_a_region_is_the_videos_alone():
    cells = torch.full((2, 8, 8), 2) | torch.arange(2).view(2, 1, 1)  # the first acts on the second frame
    seen = turn_of((WHOLE, Controls()), (WHOLE, Controls()), cells=cells).groups.dense()
    blind = torch.zeros_like(seen)
    blind[2 * EACH : 3 * EACH, :EACH] = True
    assert torch.equal(seen, ~blind)


def test_weights_lie_on_shown_keys_alone():
    turn = turn_of((WHOLE, Controls()), (LEFT, Controls(0.5)), (0.8 * WHOLE, Controls(2.0, soft=True)))
    wanted = torch.zeros(3 * EACH + VIDEO)
    wanted[EACH : 2 * EACH][torch.arange(EACH) % 4 < 2] = math.log(0.5)
    wanted[2 * EACH : 3 * EACH] = math.log(2.0 * 0.8)
    assert (turn.bias[0] - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("sees", ["recipe", "all", "video", "itself"])
def test_removal_equals_a_mask_of_minus_infinity(sees):
    given = [(LEFT, Controls(0.5, sees=sees)), (WHOLE, Controls(sees=sees)), (LEFT, Controls(2.0))]
    cells = torch.randint(0, 8, (2, 8, 8), generator=torch.Generator().manual_seed(1))
    turn = turn_of(*given, cells=cells)
    query, key, value = torch.randn(
        3, 1, 2, 3 * EACH + VIDEO, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    wanted = masked_attention(query, key, value, turn.groups.dense()[None], turn.bias)

    def attend(query, key, value, bias):
        return masked_attention(query, key, value, None, bias)

    got = grouped_attention(attend, query, key, value, turn.groups, turn.bias)
    assert (got - wanted).abs().max() < 1e-12


def test_reading_frame_by_frame_is_refused():
    with pytest.raises(ValueError, match="sees is frames, but the references are frames"):
        require_visible([Controls(), Controls(sees="frames")])
