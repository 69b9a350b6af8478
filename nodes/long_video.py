"""Nodes for long video: key frames, the segments between neighbours, and one clip of them all."""

from comfy_api.latest import io

from ..backbones.wan.geometry import GROUP
from ..core.controls import CLOCKS
from ..core.long_video import LongVideo
from ..hosts.comfy.long_video import between
from .sockets import LOW_NOISE, LOW_NOISE_OUT, Category, LongVideoSocket, Node


class RefVidKeyframes(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidKeyframes",
            display_name="Key Frames",
            category=Category.FRAMES,
            search_aliases=[
                "stiv", "long video", "keyframes", "key frame", "extend", "extend video", "frame rate",
                "interpolation", "in-between",
            ],
            description="Begins a long video: takes the pictures of a clip as key frames and gives out "
                        "neighbours as pairs. Everything after it runs once for each pair, up to Join "
                        "Segments (STIV, arXiv 2412.07730).",
            inputs=[
                io.Image.Input("clip", tooltip="A generated clip whose pictures are far apart in time, or "
                                               "pictures of your own."),
                io.Int.Input("keys", default=20, min=0, max=1000, tooltip="How many pictures of the clip to "
                                                                          "use, from the first."),
                io.Int.Input("stride", default=20, min=0, max=400, step=GROUP,
                             tooltip="Frames of the long video from one key frame to the next: a multiple of "
                                     "4. 20 keys at 20 make 380 frames."),
                io.Int.Input("keep", optional=True, default=1, min=1, max=400, advanced=True,
                             tooltip="Keep every n-th frame between keys; it must divide the stride. To "
                                     "raise the frame rate of a clip by stride / keep, use all its pictures "
                                     "as keys: 4 and 2 double it."),
            ],
            outputs=[
                io.Image.Output(display_name="pair", is_output_list=True, tooltip="Two neighbouring key "
                                                                                  "frames, for Between Key "
                                                                                  "Frames."),
                LongVideoSocket.Output(display_name="plan", tooltip="For Between Key Frames and Join Segments."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, clip, keys, stride, keep=1) -> io.NodeOutput:
        plan = LongVideo(GROUP, keys, stride, keep)
        return io.NodeOutput(plan.pairs(clip), plan)


class RefVidInbetween(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidInbetween",
            display_name="Between Key Frames",
            category=Category.FRAMES,
            search_aliases=[
                "stiv", "long video", "keyframes", "in-between", "inbetween", "in between", "tween",
                "interpolation", "frame interpolation", "first last frame",
            ],
            description="Sets up one segment of a long video, from one key frame to the next. Sample it like "
                        "any other video; ComfyUI runs the nodes after this one once for each pair.",
            inputs=[
                io.Model.Input("model", tooltip="As for Replace Frames. References that were applied before "
                                                "act in every segment."),
                io.Model.Input("low_noise_model", optional=True, tooltip=LOW_NOISE),
                io.Conditioning.Input("positive", tooltip="The prompt of the segments."),
                io.Conditioning.Input("negative", tooltip="The negative prompt."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Image.Input("pair", tooltip="From Key Frames."),
                LongVideoSocket.Input("plan", tooltip="From Key Frames."),
                io.Combo.Input("clock", optional=True, options=list(CLOCKS), default=CLOCKS[0], advanced=True,
                               tooltip="Timestep of the key frames, as in Replace Frames. Start with own."),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For a guider or KSampler."),
                io.Model.Output(display_name="low_noise_model", tooltip=LOW_NOISE_OUT),
                io.Conditioning.Output(display_name="positive", tooltip="The prompt with the key frames."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with the key "
                                                                        "frames."),
                io.Latent.Output(display_name="latent", tooltip="The segment's latent, with the key frames "
                                                                "in it."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, positive, negative, vae, pair, plan, clock=CLOCKS[0], low_noise_model=None
    ) -> io.NodeOutput:
        models = [model] if low_noise_model is None else [model, low_noise_model]
        models, positive, negative, latent = between(models, positive, negative, vae, plan, pair, clock)
        return io.NodeOutput(models[0], models[1] if len(models) > 1 else None, positive, negative, latent)


class RefVidJoinSegments(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="RefVidJoinSegments",
            display_name="Join Segments",
            category=Category.FRAMES,
            search_aliases=[
                "stiv", "long video", "extend", "extend video", "concatenate", "merge clips", "stitch",
                "combine videos",
            ],
            description="Puts the decoded segments of a long video together. Each is used up to its second "
                        "key frame, where the next one begins, so no frame comes twice.",
            is_input_list=True,
            inputs=[
                io.Image.Input("segments", tooltip="From VAE Decode, one for each pair."),
                LongVideoSocket.Input("plan", tooltip="From Key Frames."),
            ],
            outputs=[io.Image.Output(display_name="clip", tooltip="The long video.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, segments, plan) -> io.NodeOutput:
        return io.NodeOutput(plan[0].join(segments))
