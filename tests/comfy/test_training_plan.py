"""Plan Training: the text of the command, from a model as ComfyUI has loaded it."""

import pytest
from refvid_in_process import load_model
from refvid_tiny import config, dit_state, save_dit

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.files import planned_from_shapes
from refvid.backbones.wan.loading import on_meta
from refvid.core.lora import matched_layers
from refvid.core.plan import GIB, PlannedClips, TrainingPlan, TrainingShape
from refvid.core.plan_report import plan_lines
from refvid.hosts.comfy.families import wan
from refvid.hosts.comfy.training_plan import plan_comfy_training
from refvid.nodes.training_plan import RefVidTrainingPlan

pytestmark = pytest.mark.comfy
SETTINGS = {
    "targets": "self_attn, ffn.0", "width": 64, "height": 32, "frames": 9, "references": 2, "card": 0.001,
    "rank": 4, "batch": 2, "accumulate": 3, "steps": 50, "checkpointing": "none", "teraflops": 2.0,
}  # fmt: skip


def planned_from_file(sizes) -> TrainingPlan:
    """The plan of the same from a file's shapes, as the command has it."""
    model = planned_from_shapes(on_meta(WanDiT, sizes).state_dict(), sizes)
    return TrainingPlan(
        TrainingShape(
            model, (PlannedClips(9, 32, 64, 2 * 8),), tuple(matched_layers(list(model.linear), ["self_attn", "ffn.0"])),
            0.001, 4, 2, 3, 50, "none", teraflops=2.0,
        )
    )  # fmt: skip


def test_plan_is_that_of_the_model_s_file_and_is_shown_on_the_node(t2v):
    wanted = planned_from_file(config())
    assert plan_comfy_training(t2v, **SETTINGS) == wanted
    shown = RefVidTrainingPlan.execute(t2v, **SETTINGS)
    assert shown.result == ("\n".join(plan_lines(wanted)),)
    assert shown.ui.as_dict()["text"] == ("\n".join(plan_lines(wanted)),)


def test_card_of_0_is_this_device_and_on_a_cpu_nothing_is_held_for_cuda(t2v):
    plan = plan_comfy_training(t2v, **SETTINGS | {"card": 0.0})
    assert plan.fits and plan.shape.card > 1 and plan.memory.context == 0
    assert plan_comfy_training(t2v, **SETTINGS).memory.context == 2 * GIB


def test_sizes_are_those_of_an_image_to_video_model_s_file(folder):
    sizes = config(in_channels=36, image_width=1280)
    model = load_model(save_dit(folder, "i2v.safetensors", sizes, dit_state(sizes)))
    assert wan.planned_model(model) == planned_from_shapes(on_meta(WanDiT, sizes).state_dict(), sizes)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"targets": "atention"}, "targets: 'atention' matches no linear layer"),
        ({"targets": " , "}, "targets: there is none"),
        ({"frames": 10}, "frames is 10"),
        ({"width": 70}, "width is 70"),
        ({"rank": 0}, "rank"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(t2v, setting, said):
    with pytest.raises(ValueError, match=said):
        RefVidTrainingPlan.execute(t2v, **SETTINGS | setting)
