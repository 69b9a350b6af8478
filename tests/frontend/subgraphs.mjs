// Subgraph blueprints from workflows/api: node tests/frontend/subgraphs.mjs URL OUT_FOLDER [--use]
//
// URL is a running ComfyUI with this pack; `python tests/run_comfy.py --subgraphs` starts one and calls this. The real
// frontend loads the nodes of a blueprint (blueprints.mjs), makes a subgraph of them and serializes it; then come ids that
// no build changes, and whose each node is.
// With --use every blueprint that the server has is then put into its workflow (using.mjs). Prints one line of JSON:
// {NAME: { workflow, prompt }}.
import fs from "node:fs";
import path from "node:path";
import { apiGraph, load, numbered, whose } from "./api.mjs";
import { BLUEPRINTS } from "./blueprints.mjs";
import { forget, openFrontend, withFrontend } from "./browser.mjs";
import { used } from "./using.mjs";

const GAP = 60;

/** The nodes of a blueprint as an API graph, without what comes to them from outside. */
function inside({ workflow, nodes, given }) {
  const api = apiGraph(workflow);
  const stays = ([, value]) => !Array.isArray(value) || nodes.includes(value[0]);
  return Object.fromEntries(nodes.map((key) => {
    const inputs = Object.fromEntries(Object.entries(api[key].inputs).filter(stays));
    return [key, { ...api[key], inputs: { ...inputs, ...given[key] } }];
  }));
}

/** Runs in the page: make a subgraph of all nodes, join its inputs and outputs, and serialize the graph. */
function wrapped([name, { inputs, outputs }, numbers, gap]) {
  const { graph } = window.app;
  const titles = {};
  let left = 0;
  for (const [key, number] of Object.entries(numbers)) {
    const node = graph.getNodeById(number);
    [titles[key], node.title, node.pos] = [node.title, key, [left, 0]];
    left += node.size[0] + gap;
  }
  const { subgraph, node: outer } = graph.convertToSubgraph(new Set(graph.nodes));
  const join = (slots, add) => {
    const made = {};
    for (const [label, key, wanted] of slots) {
      const node = subgraph.nodes.find((one) => one.title === key);
      const slot = [...node[add === "addInput" ? "inputs" : "outputs"]].find((one) => one.name === wanted);
      made[label] ??= subgraph[add](label, String(slot.type));
      made[label].connect(slot, node);
    }
  };
  join(inputs, "addInput");
  join(outputs, "addOutput");
  for (const node of subgraph.nodes) node.title = titles[node.title];
  subgraph.name = outer.title = name;
  subgraph.inputNode.pos = [-gap - subgraph.inputNode.size[0], 0];
  subgraph.outputNode.pos = [left, 0];
  outer.pos = [0, 0];
  outer.setSize(outer.computeSize());
  return graph.serialize();
}

/** The serialized graph with ids, properties and everything that would change from one build to the next fixed. */
function finished(ui, { id, description, aliases, category }) {
  const [subgraph] = ui.definitions.subgraphs;
  let slots = 0;
  for (const slot of [...subgraph.inputs, ...subgraph.outputs]) {
    slots += 1;
    slot.id = `${id.slice(0, -4)}${(0x1000 + slots).toString(16)}`;
  }
  for (const node of subgraph.nodes) {
    node.pos = node.pos.map(Math.round);
    node.size = [...node.size].map(Math.round);
    Object.assign(node.properties, whose(node.type));
  }
  Object.assign(subgraph, { id, description, category, revision: 0, extra: {} });
  ui.nodes[0].type = id;
  ui.nodes[0].size = [...ui.nodes[0].size].map(Math.round);
  return { ...ui, id, revision: 0, extra: { BlueprintDescription: description, BlueprintSearchAliases: aliases } };
}

async function build(page, name, target) {
  const blueprint = BLUEPRINTS[name];
  const { graph, numbers } = numbered(inside(blueprint));
  await load(page, graph, name);
  const ui = await page.evaluate(wrapped, [name, blueprint, numbers, GAP]);
  fs.writeFileSync(path.join(target, `${name}.json`), JSON.stringify(finished(ui, blueprint), null, 1) + "\n");
}

const [url, target, use] = process.argv.slice(2);
fs.mkdirSync(target, { recursive: true });
await withFrontend(url, async (page) => {
  const seen = {};
  for (const name of Object.keys(BLUEPRINTS)) await build(page, name, target);
  await forget(page);
  for (const name of use ? Object.keys(BLUEPRINTS) : []) {
    await openFrontend(page, url);  // a second double click, with a node placed, opens no search
    seen[name] = await used(page, name);
  }
  console.log(JSON.stringify(seen));
});
