// What the workflow on the canvas has beyond its API twin: frames and their order, notes, nodes that are bypassed.
import { frame, node, note, row } from "./boxes.mjs";
import { PROMPT, VIDEO } from "./usual.mjs";
import { BIREFNET_MODEL, backgroundRemoval } from "./masking.mjs";


const START = `## Masked reference to video

A picture of a subject goes in, a video of that subject comes out. Left to right: **model**, **prompt** and
**reference**, then **generate**, then **video**.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. Change the prompt: *a toy at the middle moving left on dark background*.
3. Change *Masked Reference > strength*: 1 is as trained, 0 switches the reference off.

The demo model knows small toys on plain grounds at 96x96, nothing else. Its prompts read like the one here.
Each node has a help page: select it and press **i** (Node Info) above it.`;

const WEIGHTS = `## Which weights, which recipe

| weights | recipe |
|---|---|
| refvid demo model | \`auto\` (its file says saber) |
| Phantom-Wan 1.3B, 14B | \`phantom\`, up to 4 pictures; template \`phantom\` |
| SkyReels-V3 R2V, RefAlign | \`skyreels_v3\`, \`refalign\`; templates of their own |
| Bernini-R, Kaleido | \`bernini\`, \`kaleido\`; templates of their own |
| VACE, Stand-In, Concat-ID-Wan | \`vace\`, \`stand_in\`, \`concat_id\` |
| weights trained as VideoMaker | \`videomaker\`, \`videomaker_shared\`, \`videomaker_no_text\` |
| plain Wan 2.1 / 2.2 T2V | \`saber\` runs, but these weights were **never trained for references** and mostly ignore them |

For Wan-sized weights: 832x480, 81 frames, *shift* and *scale* 5, *fps* 16, UMT5-XXL, the Wan 2.1 VAE. Loaders of GGUF
and LoRA plug into *Apply References*.`;

const PHOTO = `## Your own picture

Load it in *Reference picture*. What counts as the subject:

- **Cut-out with transparency** (as the demo picture): nothing to do.
- **Photo as a whole**: nothing to do either; without transparency all of it counts, background too.
- **Photo, background removed for you**: right-click the title of the group *Background removal*, choose
*Set Group Nodes to Always*. It needs \`birefnet.safetensors\` in \`models/background_removal\`, from
[Comfy-Org/BiRefNet](https://huggingface.co/Comfy-Org/BiRefNet).
- **Photo, mask painted by hand**: right-click *Reference picture*, *Open in Mask Editor*, paint the subject, then set
*mask_marks* to **subject**.

More pictures: add a *Load Image* and a *Masked Reference* for each, into the next free slot of *Apply References*.`;

const REMOVAL = `**To switch on:** right-click this group's title, *Set Group Nodes to Always*. For photos: a picture with
transparency of its own keeps that. Needs \`birefnet.safetensors\` in \`models/background_removal\`.`;

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000001",
  // Bypassed, Join Image with Alpha hands its picture on as it is. Enabled, it gives a photo the alpha channel that
  // Masked Reference looks for when Load Image has no mask to offer.
  bypassed: {
    ...backgroundRemoval(["picture", 0]),
    invert: { class_type: "InvertMask", inputs: { mask: ["remove", 0] }, _meta: { title: "Invert Mask" } },
    join: {
      class_type: "JoinImageWithAlpha",
      inputs: { image: ["picture", 0], alpha: ["invert", 0] },
      _meta: { title: "Join Image with Alpha" },
    },
  },
  rewired: { reference: { image: ["join", 0] } },
  models: { birefnet: BIREFNET_MODEL },
  boxes: row(
    [note("Start here", START), note("Your own picture", PHOTO)],
    [frame("1 Model", "files", "backbone"), frame("2 Prompt, size and length", "prompt", ...PROMPT)],
    [frame("3 Reference", "given", "picture", "reference")],
    [
      frame("4 Generate", "generate", "apply", "guider", "denoise"),
    ],
    [frame("5 Video", "result", "decode", "video", node("save", 300, 545)), note("Which weights, which recipe", WEIGHTS)],
    [frame("Background removal (bypassed)", "off", ["birefnet", "remove", "invert", "join"], note("Off, unless you switch it on", REMOVAL, 300))],
  ),
};
