// Workflows for the canvas from their API twins: node tests/frontend/from_api.mjs URL OUT_FOLDER [NAME...]
//
// URL is a running ComfyUI with this pack; `python tests/run_comfy.py --ui-workflows` starts one and calls this. Every
// layout_NAME.mjs beside this file makes OUT_FOLDER/NAME.json from workflows/api/NAME.json in four steps:
//   1. the API graph gets the layout's bypassed nodes, and numbers for names (the canvas counts its nodes)
//   2. the real frontend loads it (loadApiJson), so that sockets, widgets and their order are the frontend's own
//   3. in the frontend: titles, bypass, colours, notes, frames, and places that follow from measured sizes (arranging.mjs)
//   4. in what it serializes: whose node it is (cnr_id, ver), where model files that do not come with the pack are found,
//      what app mode shows (linearData), a fixed id and view
import fs from "node:fs";
import path from "node:path";
import { apiGraph, HERE, load, numbered, whose } from "./api.mjs";
import { arranged } from "./arranging.mjs";
import { view } from "./boxes.mjs";
import { forget, openFrontend, SETTINGS, withFrontend } from "./browser.mjs";
import { appMode } from "./tasks.mjs";

// What a layout leaves out: nothing bypassed, nothing wired otherwise than in the API twin, no models but the shipped.
const USUAL = { bypassed: {}, rewired: {}, models: {} };

/** The serialized graph with properties and everything that would change from one build to the next fixed. */
function finished(ui, layout, { graph, numbers }, linearData) {
  const models = new Map(Object.entries(layout.models).map(([name, files]) => [numbers[name], files]));
  for (const node of ui.nodes) {
    node.title ??= graph[node.id]._meta.title;  // left out where it is the display name, which may change
    node.pos = node.pos.map(Math.round);
    node.size = [...node.size].map(Math.round);
    Object.assign(node.properties, whose(node.type));
    if (models.has(node.id)) node.properties.models = models.get(node.id);
  }
  ui.nodes.sort((a, b) => a.id - b.id);
  return { ...ui, id: layout.id, revision: 0, extra: { ds: view(ui.nodes), linearData } };
}

async function build(page, name, target) {
  const layout = { ...USUAL, ...(await import(`./layout_${name}.mjs`)).default };
  const api = apiGraph(name);
  const named = numbered(api, layout);
  await load(page, named.graph, name);
  const ui = await arranged(page, layout.boxes, { ...named, bypassed: layout.bypassed });
  const file = path.join(target, `${name}.json`);
  fs.writeFileSync(file, JSON.stringify(finished(ui, layout, named, appMode(api, named.numbers)), null, 1) + "\n");
  console.log(`${file}: ${ui.nodes.length} nodes`);
}

const [url, target, ...only] = process.argv.slice(2);
const names = fs.readdirSync(HERE).map((file) => /^layout_(.+)\.mjs$/.exec(file)?.[1]).filter(Boolean)
  .filter((name) => !only.length || only.includes(name));
const browsers = [0, 1].map((turn) => names.filter((_, index) => index % 2 === turn));
await Promise.all(browsers.map((own) => withFrontend(url, async (page) => {
  await forget(page);
  for (const name of own) {
    await openFrontend(page, url);  // its widgets remember values by the number of their node, from graph to graph
    await build(page, name, target);
  }
}, { ...SETTINGS, "LiteGraph.Canvas.MinFontSizeForLOD": 0 })));  // text is there to be measured however small it is
