// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, note, row } from "./boxes.mjs";
import { PROMPT, VIDEO } from "./usual.mjs";
import { RECIPES } from "./recipes.mjs";

const START = `## Few steps at cfg 1

How distilled LoRAs (lightx2v and others) are run: four steps, cfg 1, shift 5, core's own *KSampler*. No guidance acts
at cfg 1, so what a reference gets is decided in attention: **strength** here is 1.5.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. Change *Masked Reference > strength* and compare: below 1 the prompt wins, above 1 the reference.
3. With Wan weights: load your distilled LoRA with *LoraLoaderModelOnly* **between** *Load Wan Backbone* and *Apply
References*.

The demo model is not distilled: four steps show the way, not the quality.

${RECIPES}

Each node has a help page: select it and press **i** (Node Info) above it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000005",
  boxes: row(
    [note("Start here", START)],
    [frame("1 Model", "files", "backbone"), frame("2 Prompt, size and length", "prompt", ...PROMPT)],
    [frame("3 Reference", "given", "picture", "reference")],
    [frame("4 Generate", "generate", "apply", "sampler")],
    [frame("5 Video", "result", ...VIDEO)],
  ),
};
