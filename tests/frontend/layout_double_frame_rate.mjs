// What the workflow on the canvas has beyond its API twin: places, notes, groups.
const START = `## Twice the frame rate

The pictures of a clip are key frames; between neighbours the model makes new ones, of which *keep* says how many stay:
*stride* / *keep* is how much faster the clip becomes. 12 and 6 double it.

Press **Run**: nine pictures become sixteen, in half a minute with the demo model on a CPU. The demo model was trained for keys 12
apart. Wan-sized weights may take *stride* 4 and *keep* 2.

Each node has a help page: select it and press **i** (Node Info) above it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d00000b",
  view: { scale: 0.55, offset: [620, 260] },
  // [left, top, width, height]; a node without a height, or with too little, gets what its widgets need
  places: {
    backbone: [0, 0, 320],
    film: [0, 380, 320, 400],
    pictures: [380, 380, 280],
    keys: [700, 380, 320],
    between_prompt: [380, 0, 420, 100],
    negative_prompt: [380, 170, 420, 90],
    between: [1100, 0, 320],
    segment_guider: [1460, 0, 300],
    segment_denoise: [1460, 250, 300],
    segment_decode: [1820, 0, 300],
    join: [1820, 120, 300],
    video: [2180, 0, 300],
    save: [2180, 170, 300, 460],
  },
  groups: [
    { title: "1 Model", place: [-20, -80, 360, 370], color: "#3f789e" },
    { title: "2 Prompt", place: [360, -80, 680, 370], color: "#3f789e" },
    { title: "3 A clip, and neighbours of it", place: [-20, 300, 1060, 500], color: "#b58b2a" },
    { title: "4 Once for each pair", place: [1080, -80, 1060, 880], color: "#a1309b" },
    { title: "5 Video", place: [2160, -80, 340, 880], color: "#3f789e" },
  ],
  notes: [{ title: "Start here", text: START, place: [-520, -50, 460, 260] }],
};
