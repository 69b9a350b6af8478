// What the workflow on the canvas has beyond its API twin: places, notes, groups.
const START = `## Plan a training

How much memory, time and disk a LoRA on **your** Wan would take, before anything is trained.

1. Choose your model in *Load Wan Backbone*: only its sizes are used. The demo model is far smaller than any Wan.
2. Set *card* to your GPU's GiB, and the sizes and length of your clips.
3. Press **Run**. Where it does not fit, the line below *memory* names the first setting that makes it fit.

The same text comes from \`refvid train saber --config run.toml --plan\`, which also looks at the clips.

Each node has a help page: select it and press **i** (Node Info) above it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000014",
  view: { scale: 0.7, offset: [620, 200] },
  // [left, top, width, height]; a node without a height, or with too little, gets what its widgets need
  places: {
    backbone: [0, 0, 320],
    plan: [400, 0, 320],
    plan_without: [400, 600, 320],
    said: [780, 0, 900, 300],
    said_without: [780, 600, 900, 300],
  },
  groups: [
    { title: "1 Model", place: [-20, -80, 360, 340], color: "#3f789e" },
    { title: "2 Plan", place: [380, -80, 1320, 560], color: "#2a8b5f" },
    { title: "3 Longer clips, nothing computed again", place: [380, 520, 1320, 560], color: "#2a8b5f" },
  ],
  notes: [{ title: "Start here", text: START, place: [-520, -50, 460, 380] }],
};
