// What the workflow on the canvas has beyond its API twin: places, notes, groups, nodes that are bypassed.
import { BIREFNET_MODEL, backgroundRemoval } from "./masking.mjs";


const START = `## Masked reference to video

A picture of a subject goes in, a video of that subject comes out. Left to right: **model**, **prompt** and
**reference**, then **generate**, then **video**.

1. Press **Run**. With the demo model this takes seconds, on a CPU too.
2. Change the prompt: *a toy moving left on dark background*.
3. Change *Masked Reference > strength*: 1 is as trained, 0 switches the reference off.

The demo model knows small toys on plain grounds at 80x80, nothing else. Its prompts read like the one here.
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

There are no public Saber weights. For Wan-sized weights set *Size and length* to what they were made for (832x480,
81 frames), *shift* and *scale* to 5, *fps* to 16, and use the UMT5-XXL text encoder and the Wan 2.1 VAE. GGUF, LoRA and
checkpoint loaders plug into *Apply References* in place of *Load Wan Backbone*.`;

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
  view: { scale: 0.64, offset: [620, 260] },
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
  // [left, top, width, height]; a node without a height, or with too little, gets what its widgets need
  places: {
    backbone: [0, 0, 320],
    positive_prompt: [380, 0, 540, 100],
    negative_prompt: [380, 170, 540, 90],
    empty_video: [980, 0, 280],
    picture: [0, 420, 320, 330],
    birefnet: [380, 420, 260],
    remove: [380, 550, 260],
    invert: [660, 420, 260],
    join: [660, 550, 260],
    reference: [980, 420, 280],
    apply: [1340, 0, 300],
    guider: [1680, 0, 300],
    denoise: [1680, 250, 300],
    decode: [2040, 0, 300],
    video: [2040, 120, 300],
    save: [2040, 290, 300, 460],
  },
  groups: [
    { title: "1 Model", place: [-20, -80, 360, 370], color: "#3f789e" },
    { title: "2 Prompt", place: [360, -80, 580, 370], color: "#3f789e" },
    { title: "3 Size and length", place: [960, -80, 320, 370], color: "#3f789e" },
    { title: "4 Reference picture", place: [-20, 340, 360, 470], color: "#b58b2a" },
    { title: "Background removal (bypassed)", place: [360, 340, 580, 470], color: "#a1309b" },
    { title: "5 Masked reference", place: [960, 340, 320, 470], color: "#b58b2a" },
    { title: "6 Generate", place: [1320, -80, 680, 890], color: "#3f789e" },
    { title: "7 Video", place: [2020, -80, 340, 890], color: "#3f789e" },
  ],
  notes: [
    { title: "Start here", text: START, place: [-520, -50, 460, 200] },
    { title: "Which weights, which recipe", text: WEIGHTS, place: [-520, 200, 460, 270] },
    { title: "Your own picture", text: PHOTO, place: [-520, 520, 460, 250] },
    { title: "Off, unless you switch it on", text: REMOVAL, place: [380, 670, 540, 80] },
  ],
};
