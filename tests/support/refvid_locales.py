"""Names and sentences of our nodes in other languages: `translations/LANG.json`, one entry for each text,
becomes `locales/LANG/`, the files that ComfyUI reads.

    .venv/bin/python tests/support/refvid_locales.py            # writes locales/ anew
    .venv/bin/python tests/support/refvid_locales.py --missing  # texts that some language lacks

Texts are those of tests/data/object_info.json, as a real server gave them. A text that is changed there is
missing in every language until it is translated anew.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
OBJECT_INFO = ROOT / "tests/data/object_info.json"
TRANSLATIONS, LOCALES = ROOT / "translations", ROOT / "locales"
ENGLISH = "en"
LANGUAGES = (ENGLISH, "zh", "zh-TW", "ja", "ko", "fr", "de", "es", "ru")
OURS = "RefVid"


def node_texts() -> dict[str, Any]:
    """Our nodes' texts by the keys that the frontend asks for (nodeDefs.json), in English."""
    said = json.loads(OBJECT_INFO.read_text("utf-8"))
    return {name: _node(node) for name, node in said.items() if name.startswith(OURS)}


def main_texts() -> dict[str, Any]:
    """Texts of categories (main.json), in English: each part of `refvid/…` has a key of its own."""
    said = json.loads(OBJECT_INFO.read_text("utf-8"))
    parts = {part for name in said if name.startswith(OURS) for part in said[name]["category"].split("/")}
    return {"nodeCategories": {part: part for part in sorted(parts)}}


def _node(node: dict[str, Any]) -> dict[str, Any]:
    inputs = {key: _slot(name, spec) for key, name, spec in _inputs(node["input"])}
    outputs = {
        str(place): {"name": name, "tooltip": tooltip}
        for place, (name, tooltip) in enumerate(
            zip(node["output_name"], node["output_tooltips"], strict=True)
        )
    }
    texts = {"display_name": node["display_name"], "description": node["description"]}
    return texts | {key: slots for key, slots in (("inputs", inputs), ("outputs", outputs)) if slots}


def _inputs(groups: dict[str, Any], above: str = "") -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Key, name and options of each input, and of those inside dynamic ones. The frontend asks for
    `task.frames_at` under `task_frames_at`."""
    for group in ("required", "optional"):
        for name, (_, *more) in groups.get(group, {}).items():
            options = more[0] if more else {}
            yield above + name, name, options
            for option in options.get("options") or ():
                if isinstance(option, dict):
                    yield from _inputs(option["inputs"], f"{above}{name}_")
            template = options.get("template")
            if template is not None:
                (inner,) = template["input"]["required"].values()
                slots = [f"{template['prefix']}{place}" for place in range(template["max"])]
                yield from ((f"{above}{name}_{slot}", slot, inner[1]) for slot in slots)


def _slot(name: str, options: dict[str, Any]) -> dict[str, str]:
    return {"name": name} | ({"tooltip": options["tooltip"]} if "tooltip" in options else {})


def texts_of(tree: dict[str, Any]) -> list[str]:
    """All texts in a tree, once each, in order."""
    found: dict[str, None] = {}
    for value in tree.values():
        found |= dict.fromkeys([value] if isinstance(value, str) else texts_of(value))
    return list(found)


def all_texts() -> list[str]:
    """Every text that a language translates, once each."""
    return list(dict.fromkeys([*texts_of(main_texts()), *texts_of(node_texts())]))


def translations(language: str) -> dict[str, str]:
    """A language's text for each English one."""
    if language == ENGLISH:
        return {text: text for text in all_texts()}
    file = TRANSLATIONS / f"{language}.json"
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def files_of(language: str) -> dict[Path, str]:
    """A language's files in `locales/`. KeyError for a text that is not translated."""
    table = translations(language)
    trees = {"nodeDefs": node_texts(), "main": main_texts()}
    return {
        LOCALES / language / f"{name}.json": json.dumps(_told(tree, table), indent=1, ensure_ascii=False)
        + "\n"
        for name, tree in trees.items()
    }


def _told(tree: dict[str, Any], table: dict[str, str]) -> dict[str, Any]:
    return {key: table[one] if isinstance(one, str) else _told(one, table) for key, one in tree.items()}


def missing(language: str) -> list[str]:
    """Texts that a language lacks."""
    table = translations(language)
    return [text for text in all_texts() if text not in table]


def _main() -> None:
    if "--missing" in sys.argv:
        print(json.dumps({one: missing(one) for one in LANGUAGES}, indent=1, ensure_ascii=False))
        return
    for language in LANGUAGES:
        for file, text in files_of(language).items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")


if __name__ == "__main__":
    _main()
