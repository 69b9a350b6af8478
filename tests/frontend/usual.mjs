// Nodes that most workflows have, from top to bottom.
import { node } from "./boxes.mjs";

export const PROMPT = [node("positive_prompt", 300, 110), node("negative_prompt", 300, 90), "empty_video"];
export const VIDEO = ["decode", "video", "save"];
