// What the workflow on the canvas has beyond its API twin: places, notes, groups.
const START = `## Between two frames

Two pictures become the first and the last frame; the model makes what lies between.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. For more than two pictures chain *Batch Images* and set *Replace Frames > task* to **every n-th**: they divide the video
into equal parts of 4 frames or a multiple.

A latent frame of Wan holds four pictures (the first holds one): the last picture is held still over the last four frames.
Each node has a help page: select it and press **i** (Node Info) above it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000009",
  view: { scale: 0.6, offset: [620, 260] },
  // [left, top, width, height]; a node without a height, or with too little, gets what its widgets need
  places: {
    backbone: [0, 0, 320],
    positive_prompt: [380, 0, 420, 100],
    negative_prompt: [380, 170, 420, 90],
    first: [0, 380, 320, 330],
    last: [380, 380, 320, 330],
    frames: [740, 380, 260],
    empty_video: [860, 0, 260],
    replace: [1180, 0, 320],
    guider: [1540, 0, 300],
    denoise: [1540, 250, 300],
    decode: [1900, 0, 300],
    video: [1900, 120, 300],
    save: [1900, 290, 300, 420],
  },
  groups: [
    { title: "1 Model", place: [-20, -80, 360, 370], color: "#3f789e" },
    { title: "2 Prompt, size and length", place: [360, -80, 780, 370], color: "#3f789e" },
    { title: "3 First and last frame", place: [-20, 300, 1160, 430], color: "#b58b2a" },
    { title: "4 Generate", place: [1160, -80, 700, 810], color: "#3f789e" },
    { title: "5 Video", place: [1880, -80, 340, 810], color: "#3f789e" },
  ],
  notes: [{ title: "Start here", text: START, place: [-520, -50, 460, 280] }],
};
