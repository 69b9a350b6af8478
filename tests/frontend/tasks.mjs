// What the nodes of the workflows are for: their colours, of LiteGraph's own palette, and what app mode shows of them.
// Notes keep ComfyUI's own colour, yellow; what is bypassed is drawn by ComfyUI in magenta.

/** Colour of a task. */
export const COLOURS = { files: "blue", prompt: "green", given: "brown", generate: "purple", result: "cyan", off: "black" };

/** Task of every node. */
export const TASKS = Object.fromEntries(Object.entries({
  files: [  // models and adapters
    "LoadBackgroundRemovalModel", "LoadMediaPipeFaceLandmarker", "LoraLoaderModelOnly", "ModelSamplingSD3",
    "RefVidLoadAdapter", "RefVidLoadBackbone", "RefVidLoadEditingAdapter", "RefVidLoadReferenceAdapter", "UNETLoader",
  ],
  prompt: ["CLIPTextEncode", "EmptyHunyuanLatentVideo"],  // words, size and length
  given: [  // pictures, films, masks, and what is read from them
    "Canny", "GetVideoComponents", "ImageBatch", "ImageFromBatch", "ImageToMask", "InvertMask", "JoinImageWithAlpha",
    "LoadImage", "LoadVideo", "MaskComposite", "MediaPipeFaceLandmarker", "MediaPipeFaceMask", "RefVidEncodeIdentity",
    "RefVidLoadReference", "RefVidReference", "RemoveBackground", "SolidMask",
  ],
  generate: [  // what acts on the model, guides it and takes steps
    "KSampler", "RefVidApplyIdentity", "RefVidApplyReferences", "RefVidDenoiseSteps", "RefVidInbetween",
    "RefVidInstructionEdit", "RefVidJoinSegments", "RefVidJointGuider", "RefVidKeyframes", "RefVidReplaceFrames",
    "RefVidSeparateGuider", "WanVaceToVideo",
  ],
  result: [  // what is shown, saved and measured
    "CreateVideo", "PreviewAny", "PreviewImage", "RefVidInspect", "RefVidSaveIdentity", "RefVidScore",
    "RefVidTrainingPlan", "SaveVideo", "VAEDecode",
  ],
}).flatMap(([task, nodes]) => nodes.map((one) => [one, task])));

/** Height of nodes that show something, which their widgets do not say: pictures, films, what a node says after a run, that a
 * file is missing. */
export const SHOWING = {
  LoadImage: 330, LoadVideo: 400, PreviewAny: 240, PreviewImage: 300, RefVidApplyReferences: 340, RefVidInspect: 480,
  RefVidLoadBackbone: 260, RefVidLoadReference: 720, RefVidLoadReferenceAdapter: 160, RefVidReference: 610,
  RefVidSaveIdentity: 330, RefVidScore: 320, SaveVideo: 440,
};

// Widgets that app mode shows, in this order, of the nodes of these keys.
const ASKED = [
  "picture.image", "reference.image", "first_picture.image", "second_picture.image", "first.image", "last.image", "film.file",
  "control_film.file", "positive_prompt.text", "between_prompt.text", "edit.instruction", "denoise.noise_seed",
  "denoise_high.noise_seed", "high.noise_seed", "sampler.seed", "plan.card", "plan.width", "plan.height", "plan.frames",
];
const TOLD = ["SaveVideo", "PreviewAny", "PreviewImage"];

/** What app mode asks for and shows of an API graph: `extra.linearData` of the frontend, by the numbers of its nodes. */
export function appMode(api, numbers) {
  const asked = ASKED.map((one) => one.split(".")).filter(
    ([key, input]) => api[key]?.inputs[input] !== undefined && !Array.isArray(api[key].inputs[input]),
  );
  const told = Object.keys(api).filter((key) => TOLD.includes(api[key].class_type));
  return { inputs: asked.map(([key, input]) => [numbers[key], input]), outputs: told.map((key) => numbers[key]) };
}
