"""Reasons for which clips are refused: each is in the table of docs/data.md."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[3]
TABLE = (ROOT / "docs" / "data.md").read_text("utf-8").partition("| reason |")[2].partition("\n\n")[0]
CALLED = ("Refused", "refused")


def reasons(file: Path) -> Iterator[str]:
    """Words of each reason that a file gives: of one with a number in it, those before the number."""
    given = []
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given += [node.args[0]] if name in CALLED else []
    module = import_module(".".join(("refvid", *file.relative_to(ROOT).with_suffix("").parts)))
    for one in given:
        if isinstance(one, ast.Name) and one.id.isupper():
            yield getattr(module, one.id)
        elif isinstance(one, ast.JoinedStr):
            one = one.values[0]
        if isinstance(one, ast.Constant):
            yield str(one.value).strip()


def test_every_reason_is_in_the_table_of_the_docs():
    found = {reason for file in (ROOT / "data").rglob("*.py") for reason in reasons(file)}
    assert {"static", "shorter than", "no caption", "masks that do not fit"} <= found
    assert {reason for reason in found if reason not in TABLE} == set()
