// What a user reads and finds: nodes by the words that they type, texts on nodes, numbers as they were typed.
//   node tests/frontend/speak.mjs URL ASKED.json       {words: [...], graphs: {name: API graph}, typed: {node: {input: number}}}
// Prints one line of JSON: {found: {word: [node, ...]}, drawn: {name: {node type: text}}, kept: {node: {input: number}},
// people: {faces: [name, whether its picture is there], chosen: the file that a click on the last one sends}}.
import fs from "node:fs";
import { settle, withFrontend } from "./browser.mjs";
import { run } from "./graph.mjs";

const TEXT = "$$node-text-preview";

/** Nodes in the order of the search box; its search runs on the store of node definitions. */
const find = (words) => {
  const { $pinia } = document.querySelector("#vue-app").__vue_app__.config.globalProperties;
  const search = $pinia._s.get("nodeDef").nodeSearchService;
  return Object.fromEntries(words.map((word) => [word, search.searchNode(word, [], { limit: 64 }).map((one) => one.name)]));
};

/** Runs a graph; texts that its nodes show then, by their types. */
async function draw(page, url, graph) {
  await page.evaluate((api) => window.app.loadApiJson(api, "graph"), graph);
  await settle(page);
  await run(page, url);
  await settle(page);
  return page.evaluate((name) => {
    const texts = window.app.graph.nodes.map((node) => [node.type, node.widgets?.find((one) => one.name === name)?.value]);
    return Object.fromEntries(texts.filter(([, text]) => text));
  }, TEXT);
}

/** Numbers that widgets make of what is typed, read back from the prompt that Run would send. */
const type = async (typed) => {
  const { app, LiteGraph } = window;
  app.graph.clear();
  for (const [type, values] of Object.entries(typed)) {
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    for (const [name, value] of Object.entries(values)) {
      const widget = node.widgets.find((one) => one.name === name);
      widget.value = value;
      widget.callback(value);
    }
  }
  const { output } = await app.graphToPrompt(app.graph);
  const sent = Object.values(output).map((one) => [one.class_type, one.inputs]);
  return Object.fromEntries(sent.map(([type, inputs]) => [type, Object.fromEntries(Object.keys(typed[type]).map((n) => [n, inputs[n]]))]));
};

/** The people that Load Identity shows, and the one that a click on the last chooses. */
async function pick(page) {
  await page.evaluate(() => {
    window.app.graph.clear();
    window.app.graph.add(window.LiteGraph.createNode("RefVidLoadIdentity"));
  });
  await settle(page);
  const faces = await page.$$eval("img[title*='.safetensors']", (all) => all.map((one) => [one.title, one.naturalWidth > 0]));
  await page.locator("img[title*='.safetensors']").last().dispatchEvent("click");
  const sent = await page.evaluate(async () => (await window.app.graphToPrompt(window.app.graph)).output);
  return { faces, chosen: Object.values(sent)[0].inputs.file };
}

const [url, asked] = process.argv.slice(2);
const { words, graphs, typed } = JSON.parse(fs.readFileSync(asked, "utf8"));
await withFrontend(url, async (page) => {
  const said = { found: await page.evaluate(find, words), kept: await page.evaluate(type, typed), drawn: {}, people: await pick(page) };
  for (const [name, graph] of Object.entries(graphs)) said.drawn[name] = await draw(page, url, graph);
  console.log(JSON.stringify(said));
});
