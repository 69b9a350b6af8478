"""File of a Saber LoRA, and the workflows beside it."""

import json
import logging
from argparse import Namespace
from itertools import combinations
from pathlib import Path

import pytest
import refvid_tiny as tiny
import torch
from safetensors import safe_open
from torch import nn

from refvid.backbones.wan.dit import WanDiT
from refvid.cli.model import load_files
from refvid.core.checkpoint import read_safetensors
from refvid.hosts.plain.pipeline import Settings
from refvid.training.engine.lora import add_lora, begin_with, lora_state
from refvid.training.methods.saber.export import LoraFacts, export_lora, refvid_version
from refvid.training.methods.saber.workflow import (
    WorkflowFiles,
    api_workflow,
    canvas_workflow,
    write_workflows,
)

ROOT = Path(__file__).resolve().parents[3]
SIZES = tiny.config()
FACTS = LoraFacts(
    "wan.safetensors", "sha256 0123", ("self_attn", "ffn"), 5.0, (17, 33), 16.0, ((832, 480), (480, 832)),
    ("CC-BY 4.0", "own"), 300,
)  # fmt: skip
FILES = WorkflowFiles(
    Path("/a/models/diffusion_models/wan/t2v.safetensors"),
    Path("elsewhere/vae.safetensors"),
    Path("models/clip/umt5.safetensors"),
    Path("runs/my-v1.5/my-v1.5.safetensors"),
)
SETTINGS = Settings(width=480, height=832, frames=33, steps=30, scale=4.5, shift=7.0, fps=24, seed=9)
PROMPT = "a woman in a red coat — at dusk"


def layers(rank: int = 4) -> nn.ModuleDict:
    made = add_lora(WanDiT(SIZES), rank, FACTS.targets)
    torch.manual_seed(0)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.1)
    return made


# ---- the file


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("run") / "mine.safetensors"
    export_lora(layers(), FACTS, path)
    return path


def test_the_file_is_the_state_in_fp16_and_a_run_can_begin_with_it(exported):
    tensors, _ = read_safetensors(exported, "lora")
    state = lora_state(layers())
    assert tensors.keys() == state.keys()
    for key, value in state.items():
        assert tensors[key].dtype == torch.float16 and torch.equal(tensors[key], value.half()), key
    dit = WanDiT(SIZES)
    again = add_lora(dit, 4, FACTS.targets)
    begin_with(again, dit, exported)
    assert all(torch.equal(value.half(), tensors[key]) for key, value in lora_state(again).items())


def test_the_file_says_what_it_was_trained_for_and_on(exported):
    with safe_open(exported, "pt") as file:
        said = file.metadata()
    assert said["refvid.recipe"] == "saber" and said["modelspec.title"] == "mine"
    assert (said["ss_network_dim"], said["ss_network_alpha"]) == ("4", "4.0")
    assert (said["ss_base_model_version"], said["modelspec.license"]) == ("wan.safetensors", "CC-BY 4.0, own")
    assert json.loads(said["refvid.training"]) == {
        "base": "wan.safetensors", "base_digest": "sha256 0123", "targets": ["self_attn", "ffn"], "shift": 5.0,
        "frames": [17, 33], "fps": 16.0, "sizes": [[832, 480], [480, 832]], "licences": ["CC-BY 4.0", "own"],
        "steps": 300, "recipe": "saber", "method": "saber", "rank": 4, "alpha": 4.0, "refvid": refvid_version(),
    }  # fmt: skip
    assert f'version = "{refvid_version()}"' in (ROOT / "pyproject.toml").read_text("utf-8")


def test_a_weight_beyond_fp16_is_refused_and_nothing_is_written(tmp_path):
    made = layers()
    next(made.parameters()).data[0, 0] = 1e5
    with pytest.raises(
        ValueError, match=r"mine.safetensors: diffusion_model.*lora_A.weight is not finite in fp16"
    ):
        export_lora(made, FACTS, tmp_path / "mine.safetensors")
    assert not list(tmp_path.iterdir())


def test_the_command_line_takes_the_recipe_from_the_file(exported, tmp_path, caplog):
    tiny.save_dit(tmp_path, "dit.safetensors", SIZES, tiny.dit_state(SIZES))
    tiny.save_vae(tmp_path, width=2)
    tiny.save_text_encoder(tmp_path)
    three = {"dit": "dit", "vae": "vae", "text_encoder": "text"}
    given = {name: tmp_path / f"{file}.safetensors" for name, file in three.items()}
    with caplog.at_level(logging.WARNING):
        plain, with_it = (
            load_files(Namespace(**given, dtype="fp32", device="cpu", lora=lora))
            for lora in ([], [str(exported)])
        )
    assert (plain.recipe, with_it.recipe, caplog.text) == (None, "saber", "")
    assert not torch.equal(plain.dit.blocks[0].ffn[0].weight, with_it.dit.blocks[0].ffn[0].weight)


# ---- workflows


WANTED = {
    "backbone": {
        "diffusion_model": str(Path("wan/t2v.safetensors")), "text_encoder": "umt5.safetensors",
        "vae": "vae.safetensors", "weight_dtype": "default", "shift": 7.0,
    },
    "lora": {"lora_name": "my-v1.5.safetensors", "strength_model": 1.0},
    "positive_prompt": {"text": PROMPT},
    "negative_prompt": {"text": ""},
    "empty_video": {"width": 480, "height": 832, "length": 33, "batch_size": 1},
    "apply": {"recipe": "saber", "null_pass": "recipe"},
    "guider": {"scale": 4.5},
    "denoise": {"steps": 30, "noise_seed": 9, "add_noise": "enable", "start_at_step": 0},
    "video": {"fps": 24.0},
    "save": {"filename_prefix": "refvid/my-v1.5"},
}  # fmt: skip
API = api_workflow(FILES, SETTINGS, PROMPT)
CANVAS = canvas_workflow(FILES, SETTINGS, PROMPT)
BY_TITLE = {node["title"]: node for node in CANVAS["nodes"]}
BY_NUMBER = {node["id"]: node for node in CANVAS["nodes"]}


@pytest.mark.parametrize("name", WANTED)
def test_both_workflows_give_the_users_files_and_the_trainings_size_length_and_rate(name):
    said, node = API[name], BY_TITLE[API[name]["_meta"]["title"]]
    assert node["type"] == said["class_type"]
    named = node["widgets_values_named"]
    assert list(named.values()) == node["widgets_values"]
    for given, value in WANTED[name].items():
        assert (said["inputs"][given], named[given]) == (value, value), given


def test_the_model_goes_through_the_lora_and_nothing_else_is_wired_otherwise():
    template = json.loads((ROOT / "workflows/api/masked_reference_to_video.json").read_text("utf-8"))
    assert API["lora"]["class_type"] == "LoraLoaderModelOnly" and API["lora"]["inputs"]["model"] == [
        "backbone",
        0,
    ]
    assert API["apply"]["inputs"]["model"] == ["lora", 0]
    for name, node in template.items():
        links = {key: value for key, value in node["inputs"].items() if isinstance(value, list)}
        for key, value in links.items():
            assert API[name]["inputs"][key] == (["lora", 0] if (name, key) == ("apply", "model") else value)


def test_links_of_the_canvas_are_those_of_its_api_twin():
    links = {link[0]: link for link in CANVAS["links"]}
    assert len(links) == len(CANVAS["links"]) and CANVAS["last_link_id"] == max(links)
    assert CANVAS["last_node_id"] == max(BY_NUMBER) and len(BY_NUMBER) == len(CANVAS["nodes"])
    taken = {(i["link"], n["id"]) for n in CANVAS["nodes"] for i in n.get("inputs", []) if i["link"]}
    given = {(k, n["id"]) for n in CANVAS["nodes"] for o in n.get("outputs", []) for k in o["links"] or ()}
    assert taken == {(link[0], link[3]) for link in CANVAS["links"]}
    assert given == {(link[0], link[1]) for link in CANVAS["links"]}
    for link in CANVAS["links"]:
        target = BY_NUMBER[link[3]]["inputs"][link[4]]
        assert (target["link"], target["type"]) == (link[0], link[5])
        assert BY_NUMBER[link[1]]["outputs"][link[2]]["type"] == link[5]

    def source(title: str) -> tuple[str, int]:
        given = next(one for one in BY_TITLE[title]["inputs"] if one["name"] == "model")
        _, origin, output, *_ = links[given["link"]]
        return BY_NUMBER[origin]["title"], output

    assert source("Apply References") == ("my-v1.5 (a LoRA)", 0)
    assert source("my-v1.5 (a LoRA)") == ("Load Wan Backbone", 0)
    assert sorted(node["order"] for node in CANVAS["nodes"]) == sorted({n["order"] for n in CANVAS["nodes"]})


def test_nothing_on_the_canvas_overlaps_and_groups_hold_whole_nodes():
    title = 30
    boxes = [
        (n["pos"][0], n["pos"][1] - title, n["pos"][0] + n["size"][0], n["pos"][1] + n["size"][1])
        for n in CANVAS["nodes"]
    ]
    groups = [(x, y, x + w, y + h) for x, y, w, h in (g["bounding"] for g in CANVAS["groups"])]

    def overlap(a, b) -> bool:
        return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]

    assert not [pair for pair in [*combinations(boxes, 2), *combinations(groups, 2)] if overlap(*pair)]
    split = [(b, g) for b in boxes for g in groups if overlap(b, g) and not (
        g[0] <= b[0] and b[2] <= g[2] and g[1] <= b[1] and b[3] <= g[3]
    )]  # fmt: skip
    assert split == []
    alone = [one["title"] for one in CANVAS["nodes"] for x, y in [one["pos"]] if not any(
        g[0] < x < g[2] and g[1] < y < g[3] for g in groups
    )]  # fmt: skip
    notes = [one["title"] for one in CANVAS["nodes"] if one["type"] == "MarkdownNote"]
    assert set(alone) <= set(notes), "every node lies in a group"


def test_notes_speak_of_the_users_files_and_templates_stay_as_they_are():
    note = BY_TITLE["Start here"]
    (told,) = note["widgets_values"]
    assert "my-v1.5.safetensors" in told and "t2v.safetensors" in told and "demo" not in told
    assert list(note["widgets_values_named"].values()) == [told]
    assert canvas_workflow(FILES, SETTINGS, PROMPT) == CANVAS and api_workflow(FILES, SETTINGS, PROMPT) == API
    other = WorkflowFiles(FILES.dit, FILES.vae, FILES.text_encoder, Path("other.safetensors"))
    assert canvas_workflow(other, SETTINGS, PROMPT)["id"] != CANVAS["id"]


def test_workflows_are_written_beside_the_lora(tmp_path):
    files = WorkflowFiles(FILES.dit, FILES.vae, FILES.text_encoder, tmp_path / "my-v1.5.safetensors")
    canvas, api = write_workflows(files, SETTINGS, PROMPT)
    assert (canvas.name, api.name) == ("my-v1.5.workflow.json", "my-v1.5.api.json")
    assert json.loads(canvas.read_text("utf-8")) == CANVAS and json.loads(api.read_text("utf-8")) == API
    assert {path.name for path in tmp_path.iterdir()} == {canvas.name, api.name}
