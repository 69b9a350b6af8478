// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, note, row } from "./boxes.mjs";
import { PROMPT } from "./usual.mjs";
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
  boxes: row(
    [note("Start here", START, 310)],
    [frame("1 Model", "files", "backbone"), frame("2 Prompt, size, number of key frames", "prompt", ...PROMPT)],
    [frame("3 Reference", "given", "picture", "reference"), frame("5 Pairs of neighbours", "generate", "keys")],
    [frame("4 Key frames", "generate", "apply", "guider", "denoise", "decode")],
    [
      frame(
        "6 Once for each pair", "generate",
        row(["between_prompt", "segment_size", "segment_apply", "between"], ["segment_guider", "segment_denoise", "segment_decode", "join"]),
      ),
    ],
    [frame("7 One video", "result", "video", "save")],
  ),
};
