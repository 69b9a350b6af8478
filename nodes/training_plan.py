"""The plan of a training: memory, time and disk of a LoRA, before anything is trained."""

from comfy_api.latest import io, ui

from ..core.plan import CHECKPOINTING, TERAFLOPS
from ..core.plan_report import plan_lines
from ..hosts.comfy.training_plan import plan_comfy_training
from .sockets import Category, Node


class RefVidTrainingPlan(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidTrainingPlan",
            display_name="Plan Training",
            category=Category.MEASURING,
            search_aliases=[
                "training", "train", "train lora", "lora training", "memory", "vram", "fine-tune",
            ],
            description="Says what training a LoRA on this model would need: memory, time and disk, as refvid "
                        "train --plan does. Nothing is trained. Where it does not fit, it names the first "
                        "setting that makes it fit.",
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="The Wan that would be trained. It is planned in bf16, whatever "
                                                "it is loaded in."),
                io.Int.Input("rank", default=32, min=1, max=1024,
                             tooltip="Of the LoRA. 32 to begin with; more holds more, and takes more memory."),
                io.String.Input("targets", default="self_attn, cross_attn",
                                tooltip="Layers that the LoRA changes: self_attn, cross_attn, ffn, or regular "
                                        "expressions over their names. Commas stand between them."),
                io.Int.Input("width", default=832, min=16, max=8192, step=16, tooltip="Of the clips, in pixels."),
                io.Int.Input("height", default=480, min=16, max=8192, step=16, tooltip="Of the clips, in pixels."),
                io.Int.Input("frames", default=33, min=1, max=1001, step=4,
                             tooltip="Pictures of a clip. 33 to begin with; 81 takes about four times as long."),
                io.Int.Input("references", default=1, min=0, max=8,
                             tooltip="Pictures that a clip is seen with, counted whole: masks make them smaller."),
                io.Int.Input("batch", default=1, min=1, max=1024, tooltip="Clips that are seen together. Memory "
                                                                          "grows with it."),
                io.Int.Input("accumulate", default=4, min=1, max=1024,
                             tooltip="Batches of one step. Time grows with it, memory does not."),
                io.Int.Input("steps", default=3000, min=1, max=10_000_000, tooltip="Of the whole run."),
                io.Combo.Input("checkpointing", options=list(CHECKPOINTING), default="blocks",
                               tooltip="blocks: far less memory, a third more time. none: everything is kept."),
                io.Float.Input("card", default=0.0, min=0.0, max=100_000.0, step=0.1,
                               tooltip="GiB of the GPU that would train. 0: this device's."),
                io.Float.Input("teraflops", default=TERAFLOPS, min=0.01, max=1_000_000.0, step=1.0,
                               tooltip="TFLOP a second that the GPU reaches: about 100 on an RTX 4090, 400 on an "
                                       "H100."),
            ],
            outputs=[io.String.Output(display_name="plan", tooltip="The plan, in lines.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, rank, targets, width, height, frames, references, batch, accumulate, steps, checkpointing,
        card, teraflops,
    ) -> io.NodeOutput:  # fmt: skip
        plan = plan_comfy_training(
            model, targets, width, height, frames, references, card, rank=rank, batch=batch, accumulate=accumulate,
            steps=steps, checkpointing=checkpointing, teraflops=teraflops,
        )  # fmt: skip
        said = "\n".join(plan_lines(plan))
        return io.NodeOutput(said, ui=ui.PreviewText(said))
