// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, node, note, row } from "./boxes.mjs";
import { PROMPT, VIDEO } from "./usual.mjs";
import { RECIPES } from "./recipes.mjs";

const START = `## Everything in one graph

One short video of somebody. Its **first picture** becomes a masked reference: tokens of the picture in the video's own
attention, which say how they look. The **whole video** becomes an identity: a few tokens beside the prompt, which are read
from all of it. Both go into one model, are guided together (JIT-CFG), and the schedule runs in two ranges.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. *Masked Reference > strength* and *Apply Identity > strength* say how much each counts; 0 takes one out.
3. The two *Denoise* nodes make the very clip that one would. Between them a latent may be changed, and for Wan 2.2 the
second one gets a guider of the low-noise expert.

${RECIPES}

Each node has a help page: select it and press **i** (Node Info) above it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000007",
  boxes: row(
    [note("Start here", START, 260)],
    [frame("1 Model", "files", "backbone", "adapter"), frame("2 Prompt, size and length", "prompt", ...PROMPT)],
    [
      frame("3 A video, and where the subject is", "given", node("film", 300, 380), "pictures", node("mask_film", 300, 380), "mask_pictures"),
    ],
    [
      frame("Cut out", "given", "mask", "outside", "cut_out"), frame("4 How they look: a masked reference", "given", "picture", "reference"),
    ],
    [frame("6 Apply both", "generate", "apply", "identity"), frame("What slots look at", "result", "routing")],
    [frame("5 Who they are: an identity", "given", "encode"), frame("7 Guide, denoise in two ranges", "generate", "guider", "high", "low")],
    [frame("8 Video", "result", ...VIDEO), frame("What acts", "result", node("inspect", 300, 450))],
  ),
};
