// Open the browser and an empty page in it: node tests/frontend/can_open.mjs
import { withBrowser } from "./browser.mjs";

await withBrowser(async (page) => page.goto("about:blank"));
console.log("opened");
