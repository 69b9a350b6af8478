// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, node, note, row } from "./boxes.mjs";

const START = `## Twice the frame rate

The pictures of a clip are key frames; between neighbours the model makes new ones, of which *keep* says how many stay:
*stride* / *keep* is how much faster the clip becomes. 12 and 6 double it.

Press **Run**: nine pictures become sixteen, in half a minute with the demo model on a CPU. The demo model was trained for keys 12
apart. Wan-sized weights may take *stride* 4 and *keep* 2.

Each node has a help page: select it and press **i** (Node Info) above it.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d00000b",
  boxes: row(
    [note("Start here", START)],
    [frame("1 Model", "files", "backbone"), frame("2 Prompt", "prompt", "between_prompt", "negative_prompt")],
    [frame("3 A clip, and neighbours of it", "given", "film", "pictures", "keys")],
    [frame("4 Once for each pair", "generate", row(["between", "segment_guider"], ["segment_denoise", "segment_decode", "join"]))],
    [frame("5 Video", "result", "video", node("save", 300))],
  ),
};
