// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, row } from "./boxes.mjs";
import { FEW_STEPS, filesNote, HELP, memoryNote, notes, PICTURES, prompt, UMT5, VAE } from "./public_weights.mjs";
import { VIDEO } from "./usual.mjs";

const START = `## Kaleido 14B: one to three subjects, long prompts

Pictures of people, animals or things become a video that shows them, 896x512, 81 frames at 16 a second.

1. Get the files below; the model is made of its checkpoint by one command.
2. Put your pictures into the two *Load Image*, cut out or as they are. A third: a *Load Image* and a *Masked Reference*.
3. Write a **long prompt**, as the one here: the place, each subject in detail, what happens in which order, light, camera.
Its authors have a language model rewrite every prompt to that length.

By the file's name, *recipe* **auto** is \`kaleido\`: frames on white beside the video's first ones, 80 rows and columns away. Every pass keeps them, so guidance
acts on the prompt alone: *scales* on **auto** is 1 for the pictures and 6 for the prompt. What makes a picture count for
more is *strength*: DIAL (arXiv 2609.11507) measured faces of its own Kaleido at strength 2, more alike and less natural.

${HELP}`;

const FILES = filesNote(
  [["Kaleido-14B", "diffusion_models", "zai-org/Kaleido-14B-S2V", "64 GB"]],
  `The size is that of the download. \`merge_kaleido.py\` of that repository puts its parts together, then \`refvid convert\`
makes the file of it, outside ComfyUI, and writes the recipe into it.`,
  "ModelScope's page says MIT; the repository of the code has no licence file.",
);

const MEMORY = memoryNote({
  gguf: "no GGUF is known here; one made of your file works if `Kaleido` is in its name.",
  fewer: FEW_STEPS,
  unknown: "its flow shift (5 here is Wan's own), its keys as downloaded, which we read from its code.",
});

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000025",
  models: { backbone: [UMT5, VAE] },
  boxes: row(
    notes(START, FILES, MEMORY),
    [frame("1 Model", "files", "backbone"), prompt("empty_video")],
    [PICTURES],
    [frame("4 Generate", "generate", "apply", "guider", "denoise")],
    [frame("5 Video", "result", ...VIDEO)],
  ),
};
