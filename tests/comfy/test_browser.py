"""Workflows in ComfyUI's own frontend: built there from its API twin, dropped on the canvas, run with Run;
blueprints of subgraphs; and workflows as templates of the registry's archive in an empty ComfyUI."""

import json
import re
from pathlib import Path

import av
import pytest
import refvid_archive
from refvid_browser import in_browser
from refvid_client import failure, node
from refvid_comfy import find_comfyui
from refvid_server import serve
from refvid_templates import DEMO, PROMPTS, PUBLIC, model_files

pytestmark = pytest.mark.comfy

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "out" / "browser"
FILES = {file.stem: file for file in sorted((ROOT / "workflows").glob("*.json"))}
BLUEPRINTS = sorted(file.stem for file in (ROOT / "subgraphs").glob("*.json"))
RENEW = ".venv/bin/python tests/run_comfy.py --ui-workflows"
FIRST = "masked_reference_to_video"  # the template that the README names
TOO_MUCH = {"identity_from_video", "score_reference"}  # to be read at one glance
every_workflow = pytest.mark.parametrize("name", FILES)
every_blueprint = pytest.mark.parametrize("name", BLUEPRINTS)
every_workflow_that_runs = pytest.mark.parametrize("name", DEMO)


@pytest.fixture(scope="module")
def visits(browser, server):
    """Findings of tests/frontend/run_workflow.mjs on each workflow. Its pictures stay in out/browser."""
    run, looked_at = ([FILES[name] for name in names] for names in (DEMO, PUBLIC))
    return json.loads(in_browser("run_workflow.mjs", server.url, OUT, *run, "--look", *looked_at))


@pytest.fixture(scope="module")
def rebuilt(browser, server, tmp_path_factory):
    """The folder into which tests/frontend/from_api.mjs built every workflow anew."""
    folder = tmp_path_factory.mktemp("workflows")
    in_browser("from_api.mjs", server.url, folder)
    return folder


@every_workflow
def test_the_frontend_builds_the_workflow_from_its_api_twin(rebuilt, name):
    made = rebuilt / f"{name}.json"
    assert made.is_file(), f"{name}: tests/frontend/layout_{name}.mjs, which builds it, is missing"
    assert made.read_text("utf-8") == FILES[name].read_text("utf-8"), f"to renew it, run: {RENEW}"


@every_blueprint
def test_the_frontend_builds_the_blueprint_from_its_workflow(built_blueprints, name):
    made, kept = built_blueprints / f"{name}.json", ROOT / "subgraphs" / f"{name}.json"
    assert made.read_text("utf-8") == kept.read_text("utf-8"), (
        "to renew it, run: tests/run_comfy.py --subgraphs"
    )


@pytest.fixture(scope="module")
def built_blueprints(browser, server, tmp_path_factory):
    """The folder into which tests/frontend/subgraphs.mjs built every blueprint anew."""
    folder = tmp_path_factory.mktemp("subgraphs")
    in_browser("subgraphs.mjs", server.url, folder)
    return folder


@pytest.fixture(scope="module")
def used_blueprints(browser, server, tmp_path_factory):
    """What Run would send where the server's blueprints are used, each in a page of its own."""
    return json.loads(in_browser("subgraphs.mjs", server.url, tmp_path_factory.mktemp("used"), "--use"))


@pytest.mark.slow
@every_blueprint
def test_a_blueprint_found_by_the_node_search_stands_for_its_nodes(used_blueprints, name):
    """In the workflow that it was made of, in the place of its nodes: Run sends the same."""
    used = used_blueprints[name]
    check_sent(used["prompt"], PROMPTS[used["workflow"]])
    assert any(":" in key for key in used["prompt"])  # nodes inside of another


@every_workflow
def test_nothing_is_missing_or_marked_red(visits, name):
    seen = visits[name]
    assert seen["missing"] == [] and seen["marked"] == []
    assert seen["holes"] == 0 and seen["dialog"] is None
    assert [error for error in seen["errors"] if error.startswith("uncaught")] == []


@every_workflow
def test_boxes_are_apart_and_notes_whole_however_they_are_drawn(visits, name):
    assert {way: found for way, found in visits[name]["crowded"].items() if found} == {}


@pytest.mark.parametrize("name", sorted(FILES.keys() - TOO_MUCH))
def test_at_the_size_that_a_template_opens_with_its_text_is_drawn(visits, name):
    """On a screen of 1920 x 1080. LiteGraph leaves text out where letters of 14 would be below 8."""
    assert visits[name]["scale"] >= 8 / 14


@every_workflow
def test_run_sends_the_graph_of_the_api_file(visits, name):
    """Compares by title, because the canvas counts its nodes; widgets that the file leaves to their default
    may come on top."""
    check_sent(visits[name]["prompt"], PROMPTS[name])


def check_sent(seen, prompt):
    titles = {key: node["_meta"]["title"] for key, node in prompt.items()}
    sent_titles = {key: node["_meta"]["title"] for key, node in seen.items()}
    sent = {sent_titles[key]: node for key, node in seen.items()}
    assert sorted(sent) == sorted(titles.values())
    for key, one in prompt.items():
        wanted, given = named(one["inputs"], titles), named(sent[titles[key]]["inputs"], sent_titles)
        assert sent[titles[key]]["class_type"] == one["class_type"]
        assert {label: given.get(label) for label in wanted} == wanted


def named(inputs, titles):
    return {k: (titles[v[0]], v[1]) if isinstance(v, list) else v for k, v in inputs.items()}


@every_workflow_that_runs
def test_run_succeeds_and_the_files_it_speaks_of_are_there(visits, server, name):
    seen = visits[name]
    assert seen["status"]["status_str"] == "success", failure(seen)
    assert seen["outputs"]
    for made in (one for output in seen["outputs"].values() for one in output.get("images", ())):
        assert (server.base / made["type"] / made["subfolder"] / made["filename"]).stat().st_size > 0


@every_workflow
def test_the_pictures_are_kept(visits, name):
    assert name in visits
    for picture in (OUT / f"{name}.png", OUT / f"{name}-done.png")[: 1 + (name in DEMO)]:
        assert picture.stat().st_size > 50_000  # an empty canvas is smaller


def test_masked_reference_to_video_ends_in_one_video(visits):
    outputs = visits["masked_reference_to_video"]["outputs"]
    (made,) = [one for output in outputs.values() for one in output.get("images", ())]
    assert made["filename"].endswith(".mp4")


def test_two_clicks_switch_background_removal_on(visits):
    name = "masked_reference_to_video"
    enabled = visits[name]["enabled"]
    assert len(enabled) == len(PROMPTS[name]) + 4
    by_title = {node["_meta"]["title"]: node for node in enabled.values()}
    titles = {key: node["_meta"]["title"] for key, node in enabled.items()}
    reference = named(by_title["Masked Reference"]["inputs"], titles)
    assert reference["image"] == ("Join Image with Alpha", 0)
    assert reference["mask"] == ("Reference picture", 1)


def test_app_mode_asks_for_picture_prompt_and_seed_runs_and_shows_the_video(browser, server):
    seen = json.loads(in_browser("app_mode.mjs", server.url, OUT, FILES["a_first_video"]))
    assert seen["asked"] == ["image", "text", "noise_seed"]
    assert seen["status"]["status_str"] == "success", failure(seen)
    (made,) = [
        one
        for output in seen["outputs"].values()
        for one in output.get("images", ())
        if "mp4" in one["filename"]
    ]
    assert made["filename"] in seen["shown"]


# ---- the registry's archive in an empty ComfyUI


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Sizes and times of what lies in a folder, without what Python compiles."""
    found = [file for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    return {str(file.relative_to(folder)): (file.stat().st_size, file.stat().st_mtime_ns) for file in found}


def test_what_is_painted_in_the_mask_editor_is_the_subject(browser, server):
    painted = in_browser("paint.mjs", server.url, "refvid_first.png").strip()
    graph = {
        "load": node("RefVidLoadReference", image=painted, subject="auto", strength=1.0),
        "show": node("PreviewImage", images=["load", 1]),
    }
    (said,) = server.run(graph)["outputs"]["load"]["text"]
    share = re.fullmatch(r"subject: what was painted in the Mask Editor, (\d+)% of the picture", said)
    assert share and 0 < int(share[1]) < 50


@pytest.fixture(scope="module")
def installed(browser, server, tmp_path_factory):
    """A server with the unpacked archive and nothing else, and what tests/frontend/open_templates.mjs saw
    there."""
    if reason := refvid_archive.missing():
        pytest.skip(f"NOT RUN, the archive was not installed: {reason}")
    root, base = find_comfyui(), tmp_path_factory.mktemp("empty")
    assert root is not None
    folder = refvid_archive.install(base / "custom_nodes")
    packed, others = files(folder), [name for name in (*DEMO, *PUBLIC) if name != FIRST]
    with serve(root, base, folder.name) as server:
        said = json.loads(
            in_browser("open_templates.mjs", server.url, OUT / "installed", folder.name, FIRST, *others)
        )
        yield server, said["seen"], said["errors"], packed


@every_workflow_that_runs
def test_a_template_of_the_installed_archive_opens_with_nothing_missing(installed, name):
    _, seen, errors, _ = installed
    opened = seen[name]
    assert opened["missing"] == [] and opened["marked"] == []
    assert opened["holes"] == 0 and opened["dialog"] is None
    assert [error for error in errors if error.startswith("uncaught")] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_a_template_of_public_weights_opens_in_the_installed_archive_and_only_their_files_are_missing(
    installed, name
):
    """ComfyUI marks the nodes that ask for them, and counts them in words of its own."""
    _, seen, errors, _ = installed
    opened, wanted = seen[name], model_files(PROMPTS[name]).keys()
    assert opened["missing"] == [] and opened["holes"] == 0
    asking = [
        one["class_type"] for one in PROMPTS[name].values() if wanted & set(map(str, one["inputs"].values()))
    ]
    assert sorted(opened["marked"]) == sorted(asking)
    assert opened["dialog"].split()[0] == str(len(wanted))
    assert [error for error in errors if error.startswith("uncaught")] == []


def test_the_first_template_of_the_installed_archive_ends_in_a_film(installed):
    """Runs as it opens: no widget is touched."""
    server, seen, *_ = installed
    ran = seen[FIRST]
    assert ran["after"] is None
    assert ran["status"]["status_str"] == "success", failure(ran)
    shown = [one for output in ran["outputs"].values() for one in output.get("images", ())]
    (made,) = [one for one in shown if one["type"] == "output"]
    with av.open(str(server.base / made["type"] / made["subfolder"] / made["filename"])) as film:
        pictures = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(pictures) == 17 and pictures[0].shape == (96, 96, 3)
    toy = pictures[8].max(2) > 128  # on a dark ground
    assert 0.02 < toy.mean() < 0.5


def test_every_node_of_the_installed_archive_has_its_help_page(installed):
    server = installed[0]
    ours = {name: said for name, said in server.get("/object_info").items() if name.startswith("RefVid")}
    assert {said["python_module"] for said in ours.values()} == {f"custom_nodes.{server.folder}"}
    for name, said in ours.items():
        page = server.text(f"/extensions/{server.folder}/docs/{name}.md")
        assert page.startswith(f"# {said['display_name']}\n")


def test_running_writes_nothing_into_the_installed_archive(installed):
    server, *_, packed = installed
    assert files(server.base / "custom_nodes" / server.folder) == packed
