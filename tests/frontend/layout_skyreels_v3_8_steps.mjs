// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, row } from "./boxes.mjs";
import { dit, filesNote, HELP, memoryNote, notes, PICTURES, prompt, UMT5, VAE } from "./public_weights.mjs";
import { VIDEO } from "./usual.mjs";

const START = `## SkyReels-V3 R2V: one to four pictures, 8 steps without guidance

Pictures of people, things or places become a video of 1280x720, 121 frames at 24 a second: five seconds.

1. Load the files below; ComfyUI offers those that are missing.
2. Put your pictures into the two *Load Image*. More, up to four: a *Load Image* and a *Masked Reference* each.
3. Say in the prompt what each picture shows and what happens.

By the file's name, *recipe* **auto** is \`skyreels_v3\`: Phantom's, with always four places; those without a picture hold zero latents, as its code has it. The
script that was released takes **8 steps at cfg 1**, one pass a step. Then *strength* of a reference is the only knob there
is: raise it towards 2 where the video follows its picture too little. *region* and steps act too.

${HELP}`;

const FILES = filesNote(
  [["Wan21_SkyReelsV3-R2V_fp8_scaled_mixed", "diffusion_models", "Kijai/WanVideo_comfy_fp8_scaled", "14.5 GB"]],
  `It lies in the folder \`SkyReelsV3\` there; the original is
[Skywork/SkyReels-V3-R2V-14B](https://huggingface.co/Skywork/SkyReels-V3-R2V-14B), in diffusers' layout.`,
  "Skywork Community License, commercial use on its terms: read its LICENSE.txt.",
);

const MEMORY = memoryNote({
  gguf: "a GGUF; vantagewithai publishes some, whose names are not known here. Keep `SkyReelsV3-R2V` in the file's name.",
  fewer: "Steps are few already. With guidance (its pipeline's default, image 5 and text 7.5): *Separate Guider* and *Denoise Steps*.",
  unknown: "what the four places change; the sampler that its script uses; other sizes than 720p.",
});

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000022",
  models: {
    backbone: [
      dit("Kijai/WanVideo_comfy_fp8_scaled/resolve/main/SkyReelsV3/Wan21_SkyReelsV3-R2V_fp8_scaled_mixed.safetensors"),
      UMT5, VAE,
    ],
  },
  boxes: row(
    notes(START, FILES, MEMORY),
    [frame("1 Model", "files", "backbone"), prompt("empty_video")],
    [PICTURES],
    [frame("4 Generate", "generate", "apply", "sampler")],
    [frame("5 Video", "result", ...VIDEO)],
  ),
};
