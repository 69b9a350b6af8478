// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, note, row } from "./boxes.mjs";
import { PROMPT, VIDEO } from "./usual.mjs";

const START = `## From a first frame to a video

The picture becomes frame 0, untouched, and the model makes what comes after it. *Joint Guider* guides by the prompt **and** the
frame together (JIT-CFG, STIV): its null pass has neither. Guided by the prompt alone, as by KSampler, STIV found videos to stay
close to its first frame.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. *Replace Frames > task*: **prediction** goes on from a clip of 5, 9, … frames, **free** puts pictures anywhere.
3. Swap the guider for *Separate Guider* to give the frame a scale of its own.

Which weights: TI2V-5B was trained for its first frame, the demo model for all tasks. Plain T2V weights run, but were never
trained for it. I2V weights have nodes of their own in ComfyUI.

Each node has a help page: select it and press **i** (Node Info) above it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000008",
  boxes: row(
    [note("Start here", START)],
    [frame("1 Model", "files", "backbone"), frame("2 Prompt, size and length", "prompt", ...PROMPT)],
    [frame("3 First frame", "given", "first")],
    [frame("4 Generate", "generate", "replace", "guider", "denoise")],
    [frame("5 Video", "result", ...VIDEO)],
  ),
};
