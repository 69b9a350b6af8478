// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, node, note, row } from "./boxes.mjs";

const START = `## Plan a training

How much memory, time and disk a LoRA on **your** Wan would take, before anything is trained.

1. Choose your model in *Load Wan Backbone*: only its sizes are used. The demo model is far smaller than any Wan.
2. Set *card* to your GPU's GiB, and the sizes and length of your clips.
3. Press **Run**. Where it does not fit, the line below *memory* names the first setting that makes it fit.

The same text comes from \`refvid train saber --config run.toml --plan\`, which also looks at the clips.

Each node has a help page: select it and press **i** (Node Info) above it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000014",
  boxes: row(
    [note("Start here", START)],
    [frame("1 Model", "files", "backbone")],
    [
      frame("2 Plan", "result", row(node("plan", 340), node("said", 800, 300))),
      frame("3 Longer clips, nothing computed again", "result", row(node("plan_without", 340), node("said_without", 800, 300))),
    ],
  ),
};
