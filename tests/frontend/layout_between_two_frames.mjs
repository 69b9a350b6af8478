// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, note, row } from "./boxes.mjs";
import { PROMPT, VIDEO } from "./usual.mjs";

const START = `## Between two frames

Two pictures become the first and the last frame; the model makes what lies between.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. For more than two pictures chain *Batch Images* and set *Replace Frames > task* to **every n-th**: they divide the video
into equal parts of 4 frames or a multiple.

A latent frame of Wan holds four pictures (the first holds one): the last picture is held still over the last four frames.
Each node has a help page: select it and press **i** (Node Info) above it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000009",
  boxes: row(
    [note("Start here", START)],
    [frame("1 Model", "files", "backbone"), frame("2 Prompt, size and length", "prompt", ...PROMPT)],
    [frame("3 First and last frame", "given", "first", "last", "frames")],
    [frame("4 Generate", "generate", "replace", "guider", "denoise")],
    [frame("5 Video", "result", ...VIDEO)],
  ),
};
