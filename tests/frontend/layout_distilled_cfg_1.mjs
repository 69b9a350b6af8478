// What the workflow on the canvas has beyond its API twin: places, notes, groups.
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
  view: { scale: 0.64, offset: [620, 260] },
  // [left, top, width, height]; a node without a height, or with too little, gets what its widgets need
  places: {
    backbone: [0, 0, 320],
    positive_prompt: [380, 0, 420, 100],
    negative_prompt: [380, 170, 420, 90],
    empty_video: [860, 0, 300],
    picture: [0, 360, 320, 330],
    reference: [380, 360, 420],
    apply: [860, 360, 300],
    sampler: [1240, 0, 300],
    decode: [1600, 0, 300],
    video: [1600, 120, 300],
    save: [1600, 290, 300, 460],
  },
  groups: [
    { title: "1 Model", place: [-20, -80, 360, 370], color: "#3f789e" },
    { title: "2 Prompt and size", place: [360, -80, 820, 370], color: "#3f789e" },
    { title: "3 Reference", place: [-20, 290, 1200, 810], color: "#b58b2a" },
    { title: "4 Generate", place: [1220, -80, 340, 500], color: "#3f789e" },
    { title: "5 Video", place: [1580, -80, 340, 850], color: "#3f789e" },
  ],
  notes: [{ title: "Start here", text: START, place: [-520, -50, 460, 330] }],
};
