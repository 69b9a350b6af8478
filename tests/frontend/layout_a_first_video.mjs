// What the workflow on the canvas has beyond its API twin: frames and their order, a note.
import { frame, note, row } from "./boxes.mjs";
import { RECIPES } from "./recipes.mjs";
import { PROMPT, VIDEO } from "./usual.mjs";

const START = `## A first video

A picture of somebody or something goes in, a video that shows it comes out.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. Your own picture: drop it on *Load Reference*. Right-click it, *Open in Mask Editor*, to paint what counts.
3. Change the prompt: *a toy at the middle moving left on dark background*.

The demo model knows small toys on plain grounds at 96x96, nothing else. With weights for people and things go on to the
templates that are named for them, such as \`phantom\`.

${RECIPES}

Each node has a help page: select it and press **i** (Node Info) above it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000030",
  boxes: row(
    [note("Start here", START)],
    [frame("1 Model", "files", "backbone"), frame("2 Prompt, size and length", "prompt", ...PROMPT)],
    [frame("3 Reference", "given", "reference")],
    [frame("4 Generate", "generate", "apply", "guider", "denoise")],
    [frame("5 Video", "result", ...VIDEO)],
  ),
};
