// Drop workflows on the canvas as a user does, one after the other; look at each, press Run.
//   node tests/frontend/run_workflow.mjs URL OUT_FOLDER WORKFLOW.json...
// Writes NAME.png (loaded) and NAME-done.png (after the run) into OUT_FOLDER, and prints one line of JSON: {NAME: seen}.
import fs from "node:fs";
import path from "node:path";
import { getJson, settle, withFrontend } from "./browser.mjs";

const BYPASS = 4;
const TIMEOUT = 120000;

/** Runs in the page: what of the loaded graph is missing, and the prompt that Run would send. */
async function look() {
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
    dialog: document.querySelector("[role=dialog]")?.innerText ?? null,
    prompt: prompt.output,
  };
}

/** What Run would send after the first bypassed group was switched on as its note says: two clicks. */
async function enabled(page) {
  const at = await page.evaluate((bypass) => {
    const { graph, canvas } = window.app;
    const group = graph.groups.find((one) => {
      one.recomputeInsideNodes();
      return [...one.nodes].some((node) => node.mode === bypass);
    });
    return group && [0, 1].map((axis) => (group.pos[axis] + [60, 15][axis] + canvas.ds.offset[axis]) * canvas.ds.scale);
  }, BYPASS);
  if (!at) return null;
  const canvas = await page.locator("#graph-canvas").boundingBox();
  await page.mouse.click(canvas.x + at[0], canvas.y + at[1], { button: "right" });
  await page.locator(".litemenu-entry", { hasText: "Set Group Nodes to Always" }).click({ timeout: 10000 });
  return page.evaluate(async () => (await window.app.graphToPrompt()).output);
}

async function drop(page, file) {
  const data = await page.evaluateHandle(([text, name]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([text], name, { type: "application/json" }));
    return transfer;
  }, [fs.readFileSync(file, "utf8"), path.basename(file)]);
  await page.dispatchEvent("#graph-canvas", "drop", { dataTransfer: data });
}

/** The history entry that pressing Run leads to. */
async function run(page, url) {
  const before = new Set(Object.keys(await getJson(`${url}/history`)));
  await page.locator('[data-testid="queue-button"]').first().click();
  const deadline = Date.now() + TIMEOUT;
  while (Date.now() < deadline) {
    const history = await getJson(`${url}/history`);
    const fresh = Object.keys(history).find((key) => !before.has(key));
    if (fresh) return history[fresh];
    await page.waitForTimeout(100);
  }
  throw new Error(`no history entry ${TIMEOUT / 1000} s after Run was pressed`);
}

/** One workflow, from the drop to the end of its run. Its fixed id tells its graph from the one before. */
async function visit(page, errors, file) {
  const name = path.basename(file, ".json");
  const shot = (suffix = "") => page.screenshot({ path: path.join(out, `${name}${suffix}.png`) });
  errors.length = 0;
  await drop(page, file);
  const { id, nodes } = JSON.parse(fs.readFileSync(file, "utf8"));
  await page.waitForFunction(
    ([wanted, count]) => window.app.graph.id === wanted && window.app.graph.nodes.length === count,
    [id, nodes.length], { timeout: TIMEOUT },
  );
  await settle(page);
  await page.evaluate(() => window.app.extensionManager.command.execute("Comfy.Canvas.FitView"));
  await settle(page);
  await shot();
  const seen = await page.evaluate(look);
  const entry = await run(page, url);
  await settle(page, 1500);
  await shot("-done");
  seen.enabled = await enabled(page);
  return [name, { ...seen, status: entry.status, outputs: entry.outputs, errors: [...errors] }];
}

const [url, out, ...files] = process.argv.slice(2);
fs.mkdirSync(out, { recursive: true });
await withFrontend(url, async (page, errors) => {
  const visits = [];
  for (const file of files) visits.push(await visit(page, errors, file));
  console.log(JSON.stringify(Object.fromEntries(visits)));
});
