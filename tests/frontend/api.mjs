// Graphs of workflows/api on the canvas of a real frontend, and whose a node is.
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { settle } from "./browser.mjs";

export const HERE = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.join(HERE, "../..");
/** The graph workflows/api/NAME.json. */
export const apiGraph = (name) => JSON.parse(fs.readFileSync(path.join(ROOT, "workflows/api", `${name}.json`), "utf8"));
const PROJECT = fs.readFileSync(path.join(ROOT, "pyproject.toml"), "utf8");
const said = (pattern) => pattern.exec(PROJECT)[1];
// Whose a node is, and from which version on: of ComfyUI the oldest that the pack supports, which no build changes.
const OURS = { cnr_id: "refvid", ver: said(/^version = "(.+)"/m) };
const CORE = { cnr_id: "comfy-core", ver: said(/^requires-comfyui = ">=(.+)"/m) };
const NOTE = "MarkdownNote";  // the frontend's own, of no pack
export const whose = (type) => (type === NOTE ? {} : type.startsWith("RefVid") ? OURS : CORE);

/** API graph and layout -> { graph with numbers for names, numbers by name }. */
export function numbered(api, { bypassed = {}, rewired = {} } = {}) {
  const named = structuredClone({ ...api, ...bypassed });
  for (const [name, inputs] of Object.entries(rewired)) Object.assign(named[name].inputs, inputs);
  const numbers = Object.fromEntries(Object.keys(named).map((name, index) => [name, index + 1]));
  const graph = {};
  for (const [name, node] of Object.entries(named)) {
    for (const [input, value] of Object.entries(node.inputs)) {
      if (Array.isArray(value)) node.inputs[input] = [String(numbers[value[0]]), value[1]];
    }
    graph[numbers[name]] = node;
  }
  return { graph, numbers };
}

/** Load a graph onto the canvas. Where the machine is busy, the frontend's own first workflow may come after it. */
export async function load(page, graph, name) {
  const ids = Object.keys(graph).map(Number);
  for (let attempt = 0; attempt < 5; attempt++) {
    await page.evaluate(async ([wanted, title]) => { await window.app.loadApiJson(wanted, title); }, [graph, name]);
    await settle(page);
    if (await page.evaluate((wanted) => wanted.every((id) => window.app.graph.getNodeById(id)), ids)) return;
  }
  throw new Error(`${name}: the frontend does not keep it on its canvas`);
}
