// Open a template in app mode, and run it there: node tests/frontend/app_mode.mjs URL OUT_FOLDER WORKFLOW.json
// Writes NAME-app.png into OUT_FOLDER, and prints one line of JSON: { asked, status, outputs, shown }.
import fs from "node:fs";
import path from "node:path";
import { settle, withFrontend } from "./browser.mjs";
import { arrived, run } from "./graph.mjs";
import { BY_ITSELF } from "./patience.mjs";

const [url, out, file] = process.argv.slice(2);
const name = path.basename(file, ".json");

const workflow = JSON.parse(fs.readFileSync(file, "utf8"));
const id = crypto.randomUUID();  // tells its tab from those of others
fs.mkdirSync(out, { recursive: true });
await withFrontend(url, async (page) => {
  await page.evaluate(([graph, title]) => window.app.loadGraphData(graph, true, true, title), [{ ...workflow, id }, name]);
  await arrived(page, { ...workflow, id });
  await page.evaluate(() => window.app.extensionManager.command.execute("Comfy.ToggleLinear"));
  const asked = await page.getByTestId("builder-widget-label").allInnerTexts();
  const tour = page.getByRole("button", { name: "Skip" });
  await tour.click({ timeout: BY_ITSELF }).catch(() => {});
  const { status, outputs } = await run(page, url, page.getByTestId("linear-run-button-icon"));
  const video = page.getByTestId("linear-center-panel").locator("video").first();
  await video.waitFor();
  await settle(page);
  await page.screenshot({ path: path.join(out, `${name}-app.png`) });
  console.log(JSON.stringify({ asked, status, outputs, shown: await video.evaluate((one) => one.currentSrc || one.src) }));
});
