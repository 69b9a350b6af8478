// What the workflows of public weights have in common: files that do not come with the pack, frames, notes.
import { frame, node, note, row } from "./boxes.mjs";

const HF = "https://huggingface.co";
const WAN = `${HF}/Comfy-Org/Wan_2.1_ComfyUI_repackaged/resolve/main/split_files`;

/** A file that the frontend offers to load; `sha256` where it is known here. */
export function file(url, directory, sha256) {
  const hash = sha256 ? { hash: sha256, hash_type: "SHA256" } : {};
  return { name: url.split("/").at(-1), url, ...hash, directory };
}

export const dit = (path, sha256) => file(`${HF}/${path}`, "diffusion_models", sha256);

export const UMT5 = file(
  `${WAN}/text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, "text_encoders",
  "c3355d30191f1f066b26d93fba017ae9809dce6c627dda5f6a66eaa651204f68",
);
export const VAE = file(
  `${WAN}/vae/wan_2.1_vae.safetensors`, "vae",
  "2fc39d31359a4b0a64f55876d8ff7fa8d780956ae2cb13463b0223e15148976b",
);

const link = (repository) => `[${repository}](${HF}/${repository})`;

/** Note of files: rows of [file, folder in models/, repository, size], what more there is, and their licence. */
export function filesNote(rows, more, licence) {
  const wan = "Comfy-Org/Wan_2.1_ComfyUI_repackaged";
  const all = [
    ...rows, ["umt5_xxl_fp8_e4m3fn_scaled", "text_encoders", wan, "6.7 GB"], ["wan_2.1_vae", "vae", wan, "0.25 GB"],
  ];
  const table = all.map(
    ([name, folder, from, size]) => `| \`${name}.safetensors\` | ${folder} | ${link(from)} | ${size} |`,
  );
  return `## Files

| file | folder in models/ | from | size |
|---|---|---|---|
${table.join("\n")}

${more}

**Licence**: ${licence} Text encoder and VAE: Apache-2.0. SHA-256 known here are in the nodes' properties; the others are
not known here.`;
}

export const FEW_STEPS = `A few-step LoRA at cfg 1, *KSampler* instead of the guider: that of LightX2V for T2V 14B
(${link("Kijai/WanVideo_comfy")}, \`Lightx2v/lightx2v_T2V_14B_cfg_step_distill_v2_lora_rank64_bf16.safetensors\`), 4 to 8
steps. Strength and regions act at cfg 1 too.`;

/** Note of memory and of what nobody knows: `gguf` says where a GGUF is, `fewer` how to take fewer steps. */
export function memoryNote({ gguf, fewer, unknown }) {
  return `## Less memory, fewer steps

These classes are **not measured**; ComfyUI moves to main memory what does not fit.

- **24 GB**: the graph as it is; fp8 weights (*weight_dtype* \`fp8_e4m3fn\` makes them of larger ones).
- **16 GB**: ${gguf} It goes into *Unet Loader (GGUF)* of ComfyUI-GGUF and *ModelSamplingSD3* with the same shift, beside
*Load CLIP* (type wan) and *Load VAE*, in place of *Load Wan Backbone*.
- **12 GB**: a smaller GGUF (Q3, Q4), fewer frames, and tiled decoding.
- ${fewer}

**Not known**: ${unknown} Nobody has run these weights with this pack yet; this note says so until somebody does.`;
}

/** Their notes: start, files, memory. */
export const notes = (start, files, memory) => [
  note("Start here", start, 540), note("Files", files, 540), note("Less memory, fewer steps", memory, 540),
];

const PROMPT = [node("positive_prompt", 380, 230), node("negative_prompt", 380, 130)];

/** Frame of the prompt, and of what says size and length. */
export const prompt = (...size) => frame("2 Prompt and size", "prompt", ...PROMPT, ...size);

export const PICTURES = frame(
  "3 References", "given", row(["first_picture", "first"], ["second_picture", "second"]),
);

export const HELP = "Each node has a help page: select it and press **i** (Node Info) above it.";
