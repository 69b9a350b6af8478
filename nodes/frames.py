"""The node for given frames: frames of a video that are given as pictures."""

from comfy_api.latest import io

from ..core.controls import CLOCKS, CROP
from ..core.frames import TASKS, Placed, indices_of, read_places
from ..hosts.comfy.families import wan
from ..hosts.comfy.frames import length_of, replace_frames
from .sockets import LOW_NOISE, LOW_NOISE_OUT, Category, Node, fit_input

FREE = "free"


class RefVidReplaceFrames(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        at = io.String.Input("frames_at", default="0, -1",
                             tooltip="The frame of each picture, in order, with commas; counted from 0, "
                                     "negative from the end. "
                             "5-8 is four in a row.")  # fmt: skip
        tasks = [io.DynamicCombo.Option(task, []) for task in TASKS]
        return io.Schema(
            node_id="RefVidReplaceFrames",
            display_name="Replace Frames (STIV)",
            category=Category.FRAMES,
            search_aliases=[
                "stiv", "image to video", "i2v", "ti2v", "first frame", "last frame", "start image",
                "end image", "first last frame", "flf2v", "interpolation", "video prediction", "extend",
                "extend video", "multi-view",
            ],
            description="Fixes some frames of the video to pictures of yours; the model makes the others "
                        "(frame replacement, STIV, arXiv 2412.07730). Use the model, conditioning and latent "
                        "that it gives back together.",
            inputs=[
                io.Model.Input("model", tooltip="Wan T2V or TI2V that was trained for given frames: TI2V-5B "
                                                "(first frame), the demo model."),
                io.Model.Input("low_noise_model", optional=True, tooltip=LOW_NOISE),
                io.Conditioning.Input("positive", tooltip="The prompt, with references or identities if "
                                                          "there are any."),
                io.Conditioning.Input("negative", tooltip="The negative prompt. Our guiders leave the frames "
                                                          "out of its pass; KSampler keeps them."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Latent.Input("latent", tooltip="The empty video latent."),
                io.Image.Input("frames", tooltip="Pictures of any size, in the order of the task: one, "
                                                 "several, or a clip."),
                io.DynamicCombo.Input("task", options=[*tasks, io.DynamicCombo.Option(FREE, [at])],
                                      tooltip="Which frames the pictures are. first frame: start from a "
                                              "picture. prediction: go on from 1, 5, 9, … frames. first and "
                                              "last, every n-th: fill in between. multi-view: one view "
                                              "and room for six, untrained. free: anywhere."),
                io.Combo.Input("clock", optional=True, options=list(CLOCKS), default=CLOCKS[0], advanced=True,
                               tooltip="Timestep of the given frames. own: that of clean frames, for TI2V-5B "
                                       "and the demo model. shared: the video's, as STIV; VACE takes no "
                                       "other."),
                fit_input("How pictures of another size are fitted to the video's."),
            ],
            outputs=[
                io.Model.Output(display_name="model", tooltip="For a guider or KSampler."),
                io.Model.Output(display_name="low_noise_model", tooltip=LOW_NOISE_OUT),
                io.Conditioning.Output(display_name="positive", tooltip="The prompt with the frames."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with the "
                                                                        "frames."),
                io.Latent.Output(display_name="latent", tooltip="The video latent with the frames in it."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, model, positive, negative, vae, latent, frames, task, clock=CLOCKS[0], low_noise_model=None,
        fit=CROP,
    ) -> io.NodeOutput:  # fmt: skip
        models = [model] if low_noise_model is None else [model, low_noise_model]
        length, chosen = length_of(latent, model), task["task"]
        if chosen == FREE:
            places = read_places(task["frames_at"])
        else:
            places = indices_of(chosen, len(frames), length, wan.geometry(model))
        models, positive, negative, latent = replace_frames(
            models, positive, negative, vae, latent, Placed(frames, places, clock, fit)
        )
        return io.NodeOutput(models[0], models[1] if len(models) > 1 else None, positive, negative, latent)
