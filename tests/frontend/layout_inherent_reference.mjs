// What the workflow on the canvas has beyond its API twin: places, notes, groups.

const START = `## The model as its own reference encoder

The picture is one clean frame behind the video, and the model reads it with its own self-attention (VideoMaker). There is no other encoder,
only a LoRA that learned to look there.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. Change the prompt: *a toy moving left on dark background*.
3. *Masked Reference > sees*: **frames** reads the video frame by frame and takes the mean, as published; **itself** reads nothing of it, so
   that its keys and values are worked out once and kept. The LoRA was trained for **all**.

Each node has a help page: select it and press **i** (Node Info) above it.`;

const WEIGHTS = `## Which weights

VideoMaker's own weights are for Stable Diffusion 1.5 and do not load on Wan. \`refvid train videomaker\` makes a LoRA for a Wan; shipped is one for the demo model.
*Apply References > recipe* is the one that a LoRA was trained for: \`videomaker\` for this one, \`videomaker_shared\` or
\`videomaker_no_text\` for its relatives. The others are for models that need no such LoRA: \`auto\` and \`saber\`, and for
public weights \`phantom\`, \`skyreels_v3\`, \`refalign\`, \`kaleido\`, \`concat_id\`, \`bernini\`, \`vace\` and \`stand_in\`.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000013",
  view: { scale: 0.64, offset: [620, 260] },
  // [left, top, width, height]; a node without a height, or with too little, gets what its widgets need
  places: {
    backbone: [0, 0, 320],
    lora: [0, 250, 320],
    positive_prompt: [380, 0, 420, 100],
    negative_prompt: [380, 170, 420, 90],
    empty_video: [380, 480, 300],
    picture: [0, 480, 320, 330],
    reference: [0, 850, 320],
    apply: [860, 0, 320],
    guider: [1220, 0, 300],
    denoise: [1220, 250, 300],
    decode: [1580, 0, 300],
    video: [1580, 120, 300],
    save: [1580, 290, 300, 420],
  },
  groups: [
    { title: "1 Model", place: [-20, -80, 360, 470], color: "#3f789e" },
    { title: "2 Prompt", place: [360, -80, 460, 470], color: "#3f789e" },
    { title: "3 Reference", place: [-20, 400, 360, 850], color: "#b58b2a" },
    { title: "4 Size and length", place: [360, 400, 460, 300], color: "#3f789e" },
    { title: "5 Generate", place: [840, -80, 700, 780], color: "#3f789e" },
    { title: "6 Video", place: [1560, -80, 340, 810], color: "#3f789e" },
  ],
  notes: [
    { title: "Start here", text: START, place: [-520, -50, 460, 330] },
    { title: "Which weights", text: WEIGHTS, place: [-520, 340, 460, 200] },
  ],
};
