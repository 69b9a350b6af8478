// What lies on the canvas, and pressing Run.
import { getJson } from "./browser.mjs";
import { PATIENCE } from "./patience.mjs";

/** Runs in the page: what of the loaded graph is missing, what the frontend says of it, and the prompt that Run would
 * send. */
export async function look() {
  const { app, LiteGraph } = window;
  const nodes = app.graph.nodes;
  const prompt = await app.graphToPrompt();
  const holes = [...app.graph.links.values()].filter(
    (link) => !app.graph.getNodeById(link.origin_id)?.outputs?.[link.origin_slot] ||
      !app.graph.getNodeById(link.target_id)?.inputs?.[link.target_slot],
  );
  return {
    nodes: nodes.length,
    missing: nodes.filter((node) => !LiteGraph.registered_node_types[node.type]).map((node) => node.type),
    marked: nodes.filter((node) => node.has_errors).map((node) => node.type),
    holes: holes.length,
    dialog: document.querySelector("[role=dialog], [data-testid=error-overlay]")?.innerText ?? null,
    prompt: prompt.output,
  };
}

/** The history entry that pressing Run leads to. */
export async function run(page, url) {
  const before = new Set(Object.keys(await getJson(`${url}/history`)));
  await page.locator('[data-testid="queue-button"]').first().click();
  const deadline = Date.now() + PATIENCE;
  while (Date.now() < deadline) {
    const history = await getJson(`${url}/history`);
    const fresh = Object.keys(history).find((key) => !before.has(key));
    if (fresh) return history[fresh];
    await page.waitForTimeout(100);
  }
  throw new Error(`no history entry ${PATIENCE / 1000} s after Run was pressed`);
}

/** Wait until the graph with this id is the one on the canvas, whole. */
export async function arrived(page, { id, nodes }) {
  await page.waitForFunction(
    ([wanted, count]) => window.app.graph.id === wanted && window.app.graph.nodes.length === count,
    [id, nodes.length],
  );
}
