// What the workflow on the canvas has beyond its API twin: frames and their order, notes, nodes that are bypassed.
import { frame, node, note, row } from "./boxes.mjs";
import { PROMPT, VIDEO } from "./usual.mjs";
import { CUT_OUT, MASKING, MASKING_MODELS, OWN_VIDEO, OWN_VIDEO_NOTE } from "./masking.mjs";

const START = `## Identity from a video

A short video of somebody goes in; a new video of them comes out. Slots hold how they look from all sides, and how they
move: the toy here turns while it stands, and the one of the new video turns too.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. Look at *What each slot looks at*: the pictures as they were read, then a row for every slot.
3. Change the prompt, or *Apply Identity > strength*; at 0 the model is untouched.

*Save Identity* leaves a small file with the picture in it. *Load Identity* reads it in place of all of group 3: encode
once, use and share for ever. Each node has a help page: select it and press **i** (Node Info) above it.`;

const WEIGHTS = `## Which weights

An adapter belongs to one model. Shipped: one for the demo model (small toys on plain grounds, 96x96). No Slot-ID weights
are public; \`refvid train slot_id\` trains them. *Load Slot-ID Adapter* reads \`models/loras\`; other LoRAs go on the
model before *Apply Identity*, from core's own loaders.`;

const PEOPLE = `## Several people

Chain one *Apply Identity* for each, and say of each what the prompt calls them (*phrase*, with the text encoder in
*clip*) or where they are (*region*, with the empty latent in *latent*).`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000006",
  bypassed: MASKING,
  rewired: { encode: { clip: CUT_OUT } },
  models: MASKING_MODELS,
  boxes: row(
    [note("Start here", START, 340), note("Which weights", WEIGHTS, 340), note("Several people", PEOPLE, 340), OWN_VIDEO_NOTE],
    [frame("1 Model", "files", "backbone", "adapter"), frame("2 Prompt, size and length", "prompt", ...PROMPT)],
    [
      row(
        frame(
          "3 Who: a video, and where they are in it", "given",
          row([node("film", 300, 480), "pictures", "cut_out"], [node("mask_film", 300, 480), "mask_pictures", "mask", "outside"]),
        ),
        frame("4 Read", "given", "encode", "routing", "save_identity"),
      ),
      ...OWN_VIDEO,
    ],
    [frame("5 Generate", "generate", "identity", "guider", "denoise")],
    [frame("6 Video", "result", ...VIDEO)],
  ),
};
