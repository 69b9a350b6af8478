"""The node for motion pretexts: spoiled clips whose mending is a task of motion."""

import torch
from comfy_api.latest import io

from ..backbones.wan.geometry import GROUP
from ..core.motion import PRETEXTS, TUBES, perturb
from .sockets import Category, Node

MOST_TUBES = 8


class RefVidMotionPretext(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidMotionPretext",
            display_name="Motion Pretext",
            category=Category.EDITING,
            search_aliases=[
                "sama", "motion", "inpaint", "speed", "tube shuffle", "augmentation", "training data",
            ],
            description="Spoils a clip in a way that a model which understands motion can undo, and gives "
                        "the words that ask for it: to test an editing model, or to see what such a "
                        "training shows one (SAMA, arXiv 2603.19228). No trainer here reads its outputs.",
            inputs=[
                io.Image.Input("clip", tooltip="The clip as it should be: what a model is to give back."),
                io.Combo.Input("pretext", options=[name for name, one in PRETEXTS.items() if one.instruction],
                               tooltip="inpaint: 30 % of the frames in a row are black. speed: twice as "
                                       "fast, then the last frame stands still. shuffle: boxes of space and "
                                       "time change places."),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=False,
                             tooltip="Which frames are black, or which boxes go where. speed has nothing "
                                     "random."),
                io.Int.Input("tubes", optional=True, default=TUBES, min=2, max=MOST_TUBES, advanced=True,
                             tooltip="For shuffle: into how many parts time, height and width are each cut. "
                                     "Start with 2, as SAMA, which makes 8 boxes."),
            ],
            outputs=[
                io.Image.Output(display_name="clip", tooltip="The spoiled clip, as long and large as before: "
                                                             "the source video."),
                io.String.Output(display_name="instruction", tooltip="What to ask of the model, in SAMA's "
                                                                     "words, to stand before the caption."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, clip, pretext, seed, tubes=TUBES) -> io.NodeOutput:
        perturbed = perturb(pretext, clip, torch.Generator().manual_seed(seed), GROUP, tubes=tubes)
        return io.NodeOutput(perturbed, PRETEXTS[pretext].instruction)
