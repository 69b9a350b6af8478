// Nodes that find the subject in pictures of one's own, bypassed until they are wanted.
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

export const MASKING = {
  ...backgroundRemoval(["pictures", 0]),
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
};

export const MASKING_MODELS = {
  birefnet: BIREFNET_MODEL,
  face_model: [{ name: "mediapipe_face_fp32.safetensors", url: FACE, directory: "detection" }],
};

/** Places of the nodes, of their group and of its note, from a corner. */
export function maskingAt(left, top) {
  return {
    places: {
      birefnet: [left, top, 300],
      remove: [left + 340, top, 280],
      face_model: [left, top + 120, 300],
      landmarks: [left + 340, top + 120, 300],
      face_mask: [left + 680, top + 120, 280],
    },
    group: { title: "Mask of your own video (bypassed)", place: [left - 20, top - 80, 1340, 370], color: "#a1309b" },
    note: {
      title: "Off, unless you switch it on",
      text: `**Your own video:** load it in *Reference video*, right-click this group's title, *Set Group Nodes to Always*, and draw
the mask of **one** of the two rows to every input named *mask* that has the sample's; delete *Mask video*.

- *Remove Background* (BiRefNet): whoever is in front.
- *Draw Face Mask* (MediaPipe): a face alone.

Both models come from Comfy-Org; the frontend offers to load them.`,
      place: [left + 1000, top, 300, 230],
    },
  };
}
