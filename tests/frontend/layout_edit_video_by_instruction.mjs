// What the workflow on the canvas has beyond its API twin: places, notes, groups.

const START = `## Edit a video by an instruction

A video and a sentence go in; the same video with that change comes out, as long, as large and with its sound. The source stands in the
model's context (SAMA); beside both travel semantic tokens, which the sampler denoises together with the video.

1. Press **Run**. With the demo model this takes half a minute, on a CPU too.
2. Change *Instruction Edit > instruction*: **change the background to dark**, or **to meadow**. The demo's adapter does
   backgrounds well; new colours, textures and toys are beyond it.
3. *Joint Guider > scale* says how strongly the instruction counts; every pass keeps the source.

Both sides of the source must be multiples of 16 pixels: *Upscale Image* between *Its pictures* and *Instruction Edit* makes them so. Films longer
than *window* are evaluated in overlapping windows. Each node has a help page: select it and press **i** (Node Info) above it.`;

const WEIGHTS = `## Which weights

**SAMA-14B** is one file: load it in *Load Wan Backbone* and leave *Load Editing Adapter* out. Set *shift* and *scale* to 5, and scale the source to about 832x480.
On another text-to-video Wan, *Load Editing Adapter* takes SAMA's modules, with or without a LoRA, from \`models/loras\`. Shipped is one for the demo
model, which knows small toys on plain grounds; \`refvid train sama\` makes it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000012",
  view: { scale: 0.6, offset: [620, 260] },
  // [left, top, width, height]; a node without a height, or with too little, gets what its widgets need
  places: {
    backbone: [0, 0, 320],
    adapter: [380, 0, 320],
    film: [0, 380, 320, 380],
    parts: [380, 380, 320],
    edit: [760, 0, 420, 330],
    guider: [1240, 0, 300],
    denoise: [1240, 250, 300],
    decode: [1600, 0, 300],
    whole: [1600, 110, 300],
    video: [1600, 260, 300],
    save: [1600, 430, 300, 420],
  },
  groups: [
    { title: "1 Model", place: [-20, -80, 740, 370], color: "#3f789e" },
    { title: "2 Video", place: [-20, 300, 740, 480], color: "#b58b2a" },
    { title: "3 What to change", place: [740, -80, 460, 860], color: "#b58b2a" },
    { title: "4 Generate", place: [1220, -80, 340, 860], color: "#3f789e" },
    { title: "5 Video", place: [1580, -80, 340, 950], color: "#3f789e" },
  ],
  notes: [
    { title: "Start here", text: START, place: [-520, -50, 460, 400] },
    { title: "Which weights", text: WEIGHTS, place: [-520, 400, 460, 230] },
  ],
};
