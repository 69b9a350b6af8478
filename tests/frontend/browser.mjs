// A headless Chromium with ComfyUI's own frontend open. playwright-core comes from the current folder or NODE_PATH.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { createRequire } from "node:module";
import { OPENING } from "./boxes.mjs";
import { PATIENCE } from "./patience.mjs";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

const [width, height] = OPENING.window;
// The first-run dialogs off, which would lie over the canvas; nodes on the canvas, as they are where nobody chose.
export const SETTINGS = {
  "Comfy.TutorialCompleted": true, "Comfy.Release.Status": "skipped", "Comfy.VueNodes.Enabled": false,
  "LiteGraph.Canvas.MinFontSizeForLOD": 8,
};

/** Open the browser, call `use(page, errors)`, close. `errors` collects what the page logs as errors. */
export async function withBrowser(use) {
  const { chromium } = createRequire(process.cwd() + path.sep)("playwright-core");
  const executablePath = process.env.CHROMIUM || CHROMIUM.find((file) => fs.existsSync(file));
  if (!executablePath) throw new Error("no Chromium found; name it with CHROMIUM=/path/to/chromium");
  const profile = fs.mkdtempSync(path.join(os.tmpdir(), "refvid-browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath, headless: true, viewport: { width, height }, args: FLAGS, timeout: PATIENCE,
  });
  context.setDefaultTimeout(PATIENCE);
  try {
    const page = context.pages()[0] ?? (await context.newPage());
    const errors = [];
    page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
    page.on("pageerror", (error) => errors.push(`uncaught: ${error}`));
    return await use(page, errors);
  } finally {
    await context.close();
    fs.rmSync(profile, { recursive: true, force: true });
  }
}

/** Open the frontend at `url`, call `use(page, errors)`, close. */
export function withFrontend(url, use, settings = SETTINGS) {
  return withBrowser(async (page, errors) => {
    await post(`${url}/api/settings`, settings);
    await openFrontend(page, url);
    return use(page, errors);
  });
}

/** Let every frontend that this page opens from now on find nothing kept of what was open before. */
export async function forget(page) {
  await page.addInitScript(() => {
    if (!location.protocol.startsWith("http")) return;  // the empty page has no storage
    localStorage.clear();
    sessionStorage.clear();
  });
}

/** Load the frontend anew; where it forgets (`forget`), with nothing kept of what was open before. */
export async function openFrontend(page, url) {
  await page.goto("about:blank");
  await page.goto(url, { waitUntil: "domcontentloaded" });
  await ready(page);
}

async function ready(page) {
  await page.waitForFunction(
    () => window.app?.extensionManager && window.app.graph && window.LiteGraph?.registered_node_types?.RefVidReference,
  );
  await settle(page);
}

/** Runs in the page: until two more frames are drawn. */
const drawn = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));

/** Wait until the frontend has nothing more to draw: its own layout runs in animation frames, and letters of a font that
 * comes late are of another width. */
export async function settle(page, milliseconds = 800) {
  await page.evaluate(drawn);
  await page.evaluate(() => document.fonts.ready.then(() => {}));
  await page.waitForTimeout(milliseconds);
  await page.evaluate(drawn);  // where the machine is busy, no frame may have come in between
}

/** Draw nodes as "classic" (LiteGraph's canvas) or as "Vue" (Nodes 2.0) does, and wait until none grows any more. */
export async function drawnAs(page, way) {
  await page.evaluate((vue) => window.app.extensionManager.setting.set("Comfy.VueNodes.Enabled", vue), way === "Vue");
  await still(page);
}

/** Wait until nodes have had the same sizes for a while. */
async function still(page) {
  const sizes = () => JSON.stringify(window.app.graph.nodes.map(({ id, size }) => [id, ...size]));
  for (let before = null, same = 0; same < 3;) {
    await page.waitForTimeout(100);
    await page.evaluate(drawn);  // a busy machine draws late
    const now = await page.evaluate(sizes);
    same = now === before ? same + 1 : 0;
    before = now;
  }
}

export async function getJson(url) {
  return (await fetch(url)).json();
}

async function post(url, value) {
  await fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(value) });
}
