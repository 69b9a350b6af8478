// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, row } from "./boxes.mjs";
import { dit, FEW_STEPS, filesNote, HELP, memoryNote, notes, PICTURES, prompt, UMT5, VAE } from "./public_weights.mjs";
import { VIDEO } from "./usual.mjs";

const START = `## Phantom-Wan 14B: up to four subjects

Pictures of people, animals or things become a video that shows them, 832x480, 81 frames at 24 a second.

1. Load the files below; ComfyUI offers those that are missing.
2. Put your pictures into the two *Load Image*, cut out or as they are. More: a *Load Image* and a *Masked Reference* each.
3. Say in the prompt what each picture shows and what happens.

By the file's name, *recipe* **auto** is \`phantom\`: whole frames on white behind the video. *Separate Guider > scales* is on **auto**: 5 for the pictures and
7.5 for the prompt, as published, in three passes a step. *strength*, *region* and steps of each reference are this pack's;
neutral, they change nothing. Phantom's authors advise wide pictures (832x480).

${HELP}`;

const FILES = filesNote(
  [["Phantom-Wan-14B_fp8_e4m3fn", "diffusion_models", "Kijai/WanVideo_comfy", "15 GB"]],
  `Also there: \`Phantom-Wan-14B_fp16\` (29 GB) and \`Phantom-Wan-1_3B_fp16\` (2.9 GB). The original is
[bytedance-research/Phantom](https://huggingface.co/bytedance-research/Phantom).`,
  "Apache-2.0 as far as we know.",
);

const MEMORY = memoryNote({
  gguf: "`Phantom_Wan_14B-Q4_K_M.gguf` of [QuantStack/Phantom_Wan_14B-GGUF](https://huggingface.co/QuantStack/Phantom_Wan_14B-GGUF).",
  fewer: FEW_STEPS,
  unknown: "what removing a picture's background tokens does to these weights, which saw whole frames.",
});

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000023",
  models: { backbone: [dit("Kijai/WanVideo_comfy/resolve/main/Phantom-Wan-14B_fp8_e4m3fn.safetensors"), UMT5, VAE] },
  boxes: row(
    notes(START, FILES, MEMORY),
    [frame("1 Model", "files", "backbone"), prompt("empty_video")],
    [PICTURES],
    [frame("4 Generate", "generate", "apply", "guider", "denoise")],
    [frame("5 Video", "result", ...VIDEO)],
  ),
};
