// What the workflow on the canvas has beyond its API twin: places, notes, groups, nodes that are bypassed.
import { RECIPES } from "./recipes.mjs";
import { CUT_OUT, MASKING, MASKING_MODELS, maskingAt } from "./masking.mjs";

const masking = maskingAt(0, 1580);

const START = `## Everything in one graph

One short video of somebody. Its **first picture** becomes a masked reference: tokens of the picture in the video's own
attention, which say how they look. The **whole video** becomes an identity: a few tokens beside the prompt, which also say
how they move. Both go into one model, are guided together (JIT-CFG), and the schedule runs in two ranges.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. *Masked Reference > strength* and *Apply Identity > strength* say how much each counts; 0 takes one out.
3. The two *Denoise* nodes make the very clip that one would. Between them a latent may be changed, and for Wan 2.2 the
second one gets a guider of the low-noise expert.

${RECIPES}

Each node has a help page: select it and press **i** (Node Info) above it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000007",
  view: { scale: 0.45, offset: [620, 260] },
  bypassed: MASKING,
  rewired: { encode: { clip: CUT_OUT }, picture: { image: CUT_OUT } },
  models: MASKING_MODELS,
  // [left, top, width, height]; a node without a height, or with too little, gets what its widgets need
  places: {
    backbone: [0, 0, 320],
    positive_prompt: [380, 0, 420, 100],
    negative_prompt: [380, 170, 420, 90],
    empty_video: [860, 0, 300],
    film: [0, 380, 320, 500],
    pictures: [380, 380, 280],
    mask_film: [0, 960, 320, 500],
    mask_pictures: [380, 960, 280],
    mask: [380, 1140, 280],
    outside: [380, 1260, 280],
    cut_out: [380, 580, 280],
    picture: [720, 380, 300],
    reference: [1060, 380, 320],
    adapter: [720, 960, 300],
    encode: [720, 1080, 300],
    routing: [1060, 960, 520, 500],
    apply: [1660, 0, 320],
    identity: [2040, 0, 320],
    inspect: [1660, 880, 700, 580],
    guider: [2420, 0, 300],
    high: [2420, 260, 300],
    low: [2420, 640, 300],
    decode: [2800, 0, 300],
    video: [2800, 120, 300],
    save: [2800, 290, 300, 460],
    ...masking.places,
  },
  groups: [
    { title: "1 Model", place: [-20, -80, 360, 370], color: "#3f789e" },
    { title: "2 Prompt and size", place: [360, -80, 820, 370], color: "#3f789e" },
    { title: "3 A video, and where the subject is in it", place: [-20, 300, 700, 1180], color: "#b58b2a" },
    { title: "4 How they look: a masked reference", place: [700, 300, 900, 560], color: "#b58b2a" },
    { title: "5 How they move: an identity", place: [700, 880, 900, 600], color: "#b58b2a" },
    { title: "6 Apply both", place: [1640, -80, 740, 1560], color: "#3f789e" },
    { title: "7 Guide and denoise in two ranges", place: [2400, -80, 340, 1160], color: "#3f789e" },
    { title: "8 Video", place: [2780, -80, 340, 850], color: "#3f789e" },
    ...masking.groups,
  ],
  notes: [{ title: "Start here", text: START, place: [-520, -50, 460, 380] }, masking.note],
};
