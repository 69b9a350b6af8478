// What the workflow on the canvas has beyond its API twin: places, notes, groups.
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
  view: { scale: 0.6, offset: [620, 260] },
  // [left, top, width, height]; a node without a height, or with too little, gets what its widgets need
  places: {
    backbone: [0, 0, 320],
    positive_prompt: [380, 0, 420, 100],
    negative_prompt: [380, 170, 420, 90],
    empty_video: [860, 0, 300],
    first_picture: [0, 360, 320, 330],
    second_picture: [0, 760, 320, 330],
    nowhere: [0, 1190, 300],
    half: [0, 1370, 300],
    left: [380, 1190, 300],
    right: [380, 1420, 300],
    first: [380, 360, 420],
    second: [860, 360, 420],
    apply: [1340, 0, 320],
    inspect: [1340, 570, 620, 590],
    guider: [1720, 0, 300],
    denoise: [1720, 250, 300],
    decode: [2080, 0, 300],
    video: [2080, 120, 300],
    save: [2080, 290, 300, 460],
  },
  groups: [
    { title: "1 Model", place: [-20, -80, 360, 370], color: "#3f789e" },
    { title: "2 Prompt and size", place: [360, -80, 820, 370], color: "#3f789e" },
    { title: "3 Subjects", place: [-20, 290, 1320, 820], color: "#b58b2a" },
    { title: "4 Regions", place: [-20, 1120, 720, 450], color: "#b58b2a" },
    { title: "5 Generate", place: [1320, -80, 720, 1270], color: "#3f789e" },
    { title: "6 Video", place: [2060, -80, 340, 850], color: "#3f789e" },
  ],
  notes: [
    { title: "Start here", text: START, place: [-520, -50, 460, 330] },
    { title: "Regions", text: REGIONS, place: [-520, 1120, 460, 200] },
  ],
};
