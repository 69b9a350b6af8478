// What the workflow on the canvas has beyond its API twin: places, notes, groups.
import { RECIPES } from "./recipes.mjs";

const START = `## Score a clip against its reference

The main workflow, and the same noise once more **without** the reference. Both clips are scored: what the reference
changed is the difference between the two reports.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. Read the two reports, and look at the contact sheets: the last column is what was taken for the subject.
3. For a clip of another model: *Load Video*, *Get Video Components*, and its images into *clip*.

The clip without the reference is the *baseline*: what its background has is no leak. Without a *subject_mask* the subject
is looked for by colour, which flatters; connect a segmentation's masks where you have them.

Each node has a help page: select it and press **i** (Node Info) above it.`;

const FIGURES = `## The figures

| figure | best | floor |
|---|---|---|
| similarity (colours) | 1 | 0 |
| texture | 1 | high, often 0.6 |
| shape (outline) | 1 | high: disc and square 0.83 |
| leak of the background | 0 | 1 |
| dynamic degree | – | 0: nothing moves |

${RECIPES}

One clip proves little. A folder of them, with means and intervals: \`refvid score FOLDER\`.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000002",
  view: { scale: 0.6, offset: [620, 260] },
  // [left, top, width, height]; a node without a height, or with too little, gets what its widgets need
  places: {
    backbone: [0, 0, 320],
    positive_prompt: [380, 0, 420, 100],
    negative_prompt: [380, 170, 420, 90],
    empty_video: [380, 340, 420],
    picture: [0, 340, 320, 330],
    reference: [0, 740, 320],
    apply: [380, 600, 420],
    guider: [860, 0, 300],
    denoise: [860, 250, 300],
    guider_without: [860, 840, 300],
    denoise_without: [860, 1090, 300],
    decode: [1220, 0, 300],
    video: [1220, 110, 300],
    save: [1220, 260, 300, 450],
    decode_without: [1220, 840, 300],
    score: [1580, 0, 300],
    report: [1940, 0, 700, 240],
    sheet: [1580, 310, 1060, 400],
    score_without: [1580, 840, 300],
    report_without: [1940, 840, 700, 240],
    sheet_without: [1580, 1150, 1060, 400],
  },
  groups: [
    { title: "1 Model", place: [-20, -80, 360, 340], color: "#3f789e" },
    { title: "2 Prompt, size, references applied", place: [360, -80, 460, 960], color: "#3f789e" },
    { title: "3 Reference", place: [-20, 280, 360, 840], color: "#b58b2a" },
    { title: "4 With the reference", place: [840, -80, 700, 810], color: "#3f789e" },
    { title: "5 Without it, same noise", place: [840, 760, 700, 810], color: "#3f789e" },
    { title: "6 Score", place: [1560, -80, 1100, 810], color: "#2a8b5f" },
    { title: "7 Score without the reference", place: [1560, 760, 1100, 810], color: "#2a8b5f" },
  ],
  notes: [
    { title: "Start here", text: START, place: [-520, -50, 460, 380] },
    { title: "The figures", text: FIGURES, place: [-520, 400, 460, 330] },
  ],
};
