"""Fault, as the tables name it. Where code moves, `file` follows it; where it is written anew, `old` and
`new`."""

from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Fault:
    """Text that is replaced in a file, what that breaks, and the tests in tests/unit that have to fail of it:
    by the ends of their names, with or without a function."""

    id: str
    breaks: str
    file: str
    old: str
    new: str
    by: tuple[str, ...]

    @property
    def tests(self) -> tuple[str, ...]:
        """Names as pytest takes them."""
        ends = (name.partition("::") for name in self.by)
        return tuple(f"{_file(name)}{colons}{test}" for name, colons, test in ends)


def _file(name: str) -> str:
    """File of a name, from the root; every name is in one room. ValueError where there is none."""
    (found,) = TESTS.glob(f"unit/*/test_{name}.py")
    return found.relative_to(TESTS.parent).as_posix()
