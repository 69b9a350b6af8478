// The shipped model's files, as the loader node names them.
const MODELS = "https://github.com/refvid/refvid/raw/main/demo/models";

const demo = (name, directory) => ({ name, url: `${MODELS}/${name}`, directory });

export const DEMO_MODELS = [
  demo("refvid_demo_dit.safetensors", "diffusion_models"),
  demo("refvid_demo_text_encoder.safetensors", "text_encoders"),
  demo("refvid_demo_vae.safetensors", "vae"),
];

export const ADAPTER = [demo("refvid_demo_slot_id.safetensors", "loras")];
export const EDITING_ADAPTER = [demo("refvid_demo_sama.safetensors", "loras")];
export const VIDEOMAKER_ADAPTER = [demo("refvid_demo_videomaker.safetensors", "loras")];

export const RECIPES = `*Apply References > recipe* is \`auto\` for the demo model; \`saber\`, \`phantom\`, \`bernini\`,
\`videomaker\`, \`videomaker_shared\` or \`videomaker_no_text\` where the file does not say.`;
