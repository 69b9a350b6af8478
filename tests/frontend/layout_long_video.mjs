// What the workflow on the canvas has beyond its API twin: places, notes, groups.
import { RECIPES } from "./recipes.mjs";

const START = `## A long video

1. **Key frames**: one clip whose pictures are far apart in time.
2. **Between**: *Key Frames* gives out neighbours as pairs; everything after it runs **once for each pair**, in this one
graph. The same reference acts in every segment.
3. **Join Segments** makes one clip of them: no frame comes twice or stands still.

Press **Run**: nine keys twelve apart make 96 frames, in half a minute with the demo model on a CPU. If a segment fails, what
was made stays: *Denoise Steps* remembers it, and the next run goes on from there.

The demo model reads how far apart frames are from the prompt (*at stride 12*, *at stride 1*). For Wan-sized weights: a clip
of 21 frames, *keys* 20, *stride* 20 and segments of 25 make 380 frames. *Size of a segment* is *stride* + 5 long.

${RECIPES}

Each node has a help page: select it and press **i** (Node Info) above it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d00000a",
  view: { scale: 0.48, offset: [620, 260] },
  // [left, top, width, height]; a node without a height, or with too little, gets what its widgets need
  places: {
    backbone: [0, 0, 320],
    picture: [0, 380, 320, 330],
    reference: [380, 380, 320],
    positive_prompt: [380, 0, 420, 100],
    negative_prompt: [380, 170, 420, 90],
    empty_video: [860, 0, 300],
    apply: [1240, 0, 320],
    guider: [1620, 0, 300],
    denoise: [1620, 250, 300],
    decode: [1620, 650, 300],
    keys: [1980, 380, 320],
    between_prompt: [380, 920, 420, 100],
    segment_size: [860, 920, 300],
    segment_apply: [1240, 920, 320],
    between: [1620, 920, 320],
    segment_guider: [1980, 920, 300],
    segment_denoise: [1980, 1170, 300],
    segment_decode: [2340, 920, 300],
    join: [2340, 1040, 300],
    video: [2700, 920, 300],
    save: [2700, 1090, 300, 420],
  },
  groups: [
    { title: "1 Model", place: [-20, -80, 360, 370], color: "#3f789e" },
    { title: "2 Prompt, size, and how many key frames", place: [360, -80, 820, 370], color: "#3f789e" },
    { title: "3 Reference", place: [-20, 300, 760, 510], color: "#b58b2a" },
    { title: "4 Key frames", place: [1220, -80, 720, 890], color: "#3f789e" },
    { title: "5 Pairs of neighbours", place: [1960, 300, 360, 510], color: "#a1309b" },
    { title: "6 Once for each pair", place: [360, 840, 2300, 730], color: "#a1309b" },
    { title: "7 One video", place: [2680, 840, 340, 730], color: "#3f789e" },
  ],
  notes: [{ title: "Start here", text: START, place: [-520, -50, 460, 400] }],
};
