"""The registry's archive: what is in it, where its pages lead, and what the registry reads of the pack."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import unquote

import pytest
import refvid_archive
from PIL import Image

tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
COMFY = PROJECT["tool"]["comfy"]
NODES = [name for name in json.loads((ROOT / "tests/data/object_info.json").read_text()) if "RefVid" in name]
HOME = PROJECT["project"]["urls"]["Repository"]
RAW = HOME.replace("github.com", "raw.githubusercontent.com")
# In front of a path in the repository: a page, a folder, a file as it is.
OURS = (f"{HOME}/blob/main/", f"{HOME}/tree/main/", f"{RAW}/main/")
TOP = {
    "LICENSE",
    "README.md",
    "__init__.py",
    "__main__.py",
    "pyproject.toml",
    "refvid.py",
    "requirements.txt",
}
ROOMS = {name.split(".")[1] for name in PROJECT["tool"]["setuptools"]["packages"] if "." in name}
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    if reason := refvid_archive.missing():
        pytest.skip(f"NOT RUN, the archive was not packed: {reason}")
    with zipfile.ZipFile(refvid_archive.pack(tmp_path_factory.mktemp("archive") / "node.zip")) as packed:
        yield packed


def tracked(*folders: str) -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(listed.stdout.split("\n")) - {""}


def test_it_holds_the_pack_whole_and_nothing_else(archive):
    assert set(archive.namelist()) == TOP | tracked(*ROOMS, "locales", "subgraphs", "web", "workflows")


def test_it_holds_what_nodes_templates_and_the_command_line_read(archive):
    names = set(archive.namelist())
    assert {f"web/docs/{name}.md" for name in NODES} <= names
    for file in [*ROOT.glob("demo/models/*/*"), *ROOT.glob("demo/samples/*"), *ROOT.glob("workflows/*.*")]:
        assert file.relative_to(ROOT).as_posix() in names
    assert sum(one.compress_size for one in archive.infolist()) < 25e6


def test_links_of_its_pages_lead_somewhere(archive):
    """Relative ones into the archive; those to the repository to what is there, headings too."""
    dangling = []
    for page in (name for name in archive.namelist() if name.endswith(".md")):
        for link in LINK.findall(archive.read(page).decode()):
            target, _, anchor = link.partition("#")
            inside = next((target.removeprefix(front) for front in OURS if target.startswith(front)), None)
            if inside is not None:
                there = (ROOT / unquote(inside)).exists() and tracked(unquote(inside))
                there = there and (not anchor or anchor in headings(ROOT / inside))
            else:
                there = target.startswith("https://") or str(Path(page).parent / target) in archive.namelist()
            dangling += [] if there else [(page, link)]
    assert dangling == []


def headings(page: Path) -> list[str]:
    """Anchors as GitHub names them."""
    lines = [
        line.lstrip("# ").lower() for line in page.read_text("utf-8").splitlines() if line.startswith("#")
    ]
    return [re.sub(r"[^\w\- ]", "", line).replace(" ", "-") for line in lines]


def test_the_registry_has_nothing_to_say_against_the_pack():
    if reason := refvid_archive.missing():
        pytest.skip(f"NOT RUN, the pack was not validated: {reason}")
    said = refvid_archive.comfy_cli(refvid_archive.VALIDATE).splitlines()
    assert said[:2] == ["Validating node configuration...", "Running security checks..."]
    assert len(said) == 3 and "All validation checks passed" in said[2]


@pytest.mark.parametrize(("key", "size"), [("Icon", (400, 400)), ("Banner", (798, 342))])
def test_the_registrys_pictures_are_there(key, size):
    """A square of at most 400; 21:9 within 800 x 400."""
    assert COMFY[key].startswith(f"{RAW}/main/")
    with Image.open(ROOT / COMFY[key].removeprefix(f"{RAW}/main/")) as picture:
        assert (picture.format, picture.size) == ("PNG", size)


def test_lower_bounds_have_three_numbers():
    extras = PROJECT["project"]["optional-dependencies"]["standalone"]
    for one in [*PROJECT["project"]["dependencies"], *extras, COMFY["requires-comfyui"]]:
        assert re.fullmatch(r"[\w-]*(>=\d+\.\d+\.\d+)?", one), one


def test_inside_its_folder_the_package_is_found_and_its_rooms_shadow_nothing(tmp_path):
    said = "import refvid, importlib.util as u; print(refvid.__file__, *[u.find_spec(n) for n in ('nodes', 'cli')])"
    folder = tmp_path / "ComfyUI-refvid.v1"
    folder.mkdir()
    for name in ("refvid.py", "__init__.py"):
        shutil.copy(ROOT / name, folder)
    for room in ("nodes", "cli"):
        (folder / room).mkdir()
    done = subprocess.run(
        [sys.executable, "-c", said], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(folder / "__init__.py"), "None", "None"]
