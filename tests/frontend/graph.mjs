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

/** Runs in the page: what is wrong with the boxes as they are drawn now: nodes that overlap, nodes that a frame cuts, notes
 * whose text is cut off. */
export function crowded() {
  const { app, LiteGraph } = window;
  const box = ({ id, title, pos, size }) => {
    const drawn = document.querySelector(`[data-node-id="${id}"]`);
    const height = drawn ? drawn.offsetHeight - LiteGraph.NODE_TITLE_HEIGHT : size[1];
    return { title, left: pos[0], top: pos[1] - LiteGraph.NODE_TITLE_HEIGHT, right: pos[0] + size[0], bottom: pos[1] + height };
  };
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const holds = (a, b) => a.left <= b.left && a.top <= b.top && b.right <= a.right && b.bottom <= a.bottom;
  const nodes = app.graph.nodes.map(box);
  const frames = app.graph.groups.map(({ title, pos, size }) => ({
    title, left: pos[0], top: pos[1], right: pos[0] + size[0], bottom: pos[1] + size[1],
  }));
  const found = [];
  nodes.forEach((one, index) => {
    for (const other of nodes.slice(index + 1)) if (meet(one, other)) found.push(`${one.title} | ${other.title}`);
    for (const frame of frames) if (meet(one, frame) && !holds(frame, one)) found.push(`${frame.title} cuts ${one.title}`);
  });
  for (const { type, title, widgets } of app.graph.nodes) {
    const text = type === "MarkdownNote" && widgets[0].element?.querySelector(".ProseMirror");
    if (text && text.scrollHeight > text.clientHeight + 1) found.push(`the text of ${title} is cut off`);
  }
  return found;
}

/** The history entry that pressing Run leads to. It is asked for by the number of the prompt: others' entries may hold
 * NaN, which is no JSON. */
export async function run(page, url, button = page.locator('[data-testid="queue-button"]').first()) {
  const queued = page.waitForResponse((one) => one.url().endsWith("/prompt") && one.request().method() === "POST", {
    timeout: PATIENCE,
  });
  await Promise.all([queued, button.click()]);
  const { prompt_id: id, ...refused } = await (await queued).json();
  if (!id) throw new Error(`the prompt was refused: ${JSON.stringify(refused)}`);
  const deadline = Date.now() + PATIENCE;
  while (Date.now() < deadline) {
    const { [id]: entry } = await getJson(`${url}/history/${id}`);
    if (entry) return entry;
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
