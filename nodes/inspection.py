"""The inspection node: what references do, as a picture."""

from comfy_api.latest import io, ui

from ..core.inspection import inspection_report
from ..drawing.inspection import draw_inspection
from ..hosts.comfy.inspection import inspect_comfy_references
from .sockets import Category, Node


class RefVidInspect(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidInspect",
            display_name="Inspect References",
            category=Category.MEASURING,
            search_aliases=[
                "inspect", "debug", "show references", "visualize", "preview", "attention map", "explain",
            ],
            description="Draws what Apply References made of your references, without running the model: "
                        "which parts are kept, where and when each acts. It also says who sees whom, what it "
                        "costs, and which attention runs.",
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="From Apply References."),
                io.Conditioning.Input("positive", tooltip="From Apply References."),
                io.Latent.Input("latent", tooltip="The empty video latent that Apply References had."),
                io.Vae.Input("vae", optional=True, tooltip="Shows the pictures; without it their masks."),
            ],
            outputs=[
                io.Image.Output(display_name="picture", tooltip="All of it on one sheet; the help page "
                                                                "explains it."),
                io.String.Output(display_name="report", tooltip="The same in words."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, positive, latent, vae=None) -> io.NodeOutput:
        inspection, pictures = inspect_comfy_references(model, positive, latent, vae)
        said = inspection_report(inspection)
        drawn = draw_inspection(inspection, pictures)[None]
        return io.NodeOutput(drawn, said, ui=ui.PreviewImage(drawn, cls=cls))
