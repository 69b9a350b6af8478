// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, node, note, row } from "./boxes.mjs";
import { PROMPT, VIDEO } from "./usual.mjs";
import { RECIPES } from "./recipes.mjs";

const START = `## A reference that fades in

Early steps decide what is where, late ones how it looks. Here the reference's strength rises from 0 over the first 40 %
of the schedule: the prompt lays out the scene, then the reference gives the subject its looks.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. Look at *Inspect References*: the strength over the schedule, and the tokens it adds.
3. Turn it round: *fade_in* 0 and *end_percent* 0.5 let the reference act early only.

*start_percent*, *end_percent* and the fades are shares of the whole schedule, from pure noise to the clean video. Wan
2.2's two experts count as one schedule: connect both models to *Apply References* and the windows fit.

${RECIPES}

Each node has a help page: select it and press **i** (Node Info) above it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000004",
  boxes: row(
    [note("Start here", START)],
    [frame("1 Model", "files", "backbone"), frame("2 Prompt, size and length", "prompt", ...PROMPT)],
    [frame("3 Reference", "given", "picture", "reference")],
    [frame("4 Generate", "generate", "apply", "guider", "denoise")],
    [frame("What the reference does", "result", node("inspect", 460))],
    [frame("5 Video", "result", ...VIDEO)],
  ),
};
