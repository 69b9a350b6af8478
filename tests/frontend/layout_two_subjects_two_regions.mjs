// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, node, note, row } from "./boxes.mjs";
import { PROMPT, VIDEO } from "./usual.mjs";
import { RECIPES } from "./recipes.mjs";

const START = `## Two subjects, two regions

Two pictures, and for each the part of the video in which it may act. *sees* is **video**: the two do not read each other,
so their looks do not mix. All of it works inside attention, at cfg 1 too.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. Look at *Inspect References*: which tokens are kept, where each acts, who sees whom.
3. Paint regions of your own: any mask of the **video's** size goes into *region*, one for all frames or one for each.

Outside its region a reference is read by no token of the video. A prompt that says who stands where helps more than
regions alone.

${RECIPES}

Each node has a help page: select it and press **i** (Node Info) above it.`;

const REGIONS = `## Regions

Black and white masks in the size of the video. Here: a black one, with a white half put on its left; its inverse is the
right half. For moving subjects give a mask for every frame, from a segmentation of a draft, or from *Load Video*.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000003",
  boxes: row(
    [note("Start here", START), note("Regions", REGIONS)],
    [frame("1 Model", "files", "backbone"), frame("2 Prompt, size and length", "prompt", ...PROMPT), frame("Masks for the regions", "given", "nowhere", "half")],
    [frame("3 Subjects", "given", row(["first_picture", "first"], ["second_picture", "second"])), frame("4 Regions", "given", row("left", "right"))],
    [frame("5 Generate", "generate", "apply", "guider", "denoise")],
    [frame("6 Video", "result", ...VIDEO), frame("Who sees whom, and where", "result", node("inspect", 300, 460))],
  ),
};
