"""Inputs that a prompt may send to a real server: literals where links belong, values that no schema knows,
names that dynamic inputs do not have, and files that are written anew under their names."""

import json
import shutil
from pathlib import Path

import pytest
from refvid_base_folder import DIT, SAMA, SLOT_ID, TEXT, VAE
from refvid_client import edited, failure, node
from refvid_fault_nodes import values
from refvid_faults_api import IDENTITY, WORKFLOWS, cut, digested, digests, every_node, short
from safetensors.torch import load_file, save_file
from torch import Tensor

from refvid.core.header import read_header

pytestmark = pytest.mark.comfy

ROOT = Path(__file__).resolve().parents[2]
NODES = {name: one for name, one in every_node().items() if one["class_type"].startswith("RefVid")}
SAID = json.loads((ROOT / "tests/data/object_info.json").read_text("utf-8"))
LITERALS = (5, "x", {"samples": 1}, {"__value__": ["x"]})
LINKED = (  # the input, what comes through a link of type *, and what is said of it
    (
        "apply.model",
        "object",
        "model is a value of type object; Apply References needs a link to an output of type MODEL",
    ),
    ("apply.positive", "pairs", "positive is a value of type list;"),
    ("apply.latent", "dictionary", "latent is a value of type dict;"),
    ("apply.vae", "nothing", "vae is empty;"),
    ("apply.references.reference_0", "list", "references.reference_0 is a value of type list;"),
    ("apply.recipe", "text", "recipe is 'x'; Apply References needs one of auto, "),
    ("reference.image", "vector", "image is a tensor of shape [3]"),
    ("reference.image", "no pictures", "image is a tensor of shape [0, 8, 8, 3]"),
    ("reference.strength", "nan", "strength is nan; Masked Reference needs a number, 0.0 to 10.0"),
    ("reference.strength", "infinite", "strength is inf; Masked Reference needs a number, 0.0 to 10.0"),
    ("keys.stride", "numpy", "stride is "),
    ("reference.first_frame", "negative", "first_frame is -"),
    ("reference.soft_mask", "number", "soft_mask is 5; Masked Reference needs a BOOLEAN"),
    ("inspect.latent", "latent of no video", "latent is not a video's"),
    ("join.plan", "number", "plan is 5; Join Segments needs"),
    ("join.segments", "text", "segments is 'x'; Join Segments needs"),
    ("replace.task.frames_at", "nothing", "task.frames_at is empty; Replace Frames (STIV) needs a STRING"),
    (
        "known.file",
        "text",
        "file: there is no x in ComfyUI's input folder; needed a file that Save Identity made",
    ),
    ("high.guider", "empty dictionary", "guider is a value of type dict;"),
    ("keep_identity.identity", "object", "identity is a value of type object;"),
)


@pytest.fixture(scope="module")
def filled(server):
    """The server, with an identity among its inputs."""
    shutil.copy(
        ROOT / "tests/data/0.1.0/inputs/refvid_kept_identity.safetensors", server.base / "input" / IDENTITY
    )
    return server


def sockets(name: str) -> list[str]:
    """The inputs of a node that only links can fill."""
    said = SAID[NODES[name]["class_type"]]["input"]
    widgets = ("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO", "COMFY_DYNAMICCOMBO_V3", "COMFY_AUTOGROW_V3")
    groups = (said.get(group, {}) for group in ("required", "optional"))
    return [label for group in groups for label, (kind, _) in group.items() if kind not in widgets]


@pytest.mark.parametrize("name", [name for name in NODES if sockets(name)])
def test_a_literal_on_a_socket_is_refused_when_it_is_posted(filled, name):
    for label in sockets(name):
        for literal in LITERALS:
            graph = cut(every_node(), name)
            graph[name]["inputs"][label] = literal
            said = dict(filled.refusals(graph)[name])
            assert f"{label} is " in said[label] and "needs a link to an output of type" in said[label], said


@pytest.mark.parametrize(("place", "what", "message"), LINKED, ids=lambda one: str(one)[:40])
def test_what_comes_through_a_link_of_any_type_is_refused_by_name(filled, place, what, message):
    name = place.partition(".")[0]
    anything = {"any": node("RefVidTestAnything", what=what)}
    said = failure(filled.run(edited(cut(every_node(), name), {place: ["any", 0]}, anything)))
    assert said is not None and (said.node, said.kind) == (name, "ValueError"), said
    assert said.message.startswith(message), said.message
    assert what in values()


@pytest.mark.parametrize(
    ("place", "what"), [("pretext.seed", "largest seed"), ("reference.strength", "numpy")]
)
def test_numbers_within_bounds_are_taken_through_any_link(filled, place, what):
    anything = {"any": node("RefVidTestAnything", what=what)}
    asked = edited(cut(every_node(), place.partition(".")[0]), {place: ["any", 0]}, anything)
    assert failure(filled.run(asked)) is None


@pytest.mark.parametrize(
    ("place", "literal", "message"),
    [
        ("apply.latent", {"__value__": None}, "latent is empty; Apply References needs a link"),
        ("apply.references.reference_0", 5, "references.reference_0 is 5; Apply References needs a link"),
        ("reference.strength", float("nan"), "strength is nan; Masked Reference needs a number, 0.0 to 10.0"),
        ("guider.scale", float("nan"), "scale is nan; Joint Guider (JIT-CFG) needs a number"),
    ],
)
def test_a_literal_that_the_server_lets_by_is_refused_by_name(filled, place, literal, message):
    name = place.partition(".")[0]
    graph = cut(every_node(), name)
    graph[name]["inputs"][place.partition(".")[2]] = literal
    said = failure(filled.run(graph))
    assert said is not None and (said.node, said.kind) == (name, "ValueError"), said
    assert said.message.startswith(message), said.message


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("apply.references.reference_8", "references.reference_0, references.reference_1, "),
        ("apply.references.reference_x", "references.reference_0, references.reference_1, "),
        ("apply.references.", "references.reference_0, references.reference_1, "),
        ("apply.odd", "model, low_noise_model, positive, "),
        ("guider.window.end", "model, positive, negative, scale, "),
    ],
)
def test_a_link_to_an_input_that_is_not_there_is_refused_by_name(filled, place, message):
    name, _, label = place.partition(".")
    graph = cut(every_node(), "reference") | cut(every_node(), name)
    graph[name]["inputs"][label] = ["reference", 0]
    said = failure(filled.run(graph))
    assert said is not None and (said.node, said.kind) == (name, "ValueError"), said
    assert said.message.startswith(f"{label} is no input that ") and message in said.message, said.message


@pytest.mark.parametrize("task", ["vanish", "", 5, None, ["first", 0], {"task": "free"}])
def test_a_task_that_is_not_there_is_refused_when_it_is_posted(filled, task):
    said = dict(filled.refusals(edited(cut(every_node(), "replace"), {"replace.task": task}))["replace"])
    assert all(
        "task is missing or has no such option; Replace Frames (STIV) needs one of" in one
        for one in said.values()
    )


def test_the_places_of_a_free_task_are_asked_for(filled):
    graph = edited(cut(every_node(), "replace"), {"replace.task.frames_at": None})
    assert dict(filled.refusals(graph)["replace"]) == {"task.frames_at": "frames_at"}


def changed(path: Path, place: Path) -> None:
    """Another file of the same form: numbers are a third larger, pictures darker."""

    def other(key: str, value: Tensor) -> Tensor:
        return value // 2 if key == "preview" else value * 4 / 3 if value.is_floating_point() else value

    kept = {key: other(key, value) for key, value in load_file(path).items()}
    save_file(kept, place, read_header(path, "test").metadata)


def reading(graph: str, place: str, end: str = "digest_decode"):
    def asked(file: str) -> dict:
        return cut(edited(digested(short(WORKFLOWS[graph], steps=1)), {place: file}), end)

    return asked


# the folder, a file in it, and a graph that shows what is in it
FILES = {
    "diffusion model": ("models/diffusion_models", DIT, reading("first_frame_to_video", "backbone.diffusion_model")),
    "text encoder": ("models/text_encoders", TEXT, reading("first_frame_to_video", "backbone.text_encoder")),
    "VAE": ("models/vae", VAE, reading("first_frame_to_video", "backbone.vae", "digest_video")),
    "Slot-ID adapter": ("models/loras", SLOT_ID, reading("identity_from_video", "adapter.adapter")),
    "editing adapter": ("models/loras", SAMA, reading("edit_video_by_instruction", "adapter.adapter")),
    "identity": (
        "input", IDENTITY,
        lambda file: {"known": node("RefVidLoadIdentity", file=file), "digest": node("RefVidTestDigest", value=["known", 1])},
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
def test_a_file_that_is_written_anew_is_read_anew(filled, what):
    place, name, asked = FILES[what]
    folder = filled.base / place
    written, other = folder / "over.safetensors", folder / "other.safetensors"
    shutil.copyfile(folder / name, written)
    changed(folder / name, other)
    first = digests(filled.run(asked(written.name)))
    shutil.copyfile(other, written)  # in place, as cp does it
    second = digests(filled.run(asked(written.name)))
    assert second != first and second == digests(filled.run(asked(other.name)))
    shutil.copyfile(folder / name, other)
    other.replace(written)
    assert digests(filled.run(asked(written.name))) == first


def test_a_file_that_is_gone_is_refused_by_name(filled):
    folder = filled.base / "models/loras"
    gone = folder / "gone.safetensors"
    shutil.copyfile(folder / SLOT_ID, gone)
    graph = edited(cut(every_node(), "adapter"), {"adapter.adapter": gone.name})
    assert failure(filled.run(graph)) is None
    gone.unlink()
    assert "gone.safetensors" in dict(filled.refusals(graph)["adapter"])["adapter"]
