// Load Identity shows who is in each file: a picture of everybody that it lists, to choose by a click. Save Identity
// keeps the picture beside the file, under the same name; a file without one shows its name.
import { app } from "../../scripts/app.js";

const NODE = "RefVidLoadIdentity", INPUT = "file", SIDE = 72, MOST_ROWS = 3;

/** Address of the picture beside a file, by the file's name: "folder/name.safetensors [output]". */
function pictureOf(name) {
  const [, path, type] = name.match(/^(.*?)(?: \[(\w+)\])?$/);
  const place = path.replace(/\.safetensors$/, ".png").split("/");
  const asked = { filename: place.pop(), subfolder: place.join("/"), type: type ?? "input" };
  return `../view?${new URLSearchParams(asked)}`;
}

function tile(name, choose) {
  const alt = name.replace(/^.*\/|_?\.safetensors.*$/g, "");
  const picture = Object.assign(document.createElement("img"), { loading: "lazy", src: pictureOf(name), title: name, alt });
  picture.style.cssText = `width:${SIDE}px;height:${SIDE}px;object-fit:cover;border-radius:4px;cursor:pointer;` +
    "font-size:10px;overflow:hidden;box-sizing:border-box;border:2px solid transparent";
  picture.onclick = () => choose(name);
  return picture;
}

function addPicker(node) {
  const files = node.widgets?.find((widget) => widget.name === INPUT);
  if (!files) return;
  const people = document.createElement("div");
  people.style.cssText = "display:flex;flex-wrap:wrap;gap:4px;overflow-y:auto;align-content:flex-start";
  const mark = () => [...people.children].forEach((one) => {
    one.style.borderColor = one.title === files.value ? "#4a9eff" : "transparent";
  });
  const choose = (name) => {
    files.value = name;
    files.callback?.(name);
    mark();
    app.graph.setDirtyCanvas(true, true);
  };
  let shown = "";
  const fill = () => {
    const names = (typeof files.options.values === "function" ? files.options.values() : files.options.values) ?? [];
    if (names.join("\n") !== shown) people.replaceChildren(...names.map((name) => tile(name, choose)));
    shown = names.join("\n");
    mark();
  };
  const rows = () => Math.min(MOST_ROWS, Math.max(1, Math.ceil(people.childElementCount / 3))) * (SIDE + 4);
  node.addDOMWidget("people", "refvid_people", people, { serialize: false, hideOnZoom: false, getMinHeight: rows });
  const chosen = files.callback;
  files.callback = function (...said) {
    mark();
    return chosen?.apply(this, said);
  };
  node.refvidFill = fill;
  fill();
}

app.registerExtension({
  name: "refvid.picker",
  nodeCreated(node) {
    if (node.comfyClass === NODE) addPicker(node);
  },
  loadedGraphNode(node) {
    node.refvidFill?.();
  },
  refreshComboInNodes() {
    setTimeout(() => app.graph.nodes.forEach((node) => node.refvidFill?.()));
  },
});
