// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, node, note, row } from "./boxes.mjs";
import { PROMPT } from "./usual.mjs";
import { RECIPES } from "./recipes.mjs";

const START = `## Score a clip against its reference

The main workflow, and the same noise once more **without** the reference. Both clips are scored: what the reference
changed is the difference between the two reports.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. Read the two reports, and look at the contact sheets: the last column is what was taken for the subject.
3. For a clip of another model: *Load Video*, *Get Video Components*, and its images into *clip*.

The clip without the reference is the *baseline*: what its background has is no leak. Without a *subject_mask* the subject
is looked for by colour, which flatters; connect a segmentation's masks where you have them.

Each node has a help page: select it and press **i** (Node Info) above it.`;

const FIGURES = `## The figures

| figure | best | floor |
|---|---|---|
| similarity (colours) | 1 | 0 |
| texture | 1 | high, often 0.6 |
| shape (outline) | 1 | high: disc and square 0.83 |
| leak of the background | 0 | 1 |
| dynamic degree | – | 0: nothing moves |

${RECIPES}

One clip proves little. A folder of them, with means and intervals: \`refvid score FOLDER\`.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000002",
  boxes: row(
    [note("Start here", START, 360), note("The figures", FIGURES, 360)],
    [frame("1 Model", "files", "backbone"), frame("2 Prompt, size and length", "prompt", ...PROMPT), frame("3 Picture", "given", "picture")],
    [frame("Reference", "given", "reference"), frame("Applied", "generate", "apply")],
    [
      frame("4 With the reference", "generate", row(["guider", "denoise"], ["decode", "video", node("save", 300, 430)], ["score", "report"])),
      frame("5 Without it, same noise", "generate", row(["guider_without", "denoise_without"], ["decode_without", "score_without"], ["report_without"])),
    ],
    [frame("6 What was scored", "result", "sheet", "sheet_without")],
  ),
};
