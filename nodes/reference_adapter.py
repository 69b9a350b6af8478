"""The node that loads an adapter of references, and puts it on models."""

from comfy_api.latest import io

from ..core.token_lora import TOKEN_LORA_MARK
from ..hosts.comfy import listed
from ..hosts.comfy.files import model_file, stamp
from ..hosts.comfy.token_lora import load_reference_adapter
from .file_inputs import lora_refusal
from .input_checks import FileInput
from .sockets import Category, Node

_NONE = "none"


def _low_refusal(name: str) -> str | None:
    return None if name == _NONE else lora_refusal(name, "low_noise_adapter")


class RefVidLoadReferenceAdapter(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        files = listed.loras(TOKEN_LORA_MARK)
        return io.Schema(
            node_id="RefVidLoadReferenceAdapter",
            display_name="Load Reference Adapter",
            category=Category.LOADERS,
            search_aliases=["stand-in", "stand in", "identity lora", "face adapter", "q_loras", "lora"],
            description="Puts a reference adapter (Stand-In) on a Wan text-to-video model. It is a LoRA that acts "
                        "on the tokens of the reference alone, so the video is still made by the model itself. "
                        "Apply References then follows, with its recipe on auto.",
            inputs=[
                io.Model.Input("model", tooltip="The Wan model that the adapter was trained for, from any "
                                                "loader, with any other LoRA."),
                FileInput("adapter", lora_refusal, options=files,
                          tooltip="A reference adapter (.safetensors) in models/loras: Stand-In's. A .ckpt "
                                       "is made into one with: refvid convert."),
                io.Model.Input("low_noise_model", optional=True,
                               tooltip="The second model of Wan 2.2 14B, for low noise levels. It has an "
                                       "adapter of its own."),
                FileInput("low_noise_adapter", _low_refusal, optional=True, options=[_NONE, *files], default=_NONE,
                          tooltip="The adapter of the second model: the file with low in its name. Needed "
                                       "where low_noise_model is connected."),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="With the adapter, for Apply References."),
                io.Model.Output(display_name="low_noise_model", tooltip="The second model, with its adapter; empty "
                                                                        "where none came in."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, adapter, low_noise_model=None, low_noise_adapter=_NONE) -> io.NodeOutput:
        if (low_noise_model is None) != (low_noise_adapter == _NONE):
            came = "low_noise_adapter" if low_noise_model is None else "low_noise_model"
            raise ValueError(
                f"{came} came alone: Wan 2.2's second model needs an adapter of its own; give low_noise_model and "
                "low_noise_adapter, or neither"
            )
        path = model_file("loras", adapter, "adapter")
        second = None
        if low_noise_model is not None:
            beside = model_file("loras", low_noise_adapter, "low_noise_adapter")
            second = load_reference_adapter(low_noise_model, beside, "low_noise_adapter")
        return io.NodeOutput(load_reference_adapter(model, path), second)

    @classmethod
    def fingerprint_inputs(cls, adapter, low_noise_adapter=_NONE, **_):
        """A file that was written anew is read anew."""
        return [
            stamp("loras", adapter),
            stamp("loras", None if low_noise_adapter == _NONE else low_noise_adapter),
        ]
