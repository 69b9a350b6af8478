// What a subgraph blueprint holds: nodes of a workflow in workflows/api, by their keys there; its inputs and outputs by
// [name, node, socket or widget]. Several of one name are one input.
const CONDITIONED = ["model", "low_noise_model", "positive", "negative"];
const through = (node) => CONDITIONED.map((name) => [name, node, name]);

export const BLUEPRINTS = {
  "Masked reference": {
    id: "0b6f3a51-5c0e-4f3f-9a55-6d1c7a2e9b01",
    workflow: "masked_reference_to_video",
    nodes: ["reference", "apply"],
    description: "A picture, and a mask of its subject, as a reference of the video. Join its outputs to a guider or sampler.",
    aliases: ["reference image", "masked reference", "subject", "refvid"],
    category: "refvid/references",
    inputs: [
      ["image", "reference", "image"], ["mask", "reference", "mask"], ...through("apply"), ["vae", "apply", "vae"],
      ["latent", "apply", "latent"], ["mask_marks", "reference", "mask_marks"], ["strength", "reference", "strength"],
    ],
    outputs: through("apply"),
    given: { reference: { mask_marks: "auto" } },
  },
  "Identity from a video": {
    id: "0b6f3a51-5c0e-4f3f-9a55-6d1c7a2e9b02",
    workflow: "identity_from_video",
    nodes: ["outside", "cut_out", "adapter", "encode", "identity"],
    description: "The identity of who is white in the masks, read from a video's pictures by a Slot-ID adapter. Join its " +
      "outputs to a guider or sampler.",
    aliases: ["slot-id", "identity", "person", "refvid"],
    category: "refvid/identity",
    inputs: [
      ["images", "cut_out", "image"], ["mask", "outside", "mask"], ...through("identity"), ["vae", "encode", "vae"],
      ["adapter", "adapter", "adapter"], ["strength", "identity", "strength"],
    ],
    outputs: [...through("identity"), ["identity", "encode", "identity"], ["routing", "encode", "routing"]],
    given: {},
  },
};
