// Nodes of the graph on the canvas: dressed, measured in both of the frontend's ways to draw them, put at their places.
import { drawnAs, settle } from "./browser.mjs";
import { placed } from "./boxes.mjs";
import { COLOURS, SHOWING, TASKS } from "./tasks.mjs";

const BYPASS = 4;

/** Runs in the page: titles, bypass, colours, notes; everything as wide as it will be, and as low as it can be. */
function dress({ leaves, bypass }) {
  const { app, LiteGraph, LGraphCanvas } = window;
  for (const { id, title, text, across, bypassed, colour } of leaves) {
    const node = app.graph.getNodeById(id) ?? LiteGraph.createNode("MarkdownNote");
    if (text) {
      node.id = id;
      app.graph.add(node);
      node.widgets[0].value = text;
    } else {
      const { color, bgcolor } = LGraphCanvas.node_colors[colour];
      Object.assign(node, { color, bgcolor, mode: bypassed ? bypass : node.mode });
    }
    node.title = title;
    node.setSize([across, node.computeSize()[1]]);
    for (const widget of node.widgets ?? []) if (widget.name === "control_after_generate") widget.value = "fixed";
  }
  app.extensionManager.command.execute("Comfy.Canvas.FitView");
}

/** Runs in the page: the height that every node needs as it is drawn now. */
export function needed() {
  const hidden = (node) => {
    const text = node.type === "MarkdownNote" && node.widgets[0].element?.querySelector(".ProseMirror");
    return text ? text.scrollHeight - text.clientHeight : 0;
  };
  const height = (node) => Math.max(node.computeSize()[1], node.size[1] + hidden(node));
  return Object.fromEntries(window.app.graph.nodes.map((node) => [node.id, height(node)]));
}

/** Runs in the page: put nodes and frames at their places, serialize. */
function arrange({ leaves, frames }) {
  const { app, LiteGraph, LGraphCanvas } = window;
  for (const { id, place } of leaves) {
    const node = app.graph.getNodeById(id);
    node.pos = place.slice(0, 2);
    node.setSize(place.slice(2));
  }
  for (const { title, place, colour } of frames) {
    const group = new LiteGraph.LGraphGroup(title);
    group.pos = place.slice(0, 2);
    group.size = place.slice(2);
    group.color = LGraphCanvas.node_colors[colour].groupcolor;
    app.graph.add(group);
  }
  return app.graph.serialize();
}

/** What a leaf of the boxes is on the canvas: notes are counted on after the nodes. */
function described(leaf, across, { graph, numbers, bypassed }, notes) {
  if (leaf.note) return { id: Object.keys(numbers).length + notes.push(leaf), title: leaf.note, text: leaf.text, across };
  const id = numbers[leaf.key];
  const type = graph[id].class_type;
  if (!TASKS[type]) throw new Error(`${type}: what is it for? It stands in no task of tests/frontend/tasks.mjs`);
  const asked = leaf.height ?? SHOWING[type];
  return { id, title: graph[id]._meta.title, across, bypassed: leaf.key in bypassed, colour: COLOURS[TASKS[type]], asked };
}

/** Heights of leaves, by their numbers: what both ways to draw them need, and what they ask for. */
async function heights(page, leaves) {
  await settle(page, 300);
  const classic = await page.evaluate(needed);
  await drawnAs(page, "Vue");
  const vue = await page.evaluate(needed);
  await drawnAs(page, "classic");
  return Object.fromEntries(leaves.map(({ id, asked }) => [id, Math.ceil(Math.max(classic[id], vue[id], asked ?? 0))]));
}

/** The graph on the canvas, arranged in boxes and serialized. `named` has its `graph`, `numbers` and `bypassed`. */
export async function arranged(page, boxes, named) {
  const notes = [];
  const known = new Map();
  const describe = (leaf, across) => {
    if (!known.has(leaf.key ?? leaf)) known.set(leaf.key ?? leaf, described(leaf, across, named, notes));
    return known.get(leaf.key ?? leaf);
  };
  placed(boxes, (leaf, across) => (describe(leaf, across), 0));
  const leaves = [...known.values()];
  await page.evaluate(dress, { leaves, bypass: BYPASS });
  const high = await heights(page, leaves);
  const items = placed(boxes, (leaf) => high[known.get(leaf.key ?? leaf).id]);
  return page.evaluate(arrange, {
    leaves: items.filter(({ leaf }) => leaf).map(({ leaf, place }) => ({ id: known.get(leaf.key ?? leaf).id, place })),
    frames: items.filter(({ frame }) => frame).map(({ frame, place }) => ({
      title: frame.title, place, colour: COLOURS[frame.task],
    })),
  });
}
