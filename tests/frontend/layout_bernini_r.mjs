// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, node, row } from "./boxes.mjs";
import { dit, filesNote, HELP, memoryNote, notes, PICTURES, prompt, UMT5, VAE } from "./public_weights.mjs";

const BERNINI = "Comfy-Org/Bernini-R/resolve/main/diffusion_models/wan2.2_bernini_r";
const HIGH = dit(
  `${BERNINI}_high_noise_fp8_scaled.safetensors`, "9ff3d7369da98f8eaf71045f7d0e99d5e344eea5e7dc934a930608786fe73f52",
);
const LOW = dit(`${BERNINI}_low_noise_fp8_scaled.safetensors`);

const START = `## Bernini-R 14B: pictures by their names, two experts

Pictures of people, animals or things become a video that shows them, 848x480, 81 frames at 16 a second.

1. Load the files below; ComfyUI offers those that are missing.
2. Put your pictures into *image0* and *image1*. More, up to eight: a *Load Image* and a *Masked Reference* each.
3. Name them in the prompt as Bernini was trained: \`the woman from image0\`, \`the cat from image1\`. The number is that of
the slot of *Apply References*, from 0. The first sentence of the prompt is its task; leave it.

By the files' names, *recipe* **auto** is \`bernini\`: each picture is a stream of its own size beside the video. The first 17 of 40 steps run on the high noise
expert, the others on the low noise one (Wan 2.2's boundary 0.875 at shift 5). Scales as published: 4.5 for the pictures, 4
for the prompt, 0.8 times that on the second expert. Its code normalises guidance on top (APG), which no node here does.

${HELP}`;

const FILES = filesNote(
  [
    ["wan2.2_bernini_r_high_noise_fp8_scaled", "diffusion_models", "Comfy-Org/Bernini-R", "15.6 GB"],
    ["wan2.2_bernini_r_low_noise_fp8_scaled", "diffusion_models", "Comfy-Org/Bernini-R", "15.6 GB"],
  ],
  `Also there: fp16 (28.6 GB each), and \`wan2.1_bernini_1.3B_fp16\`, which is one model. The original is
[ByteDance/Bernini-R](https://huggingface.co/ByteDance/Bernini-R).`,
  "Apache-2.0.",
);

const MEMORY = memoryNote({
  gguf: `\`bernini_r_high_noise_14B-Q4_K_M.gguf\` and its twin for low noise, 9.7 GB each, of
[neuregex/Bernini-R-GGUF](https://huggingface.co/neuregex/Bernini-R-GGUF).`,
  fewer: `A few-step LoRA at cfg 1 on each expert:
[rzgar/Bernini-R-LightX2V-4step-loras](https://huggingface.co/rzgar/Bernini-R-LightX2V-4step-loras), 4 steps, half of them on
each; two *KSampler (Advanced)* instead of guiders.`,
  unknown: "how guidance without APG looks; Bernini's planner (the R stands for the renderer alone), which is not here.",
});

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000024",
  models: { backbone: [HIGH, UMT5, VAE], low_noise: [LOW] },
  boxes: row(
    notes(START, FILES, MEMORY),
    [frame("1 Model", "files", "backbone", "low_noise", "low_noise_shift"), prompt("empty_video")],
    [PICTURES],
    [frame("4 Generate", "generate", "apply", "guider_high", "denoise_high")],
    [
      frame("5 Low noise", "generate", "guider_low", "denoise_low"),
      frame("6 Video", "result", "decode", "video", node("save", 300, 335)),
    ],
  ),
};
