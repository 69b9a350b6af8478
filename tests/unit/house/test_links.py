"""Links between pages: each leads to a file of the tree, and its anchor to a heading there."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("web/docs/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
HOME = re.compile(
    r"https://(?:github\.com/refvid/refvid/(?:blob|tree)|raw\.githubusercontent\.com/refvid/refvid)/main/"
)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub names them."""
    found = re.findall(r"^#+ +(.*)$", FENCE.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def leads(page: Path, link: str) -> bool:
    """Whether a link leads somewhere; those to other sites are taken as they are."""
    ours = HOME.match(link)
    if not ours and link.startswith(("https://", "http://")):
        return True
    target, _, anchor = unquote(link[ours.end() if ours else 0 :]).partition("#")
    there = (ROOT if ours else page.parent) / target if target else page
    return there.exists() and (not anchor or anchor in anchors(there))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [link for link in LINK.findall(page.read_text("utf-8")) if not leads(page, link)] == []


def test_every_page_is_in_the_index() -> None:
    listed = (ROOT / "docs/README.md").read_text("utf-8")
    assert [one.name for one in ROOT.glob("docs/*.md") if f"({one.name})" not in listed] == ["README.md"]
