// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, node, note, row } from "./boxes.mjs";

const START = `## Edit a video by an instruction

A video and a sentence go in; the same video with that change comes out, as long, as large and with its sound. The source stands in the
model's context (SAMA); beside both travel semantic tokens, which the sampler denoises together with the video.

1. Press **Run**. With the demo model this takes half a minute, on a CPU too.
2. Change *Instruction Edit > instruction*: **change the background to dark**, **add a red star**, **make the cross blue**. The demo's
   adapter does backgrounds and new toys well, colours about half; textures are beyond it.
3. *Joint Guider > scale* says how strongly the instruction counts; every pass keeps the source.

A source of any size is fitted to the nearest steps of 16 pixels. Films longer
than *window* are evaluated in overlapping windows. Each node has a help page: select it and press **i** (Node Info) above it.`;

const WEIGHTS = `## Which weights

**SAMA-14B** is one file: load it in *Load Wan Backbone* and leave *Load Editing Adapter* out. Set *shift* and *scale* to 5, and scale the source to about 832x480.
On another text-to-video Wan, *Load Editing Adapter* takes SAMA's modules, with or without a LoRA, from \`models/loras\`. Shipped is one for the demo
model, which knows small toys on plain grounds; \`refvid train sama\` makes it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000012",
  boxes: row(
    [note("Start here", START), note("Which weights", WEIGHTS)],
    [frame("1 Model", "files", "backbone", "adapter"), frame("3 What to change", "generate", node("edit", 400))],
    [frame("2 Video", "given", "film", "parts")],
    [frame("4 Generate", "generate", "guider", "denoise")],
    [frame("5 Video", "result", "decode", "whole", "video", "save")],
  ),
};
