// Paint a stroke over the middle of a picture in the Mask Editor of Load Reference, as a user does, and save.
//   node tests/frontend/paint.mjs URL PICTURE
// Prints the name that the node has for the picture then.
import { settle, withFrontend } from "./browser.mjs";

const [url, picture] = process.argv.slice(2);

async function open(page) {
  await page.evaluate((name) => {
    const { graph, canvas } = window.app;
    graph.clear();
    const node = window.LiteGraph.createNode("RefVidLoadReference");
    graph.add(node);
    const image = node.widgets.find((widget) => widget.name === "image");
    image.value = name;
    image.callback(name);
    canvas.selectNode(node);
  }, picture);
  await page.waitForFunction(() => window.app.graph.nodes[0].imgs?.length);
  await page.evaluate(() => window.app.extensionManager.command.execute("Comfy.MaskEditor.OpenMaskEditor"));
}

async function stroke(page) {
  const save = page.locator("button:visible", { hasText: /^\s*Save\s*$/ }).last();
  await save.waitFor();
  await settle(page, 1500);
  const { width, height } = page.viewportSize();
  await page.mouse.move(width / 2 - 150, height / 2);
  await page.mouse.down();
  await page.mouse.move(width / 2 + 50, height / 2, { steps: 20 });
  await page.mouse.up();
  await settle(page);
  await save.click();
}

await withFrontend(url, async (page) => {
  await open(page);
  await stroke(page);
  const changed = await page.waitForFunction((before) => {
    const { value } = window.app.graph.nodes[0].widgets.find(({ name }) => name === "image");
    return value !== before && value;
  }, picture);
  console.log(await changed.jsonValue());
});
