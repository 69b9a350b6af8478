"""What a fault is. Where code moves, `file` follows it; where it is written anew, `old` and `new`."""

from dataclasses import dataclass

UNIT = "tests/unit/test_"


@dataclass(frozen=True)
class Fault:
    """What is replaced in a file, what that breaks, and the tests in tests/unit that have to fail of it: by
    the ends of their names, with or without a function."""

    id: str
    breaks: str
    file: str
    old: str
    new: str
    by: tuple[str, ...]

    @property
    def tests(self) -> tuple[str, ...]:
        """As pytest takes them."""
        ends = (name.partition("::") for name in self.by)
        return tuple(f"{UNIT}{file}.py{colons}{test}" for file, colons, test in ends)
