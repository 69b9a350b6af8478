// What the workflow on the canvas has beyond its API twin: places, notes, groups.
const START = `## From a first frame to a video

The picture becomes frame 0, untouched, and the model makes what comes after it. *Joint Guider* guides by the prompt **and** the
frame together (JIT-CFG, STIV): its null pass has neither. Guided by the prompt alone, as by KSampler, STIV found videos to stay
close to its first frame.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. *Replace Frames > task*: **prediction** goes on from a clip of 5, 9, … frames, **free** puts pictures anywhere.
3. Swap the guider for *Separate Guider* to give the frame a scale of its own.

Which weights: TI2V-5B was trained for its first frame, the demo model for all tasks. Plain T2V weights run, but were never
trained for it. I2V weights have nodes of their own in ComfyUI.

Each node has a help page: select it and press **i** (Node Info) above it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000008",
  view: { scale: 0.64, offset: [620, 260] },
  // [left, top, width, height]; a node without a height, or with too little, gets what its widgets need
  places: {
    backbone: [0, 0, 320],
    positive_prompt: [380, 0, 420, 100],
    negative_prompt: [380, 170, 420, 90],
    empty_video: [380, 380, 300],
    first: [0, 380, 320, 330],
    replace: [860, 0, 320],
    guider: [1220, 0, 300],
    denoise: [1220, 250, 300],
    decode: [1580, 0, 300],
    video: [1580, 120, 300],
    save: [1580, 290, 300, 420],
  },
  groups: [
    { title: "1 Model", place: [-20, -80, 360, 370], color: "#3f789e" },
    { title: "2 Prompt", place: [360, -80, 460, 370], color: "#3f789e" },
    { title: "3 First frame", place: [-20, 300, 360, 430], color: "#b58b2a" },
    { title: "4 Size and length", place: [360, 300, 460, 430], color: "#3f789e" },
    { title: "5 Generate", place: [840, -80, 700, 810], color: "#3f789e" },
    { title: "6 Video", place: [1560, -80, 340, 810], color: "#3f789e" },
  ],
  notes: [{ title: "Start here", text: START, place: [-520, -50, 460, 380] }],
};
