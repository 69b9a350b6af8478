// What the workflow on the canvas has beyond its API twin: places, notes, groups.
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
  view: { scale: 0.64, offset: [620, 260] },
  // [left, top, width, height]; a node without a height, or with too little, gets what its widgets need
  places: {
    backbone: [0, 0, 320],
    positive_prompt: [380, 0, 420, 100],
    negative_prompt: [380, 170, 420, 90],
    empty_video: [860, 0, 300],
    picture: [0, 360, 320, 330],
    reference: [380, 360, 420],
    apply: [1220, 0, 320],
    inspect: [860, 610, 680, 580],
    guider: [1600, 0, 300],
    denoise: [1600, 250, 300],
    decode: [1960, 0, 300],
    video: [1960, 120, 300],
    save: [1960, 290, 300, 460],
  },
  groups: [
    { title: "1 Model", place: [-20, -80, 360, 370], color: "#3f789e" },
    { title: "2 Prompt and size", place: [360, -80, 820, 370], color: "#3f789e" },
    { title: "3 Reference", place: [-20, 290, 840, 810], color: "#b58b2a" },
    { title: "4 Generate", place: [1200, -80, 720, 640], color: "#3f789e" },
    { title: "5 Video", place: [1940, -80, 340, 850], color: "#3f789e" },
  ],
  notes: [{ title: "Start here", text: START, place: [-520, -50, 460, 330] }],
};
