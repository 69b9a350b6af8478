// Open templates as somebody does who has just installed the pack, and run the first.
//   node tests/frontend/open_templates.mjs URL OUT_FOLDER PACK FIRST OTHER...
// FIRST is chosen in the template browser and run as it is; the others are loaded as the template browser loads them.
// Writes templates.png, FIRST.png (opened) and FIRST-done.png (after the run) into OUT_FOLDER, and prints one line of
// JSON: {NAME: seen}.
import fs from "node:fs";
import path from "node:path";
import { getJson, settle, withFrontend } from "./browser.mjs";
import { arrived, look, run } from "./graph.mjs";
import { BY_ITSELF } from "./patience.mjs";

const [url, out, pack, first, ...others] = process.argv.slice(2);
const template = (name) => getJson(`${url}/api/workflow_templates/${pack}/${name}.json`);
const shot = (page, name) => page.screenshot({ path: path.join(out, `${name}.png`) });

/** One template through the template browser, which opens by itself at the very first visit. */
async function choose(page, name) {
  const dialog = page.getByRole("dialog");
  await dialog.waitFor({ timeout: BY_ITSELF }).catch(
    () => page.evaluate(() => window.app.extensionManager.command.execute("Comfy.BrowseTemplates")),
  );
  await dialog.getByText(pack, { exact: true }).first().click();
  const card = dialog.locator(`[data-testid="template-workflow-${name}"]`);
  await card.scrollIntoViewIfNeeded();
  await shot(page, "templates");
  await card.click();
  await arrived(page, await template(name));
  await settle(page);
}

async function load(page, name) {
  const workflow = await template(name);
  await page.evaluate(([graph, title]) => window.app.loadGraphData(graph, true, true, title), [workflow, name]);
  await arrived(page, workflow);
  await settle(page, 400);
}

fs.mkdirSync(out, { recursive: true });
await withFrontend(url, async (page, errors) => {
  await choose(page, first);
  await shot(page, first);
  const opened = await page.evaluate(look);
  const { status, outputs } = opened.dialog ? { status: {}, outputs: {} } : await run(page, url);
  await settle(page, 1500);
  await shot(page, `${first}-done`);
  const seen = { [first]: { ...opened, status, outputs, after: (await page.evaluate(look)).dialog } };
  for (const name of others) {
    await load(page, name);
    seen[name] = await page.evaluate(look);
  }
  console.log(JSON.stringify({ seen, errors }));
}, {});
