"""The node for denoising steps."""

import comfy.samplers
from comfy_api.latest import io

from ..hosts.comfy.steps import StepRange, denoise_steps
from .sockets import Category, Node

MOST_STEPS = 10000


class RefVidDenoiseSteps(Node):
    @classmethod
    def define_schema(cls) -> io.Schema:
        def step(name: str, default: int, tooltip: str) -> io.Int.Input:
            return io.Int.Input(name, default=default, min=0, max=MOST_STEPS, advanced=True, tooltip=tooltip)

        return io.Schema(
            node_id="RefVidDenoiseSteps",
            display_name="Denoise Steps",
            category=Category.GUIDANCE,
            search_aliases=[
                "sampler", "ksampler", "ksampler advanced", "custom sampler", "sample", "sampling", "steps",
            ],
            description="Runs the sampling steps of any guider, all of them or a range, with the inputs of "
                        "KSampler (Advanced). Two ranges equal one run with samplers that keep no history, "
                        "such as euler.",
            inputs=[
                io.Guider.Input("guider", tooltip="Joint Guider, Separate Guider, or any guider of ComfyUI. "
                                                  "Its model and conditioning come from one and the same of "
                                                  "our nodes."),
                io.Latent.Input("latent", tooltip="Empty latent, or what an earlier range left."),
                io.Combo.Input("add_noise", options=["enable", "disable"], advanced=True,
                               tooltip="enable for the first range, disable for every other."),
                io.Int.Input("noise_seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF,
                             control_after_generate=True, tooltip="Seed of the noise. Another seed makes "
                                                                  "another video."),
                io.Int.Input("steps", default=20, min=1, max=MOST_STEPS, tooltip="Steps of the whole "
                                                                                 "schedule, the same in "
                                                                                 "every range."),
                io.Combo.Input("sampler_name", options=comfy.samplers.KSampler.SAMPLERS, default="euler",
                               tooltip="Start with euler, which keeps no history: ranges equal one run. "
                                       "uni_pc, dpmpp_2m and others keep one."),
                io.Combo.Input("scheduler", options=comfy.samplers.KSampler.SCHEDULERS, default="simple",
                               tooltip="How noise levels are spaced. simple is what Wan uses."),
                step("start_at_step", 0, "First step to run."),
                step("end_at_step", MOST_STEPS, "Step to stop before."),
                io.Combo.Input("return_with_leftover_noise", options=["disable", "enable"], advanced=True,
                               tooltip="disable for the last range, enable for every other."),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The latent at the end of the range."),
                io.Latent.Output(display_name="denoised", tooltip="The model's guess of the clean video at "
                                                                  "its last step."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, guider, latent, add_noise, noise_seed, steps, sampler_name, scheduler, start_at_step,
        end_at_step, return_with_leftover_noise,
    ) -> io.NodeOutput:  # fmt: skip
        leftover = return_with_leftover_noise == "enable"
        part = StepRange(steps, sampler_name, scheduler, start_at_step, end_at_step, leftover)
        out, denoised = denoise_steps(guider, latent, part, noise_seed, add_noise == "enable")
        return io.NodeOutput(out, denoised)
