// What the workflow on the canvas has beyond its API twin: frames and their order, notes.
import { frame, node, row } from "./boxes.mjs";
import { FEW_STEPS, filesNote, HELP, memoryNote, notes, PICTURES, prompt, UMT5, VAE } from "./public_weights.mjs";
import { VIDEO } from "./usual.mjs";

const START = `## RefAlign 14B: two people kept apart

Two people from two pictures in one video, 832x480, 81 frames at 16 a second. Each acts in a half of the video of its own.

1. Get the files below; the model is made of six by one command.
2. Put your pictures into *First person* (left) and *Second person* (right): one person each, **cut out**. RefAlign cuts
people out with BiRefNet and stands them on white; the template \`masked_reference_to_video\` has nodes for that.
3. Say in the prompt who is on the left, who on the right, and what they do.

By the file's name, *recipe* **auto** is \`refalign\`: Phantom's, whose pictures do not read the prompt. *scales* on **auto**: 5 for the pictures, 7.5 for the
prompt, as published, three passes a step. *region* and *sees* **video** are this pack's: outside its half no token of the
video reads a person, and the two never read each other. Set *sees* to **recipe** for attention as it was trained.

${HELP}`;

const FILES = filesNote(
  [["RefAlign-14B", "diffusion_models", "gudaochangsheng/RefAlign-14B", "not known here"]],
  `The repository has \`model-00000.safetensors\` to \`model-00005.safetensors\`. \`refvid convert RefAlign-14B --recipe refalign --out RefAlign-14B.safetensors\`
makes one file of them. RefAlign-1.3B is one \`model.safetensors\`: rename or convert it to \`RefAlign-1.3B.safetensors\`.`,
  "its page says MIT; its LICENSE is an unresolved merge of Apache-2.0 and MIT, which both allow commercial use.",
);

const MEMORY = memoryNote({
  gguf: "no GGUF is known here; one made of your file works if `RefAlign` is in its name.",
  fewer: FEW_STEPS,
  unknown: "how well regions keep people apart with these weights, which never saw any; keys of the files, which we infer.",
});

export default {
  id: "5f0c7e0a-4a57-4f0e-9d57-7ef51d000021",
  models: { backbone: [UMT5, VAE] },
  boxes: row(
    notes(START, FILES, MEMORY),
    [frame("1 Model", "files", "backbone"), prompt("empty_video")],
    [PICTURES, frame("Masks for the regions", "given", row("nowhere", "half"))],
    [frame("4 Generate", "generate", "apply", "guider", "denoise"), frame("Regions", "given", "left", "right")],
    [frame("5 Video", "result", ...VIDEO), frame("Who sees whom, and where", "result", node("inspect", 300, 420))],
  ),
};
