// Nodes that find the subject in pictures of one's own, bypassed until they are wanted.
import { frame, node, note, row } from "./boxes.mjs";

const BIREFNET = "https://huggingface.co/Comfy-Org/BiRefNet/resolve/main/background_removal/birefnet.safetensors";
const FACE = "https://huggingface.co/Comfy-Org/mediapipe/resolve/main/detection/mediapipe_face_fp32.safetensors";

/** Core's background removal on the pictures of a node. */
export const backgroundRemoval = (image) => ({
  birefnet: {
    class_type: "LoadBackgroundRemovalModel",
    inputs: { bg_removal_name: "birefnet.safetensors" },
    _meta: { title: "Load Background Removal Model" },
  },
  remove: {
    class_type: "RemoveBackground",
    inputs: { image, bg_removal_model: ["birefnet", 0] },
    _meta: { title: "Remove Background" },
  },
});

export const BIREFNET_MODEL = [{ name: "birefnet.safetensors", url: BIREFNET, directory: "background_removal" }];

const invert = (mask, title) => ({ class_type: "InvertMask", inputs: { mask }, _meta: { title } });

const join = (image, alpha, title) => ({
  class_type: "JoinImageWithAlpha", inputs: { image, alpha }, _meta: { title },
});

// Bypassed, Join Image with Alpha hands its pictures on as they are; enabled, it cuts them out anew.
export const MASKING = {
  ...backgroundRemoval(["pictures", 0]),
  behind: invert(["remove", 0], "What is behind"),
  cut_front: join(["cut_out", 0], ["behind", 0], "Cut out whoever is in front"),
  face_model: {
    class_type: "LoadMediaPipeFaceLandmarker",
    inputs: { model_name: "mediapipe_face_fp32.safetensors" },
    _meta: { title: "Load Face Detection Model" },
  },
  landmarks: {
    class_type: "MediaPipeFaceLandmarker",
    inputs: {
      face_detection_model: ["face_model", 0],
      image: ["pictures", 0],
      detector_variant: "short",
      num_faces: 1,
      min_confidence: 0.5,
      missing_frame_fallback: "empty",
    },
    _meta: { title: "Detect Face Landmarks" },
  },
  face_mask: {
    class_type: "MediaPipeFaceMask",
    inputs: { face_landmarks: ["landmarks", 0], regions: "all" },
    _meta: { title: "Draw Face Mask" },
  },
  around_face: invert(["face_mask", 0], "What is around the face"),
  cut_face: join(["cut_front", 0], ["around_face", 0], "Cut out the face"),
};

/** Where the pictures come from when a group below is switched on. */
export const CUT_OUT = ["cut_face", 0];

export const MASKING_MODELS = {
  birefnet: BIREFNET_MODEL,
  face_model: [{ name: "mediapipe_face_fp32.safetensors", url: FACE, directory: "detection" }],
};

/** Their frames. */
export const OWN_VIDEO = [
  frame(
    "Your own video: whoever is in front (bypassed)", "off", row(node("birefnet", 260), node("remove", 200), node("behind", 200), node("cut_front", 260)),
  ),
  frame(
    "Your own video: a face alone (bypassed)", "off",
    row("face_model", "landmarks", ["face_mask", "around_face"], "cut_face"),
  ),
];

export const OWN_VIDEO_NOTE = note("Your own video", `1. Load it in *Reference video*.
2. Right-click the title of **one** of the two groups, *Set Group Nodes to Always*: BiRefNet cuts out whoever is in front,
MediaPipe a face alone. Both models come from Comfy-Org; the frontend offers to load them.
3. Bypass *Cut out by the mask video* (select it, Ctrl+B): it belongs to the sample.

Masks of your own, one for each picture: load them as a video in *Mask video*.`, 340);
