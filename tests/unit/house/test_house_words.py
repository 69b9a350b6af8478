"""How docstrings are written: a noun or verb of the field first, short sentences, choices by name."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# Every room, and files of the root.
ROOMS = ("bench", *sorted(room.parent.name for room in ROOT.glob("*/__init__.py")))
FILES = ("__init__.py", "__main__.py", "refvid.py")
MOST = 25  # words of a sentence
# Words that name no subject, so that nobody finds a docstring by them.
NO_SUBJECT = re.compile(
    r"(What|Who|Whom|Whose|Where|Which|When|Whether|How|Why|The same|The two|This|That|These|Those|It|They|Its"
    r"|Their|So|If|As|At|For|From|In|Of|On|With)\b"
)
WORD = re.compile(r"[^\W_][\w'’.,/×-]*")
COMMAND = re.compile(r"\n {4}python .*")
CITED = re.compile(r"\[choice:\s+([\w-]+)\]")
ROW = re.compile(r"^\| `([\w-]+)` \|.*\| `([\w/.]+)` \|$", re.MULTILINE)
ITEM = re.compile(r"\n(?=\w[\w, ]*?  +\S)")  # of a list: a name, two spaces or more, what it is


def docstrings(text: str) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring of a file."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            said = ast.get_docstring(node)
            if said:
                yield node.body[0].lineno, said


def sentences(said: str) -> Iterator[str]:
    """Sentences of a docstring, and items of its lists; without commands and without what is in brackets,
    which is shapes and asides."""
    said = ITEM.sub("\n\n", COMMAND.sub("", re.sub(r"`[^`]*`", "name", said)))
    before = ""
    while before != said:
        before, said = said, re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", said)
    for paragraph in re.split(r"\n\s*\n", said):
        yield from re.split(r"(?<=[.!?])\s+|->", " ".join(paragraph.split()))


def faults(text: str) -> list[tuple[int, str]]:
    """Lines of a file, and what is wrong with the docstrings there."""
    found = []
    for line, said in docstrings(text):
        if NO_SUBJECT.match(said):
            found.append((line, f"begins with no subject: {said[:40]}"))
        long = [one for one in sentences(said) if len(WORD.findall(one)) > MOST]
        found += [(line, f"more than {MOST} words: {one[:40]}") for one in long]
    return found


def files() -> list[Path]:
    return [ROOT / file for file in FILES] + [file for room in ROOMS for file in (ROOT / room).rglob("*.py")]


@pytest.mark.parametrize("file", sorted(files()), ids=lambda file: file.relative_to(ROOT).as_posix())
def test_docstrings_name_their_subject_and_have_short_sentences(file):
    assert faults(file.read_text("utf-8")) == []


def test_a_subject_comes_first():
    assert faults('def f():\n    """Whether it is so."""')[0][0] == 2
    assert not faults('def f():\n    """Whetstones, sorted."""')


@pytest.mark.parametrize(
    ("said", "long"),
    [
        (" ".join(["word"] * 25) + ".", False),
        (" ".join(["word"] * 26) + ".", True),
        (" ".join(["word"] * 20) + ". " + " ".join(["word"] * 20) + ".", False),
        (" ".join(["word"] * 25) + " (B, C, (F, h), w).", False),
        ("Sizes.\n\nwide   " + "word " * 20 + "\nnarrow   " + "word " * 20, False),
        ("Sizes.\n\n" + "word " * 13 + "\n" + "word " * 13, True),
    ],
)
def test_sentences_end_where_they_end(said, long):
    assert bool(faults(f'"""{said}"""')) == long


def cited(texts: dict[str, str]) -> dict[str, set[str]]:
    """Names of choices, and the files that cite them."""
    found: dict[str, set[str]] = {}
    for file, text in texts.items():
        for name in CITED.findall(text):
            found.setdefault(name, set()).add(file)
    return found


def pack() -> dict[str, str]:
    """Python files of the pack, without tests."""
    rooms = [place.parent for place in ROOT.glob("*/__init__.py")] + [ROOT / "bench"]
    files = [file for room in rooms for file in room.rglob("*.py")] + list(ROOT.glob("*.py"))
    return {file.relative_to(ROOT).as_posix(): file.read_text("utf-8") for file in files}


def test_every_choice_is_in_code_and_on_the_page_once():
    rows = ROW.findall((ROOT / "docs" / "choices.md").read_text("utf-8"))
    assert len(rows) == len(dict(rows)) > 0
    found = cited(pack())
    assert found.keys() == dict(rows).keys()
    assert {name: file for name, file in rows if file not in found[name]} == {}


def test_rooms_that_are_done_call_no_choice_theirs():
    said = re.compile(r'(?<!")\bour\s+choice', re.IGNORECASE)  # a recipe's source may be one, in quotes
    done = {name for name in pack() if name.startswith(tuple(f"{room}/" for room in ROOMS)) or name in FILES}
    assert [name for name, text in pack().items() if name in done and said.search(text)] == []


def test_a_choice_is_found_over_the_end_of_a_line():
    assert cited({"a.py": "x [choice:\n    so-it-is]", "b.py": "[choice: so-it-is]"}) == {
        "so-it-is": {"a.py", "b.py"}
    }
