// Drop workflows on the canvas as a user does, one after the other; look at each, press Run.
//   node tests/frontend/run_workflow.mjs URL OUT_FOLDER WORKFLOW.json... --look WORKFLOW.json...
// Those after --look are not run.
// Writes NAME.png and NAME-vue.png (loaded) and NAME-done.png (after the run) into OUT_FOLDER, and prints one line of JSON: {NAME: seen}.
import fs from "node:fs";
import path from "node:path";
import { drawnAs, settle, withFrontend } from "./browser.mjs";
import { arrived, crowded, look, run } from "./graph.mjs";

const BYPASS = 4;

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
  await page.locator(".litemenu-entry", { hasText: "Set Group Nodes to Always" }).click();
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

/** One workflow, from the drop to the end of its run where it is run. Its fixed id tells its graph from the one before. */
async function visit(page, errors, file, runs) {
  const name = path.basename(file, ".json");
  const shot = (suffix = "") => page.screenshot({ path: path.join(out, `${name}${suffix}.png`) });
  errors.length = 0;
  await drop(page, file);
  await arrived(page, JSON.parse(fs.readFileSync(file, "utf8")));
  await settle(page);
  await page.evaluate(() => window.app.extensionManager.command.execute("Comfy.Canvas.FitView"));
  await settle(page);
  await shot();
  const seen = await page.evaluate(look);
  seen.scale = await page.evaluate(() => window.app.canvas.ds.scale);
  seen.crowded = { classic: await page.evaluate(crowded) };
  await drawnAs(page, "Vue");
  await shot("-vue");
  seen.crowded.vue = await page.evaluate(crowded);
  await drawnAs(page, "classic");
  if (!runs) return [name, { ...seen, errors: [...errors] }];
  const entry = await run(page, url);
  await settle(page, 1500);
  await shot("-done");
  seen.crowded.after = await page.evaluate(crowded);
  seen.enabled = await enabled(page);
  return [name, { ...seen, status: entry.status, outputs: entry.outputs, errors: [...errors] }];
}

const [url, out, ...files] = process.argv.slice(2);
const looked = files.splice(files.indexOf("--look")).slice(1);
fs.mkdirSync(out, { recursive: true });
await withFrontend(url, async (page, errors) => {
  const visits = [];
  for (const file of files) visits.push(await visit(page, errors, file, true));
  for (const file of looked) visits.push(await visit(page, errors, file, false));
  console.log(JSON.stringify(Object.fromEntries(visits)));
});
