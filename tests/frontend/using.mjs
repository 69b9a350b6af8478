// A blueprint put into the workflow that it was made of, in place of its nodes, as a user does: found by the node search.
import { apiGraph, load, numbered } from "./api.mjs";
import { BLUEPRINTS } from "./blueprints.mjs";
import { settle } from "./browser.mjs";

/** Double click beside the nodes, type the name, take the first hit. */
async function searched(page, name) {
  await page.evaluate(() => { window.app.canvas.ds.offset = [1e5, 1e5]; });
  await settle(page, 100);
  const canvas = await page.locator("#graph-canvas").boundingBox();
  await page.mouse.dblclick(canvas.x + canvas.width / 2, canvas.y + canvas.height / 2);
  const search = page.locator("input:focus");
  await search.fill(name);
  await settle(page, 500);  // it waits for the end of the typing
  await page.keyboard.press("Enter");
  await page.waitForFunction((wanted) => window.app.graph.nodes.some((node) => node.title === wanted), name);
}

/** Runs in the page: join the blueprint's node as its nodes were joined and set, and take these away. */
function replaced([name, { nodes, inputs, outputs }, numbers]) {
  const { graph } = window.app;
  const outer = graph.nodes.find((node) => node.title === name);
  const slot = (slots, wanted) => slots.findIndex((one) => one.name === wanted);
  for (const [label, key, wanted] of inputs) {
    const node = graph.getNodeById(numbers[key]);
    const at = slot(node.inputs, wanted);
    const link = graph.getLink(node.inputs[at].link);
    if (link) graph.getNodeById(link.origin_id).connect(link.origin_slot, outer, slot(outer.inputs, label));
    const widget = node.widgets?.find((one) => one.name === wanted);
    if (widget) outer.widgets.find((one) => one.name === label).value = widget.value;
  }
  for (const [label, key, wanted] of outputs) {
    const node = graph.getNodeById(numbers[key]);
    for (const id of [...(node.outputs[slot(node.outputs, wanted)].links ?? [])]) {
      const { target_id, target_slot } = graph.getLink(id);
      outer.connect(slot(outer.outputs, label), graph.getNodeById(target_id), target_slot);
    }
  }
  for (const key of nodes) graph.remove(graph.getNodeById(numbers[key]));
  return window.app.graphToPrompt().then(({ output }) => output);
}

/** What Run would send of the workflow with the blueprint in it. */
export async function used(page, name) {
  const blueprint = BLUEPRINTS[name];
  const { graph, numbers } = numbered(apiGraph(blueprint.workflow));
  await load(page, graph, name);
  await searched(page, name);
  return { workflow: blueprint.workflow, prompt: await page.evaluate(replaced, [name, blueprint, numbers]) };
}
