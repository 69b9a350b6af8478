// Boxes of a layout: what stands below, beside and inside what. An array is a stack; a word is the node of that key in the
// API graph. Places follow from the sizes of what is inside, so that no layout counts pixels.
const GAP = 20;
const BESIDE = 30;
const FRAME = { side: 20, top: 50, bottom: 20 };
const TITLE = 30;  // of a node, above its place
const WIDTH = 300;
// ComfyUI opens a template with all of its nodes in three quarters of the window; below the smallest scale it draws no text.
export const OPENING = { window: [1920, 1080], share: 0.75, text: 8 / 14 };

export const row = (...boxes) => ({ row: boxes });

/** Frame around a stack, of a task's colour (tasks.mjs). */
export const frame = (title, task, ...boxes) => ({ title, task, inside: boxes });

export const note = (title, text, width = 460) => ({ note: title, text, width });

/** A node that is larger than what its widgets need. */
export const node = (key, width, height) => ({ key, width, height });

const sum = (numbers) => numbers.reduce((all, one) => all + one, 0);
const bottom = (items) => Math.max(...items.map(({ place }) => place[1] + place[3]));

/** Width that a box asks for. */
export function width(box) {
  if (Array.isArray(box)) return Math.max(...box.map(width));
  if (box.row) return sum(box.row.map(width)) + BESIDE * (box.row.length - 1);
  if (box.inside) return width(box.inside) + 2 * FRAME.side;
  return box.width ?? WIDTH;
}

/** Places [left, top, width, height] of the leaves and frames of a box, from its corner, `across` wide. `room(leaf, across)` is
 * the height of a leaf below its title. */
export function placed(box, room, left = 0, top = 0, across = width(box)) {
  if (Array.isArray(box)) return stacked(box, room, left, top, across);
  if (box.row) return aligned(box.row, room, left, top, across - width(box));
  if (box.inside) {
    const inside = placed(box.inside, room, left + FRAME.side, top + FRAME.top, across - 2 * FRAME.side);
    return [{ frame: box, place: [left, top, across, bottom(inside) + FRAME.bottom - top] }, ...inside];
  }
  const leaf = typeof box === "string" ? { key: box } : box;
  return [{ leaf, place: [left, top + TITLE, across, room(leaf, across)] }];
}

function stacked(boxes, room, left, top, across) {
  const items = [];
  for (const box of boxes) {
    items.push(...placed(box, room, left, items.length ? bottom(items) + GAP : top, across));
  }
  return items;
}

/** Boxes side by side, which share what is left over; the lowest frames of all end at the same height. */
function aligned(boxes, room, left, top, over) {
  let at = left;
  const columns = boxes.map((box) => {
    const across = width(box) + over / boxes.length;
    const items = placed(box, room, at, top, across);
    at += across + BESIDE;
    return items;
  });
  const end = bottom(columns.flat());
  for (const items of columns) {
    const own = bottom(items);
    for (const { frame: lowest, place } of items) if (lowest && place[1] + place[3] === own) place[3] += end - own;
  }
  return columns.flat();
}

/** Scale and offset of serialized nodes as ComfyUI opens a template, in a browser on a usual screen. */
export function view(nodes) {
  const start = [0, 1].map((axis) => Math.min(...nodes.map(({ pos }) => pos[axis] - axis * TITLE)));
  const end = [0, 1].map((axis) => Math.max(...nodes.map(({ pos, size }) => pos[axis] + size[axis])));
  const fits = [0, 1].map((axis) => (OPENING.share * OPENING.window[axis]) / (end[axis] - start[axis]));
  const scale = Math.floor(100 * Math.min(...fits)) / 100;
  return { scale, offset: [0, 1].map((axis) => Math.round((OPENING.window[axis] / scale - start[axis] - end[axis]) / 2)) };
}
