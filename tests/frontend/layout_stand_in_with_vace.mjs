// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, row } from "./boxes.mjs";
import { dit, FEW_STEPS, file, filesNote, HELP, memoryNote, notes, prompt, UMT5, VAE } from "./public_weights.mjs";
import { VIDEO } from "./usual.mjs";

const VACE = dit("Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files/diffusion_models/wan2.1_vace_14B_fp16.safetensors");
const STAND_IN = file(
  "https://huggingface.co/Kijai/WanVideo_comfy/resolve/main/LoRAs/Stand-In/Stand-In_wan2.1_T2V_14B_ver1.0_fp16.safetensors",
  "loras",
);

const START = `## Stand-In and VACE: one face, the motion of a film

The face of one picture, and what moves in a film, in one video of 832x480, 81 frames at 16 a second.

1. Load the files below; ComfyUI offers those that are missing.
2. Put a face into *Face*: cut out, in a square about one and a half times its size. Stand-In stands it on white in 512x512.
3. Put a film of 81 pictures into *Film whose motion is kept*; lines of it go into VACE. Poses or depth of any other pack fit
in place of *Lines of the film*. The sample is short: what is missing is left to the model.
4. Say in the prompt who it is, in the words that fit the face, and what happens.

With the adapter *recipe* **auto** is \`stand_in\`: it changes the tokens of the face alone, both passes keep them, and their keys are made once.
*VACE control > strength* 0.7: Stand-In's authors advise 0.5 to 0.8 beside VACE; more of it loses the face. 20 steps, cfg 5.

${HELP}`;

const FILES = filesNote(
  [
    ["wan2.1_vace_14B_fp16", "diffusion_models", "Comfy-Org/Wan_2.1_ComfyUI_repackaged", "34.7 GB"],
    ["Stand-In_wan2.1_T2V_14B_ver1.0_fp16", "loras", "Kijai/WanVideo_comfy", "0.31 GB"],
  ],
  `The adapter lies in \`LoRAs/Stand-In\` there. The original is a pickled .ckpt,
[BowenXue/Stand-In](https://huggingface.co/BowenXue/Stand-In): \`refvid convert\` makes a .safetensors of it. Its face detector
is not needed here.`,
  "VACE and Stand-In: Apache-2.0.",
);

const MEMORY = memoryNote({
  gguf: "`Wan2.1-VACE-14B-Q4_K_M.gguf` of [QuantStack/Wan2.1_14B_VACE-GGUF](https://huggingface.co/QuantStack/Wan2.1_14B_VACE-GGUF).",
  fewer: FEW_STEPS,
  unknown: "how well the face holds beside VACE's control (wrapper issue 1054 lost it); faces that are small in the video.",
});

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000026",
  models: { backbone: [VACE, UMT5, VAE], adapter: [STAND_IN] },
  boxes: row(
    notes(START, FILES, MEMORY),
    [frame("1 Model and adapter", "files", "backbone", "adapter"), prompt()],
    [frame("3 Face", "given", "first_picture", "first")],
    [frame("Control", "given", "control_film", "control_pictures", "control")],
    [frame("4 Generate", "generate", "vace", "apply", "sampler")],
    [frame("5 Video", "result", ...VIDEO)],
  ),
};
