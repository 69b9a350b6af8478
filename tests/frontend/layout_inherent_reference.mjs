// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, note, row } from "./boxes.mjs";
import { PROMPT, VIDEO } from "./usual.mjs";

const START = `## The model as its own reference encoder

The picture is one clean frame behind the video, and the model reads it with its own self-attention (VideoMaker). There is no other encoder,
only a LoRA that learned to look there.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. Change the prompt: *a toy at the middle moving left on dark background*.
3. *Masked Reference > sees*: **frames** reads the video frame by frame and takes the mean, as published; **itself** reads nothing of it, so
   that its keys and values are worked out once and kept. The LoRA was trained for **all**.

Each node has a help page: select it and press **i** (Node Info) above it.`;

const WEIGHTS = `## Which weights

VideoMaker's own weights are for Stable Diffusion 1.5 and do not load on Wan. \`refvid train videomaker\` makes a LoRA for a Wan; shipped is one for the demo model.
*Apply References > recipe* is the one that a LoRA was trained for: \`videomaker\` for this one, \`videomaker_shared\` or
\`videomaker_no_text\` for its relatives. The others are for models that need no such LoRA: \`auto\` and \`saber\`, and for
public weights \`phantom\`, \`skyreels_v3\`, \`refalign\`, \`kaleido\`, \`concat_id\`, \`bernini\`, \`vace\` and \`stand_in\`.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000013",
  boxes: row(
    [note("Start here", START), note("Which weights", WEIGHTS)],
    [frame("1 Model", "files", "backbone", "lora"), frame("2 Prompt, size and length", "prompt", ...PROMPT)],
    [frame("3 Reference", "given", "picture", "reference")],
    [frame("4 Generate", "generate", "apply", "guider", "denoise")],
    [frame("5 Video", "result", ...VIDEO)],
  ),
};
