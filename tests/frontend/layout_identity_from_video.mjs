// What the workflow on the canvas has beyond its API twin: places, notes, groups, nodes that are bypassed.
import { CUT_OUT, MASKING, MASKING_MODELS, maskingAt } from "./masking.mjs";

const masking = maskingAt(0, 1300);

const START = `## Identity from a video

A short video of somebody goes in; a new video of them comes out. Slots hold how they look from all sides, and how they
move: the toy here changes in size while it stands. What they hold of that, the small demo model cannot show yet.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. Look at *What each slot looks at*: the pictures as they were read, then a row for every slot.
3. Change the prompt, or *Apply Identity > strength*; at 0 the model is untouched.

*Save Identity* leaves a small file with the picture in it. *Load Identity* reads it in place of all of group 3: encode
once, use and share for ever. Each node has a help page: select it and press **i** (Node Info) above it.`;

const WEIGHTS = `## Which weights

An adapter belongs to one model. Shipped: one for the demo model (small toys on plain grounds, 80x80). No Slot-ID weights
are public; \`refvid train slot_id\` trains them. *Load Slot-ID Adapter* reads \`models/loras\`; other LoRAs go on the
model before *Apply Identity*, from core's own loaders.`;

const PEOPLE = `## Several people

Chain one *Apply Identity* for each, and say of each what the prompt calls them (*phrase*, with the text encoder in
*clip*) or where they are (*region*, with the empty latent in *latent*).`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000006",
  view: { scale: 0.5, offset: [620, 260] },
  bypassed: MASKING,
  rewired: { encode: { clip: CUT_OUT } },
  models: MASKING_MODELS,
  // [left, top, width, height]; a node without a height, or with too little, gets what its widgets need
  places: {
    backbone: [0, 0, 320],
    positive_prompt: [380, 0, 420, 100],
    negative_prompt: [380, 170, 420, 90],
    empty_video: [860, 0, 300],
    film: [0, 380, 320, 380],
    pictures: [380, 380, 280],
    mask_film: [0, 800, 320, 380],
    mask_pictures: [380, 800, 280],
    mask: [380, 980, 280],
    outside: [380, 1090, 280],
    cut_out: [380, 560, 280],
    adapter: [720, 380, 320],
    encode: [720, 500, 320],
    save_identity: [720, 760, 320, 400],
    routing: [1080, 380, 500, 780],
    identity: [1660, 0, 320],
    guider: [2040, 0, 300],
    denoise: [2040, 250, 300],
    decode: [2400, 0, 300],
    video: [2400, 120, 300],
    save: [2400, 290, 300, 460],
    ...masking.places,
  },
  groups: [
    { title: "1 Model", place: [-20, -80, 360, 370], color: "#3f789e" },
    { title: "2 Prompt and size", place: [360, -80, 820, 370], color: "#3f789e" },
    { title: "3 Who: a video, and where they are in it", place: [-20, 300, 700, 900], color: "#b58b2a" },
    { title: "4 Read", place: [700, 300, 900, 900], color: "#b58b2a" },
    { title: "5 Generate", place: [1640, -80, 720, 850], color: "#3f789e" },
    { title: "6 Video", place: [2380, -80, 340, 850], color: "#3f789e" },
    ...masking.groups,
  ],
  notes: [
    { title: "Start here", text: START, place: [-520, -50, 460, 330] },
    { title: "Which weights", text: WEIGHTS, place: [-520, 340, 460, 200] },
    { title: "Several people", text: PEOPLE, place: [-520, 590, 460, 150] },
    masking.note,
  ],
};
