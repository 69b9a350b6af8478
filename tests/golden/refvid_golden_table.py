"""What a comparison says: a table of parts, then what differs, with the reason where it is allowed."""

import math
from collections.abc import Sequence
from itertools import groupby

from refvid_golden_compare import Compared, Difference, Moved

SHOWN = 20  # names of a part that differ


def lines(
    parts: Sequence[Compared], moved: Sequence[Moved], seconds: dict[str, tuple[float, float]]
) -> list[str]:
    """The table, and names below it."""
    head = f"{'part':<10} {'tensors':>8} {'bit-equal':>10} {'differ':>7} {'missing':>8} {'largest':>10}"
    said = [f"{head}   seconds", *(_row(one, *seconds[one.part]) for one in parts)]
    for part in parts:
        said += _names(part, moved)
    every = [one for part in parts for one in part.differences]
    for table in moved:
        needed = any(one.allowed_by([table]) for one in every)
        said += [] if needed else [f"moved.toml: nothing needs {table.names} ({table.reason})"]
    return said


def _row(one: Compared, old: float, new: float) -> str:
    differ = one.both - one.equal
    return (
        f"{one.part:<10} {one.both:>8} {one.equal:>10} {differ:>7} {one.missing:>8} {one.largest:>10.2g}   "
        f"{old:.0f} + {new:.0f}"
    )


def _names(part: Compared, moved: Sequence[Moved]) -> list[str]:
    """What failed, then the largest first; what tables allow, one line a table."""
    found = sorted(part.differences, key=lambda one: -one.share)
    refused = [one for one in found if one.allowed_by(moved) is None]
    failed = [one for one in refused if one.says.startswith("failed")]  # often of many for one reason
    alike = {
        said: [one for one in failed if one.says == said]
        for said in dict.fromkeys(one.says for one in failed)
    }
    said = [f"  NOT ALLOWED  {_named(every)}: {says}" for says, every in alike.items()]
    measured = [one for one in refused if one not in failed]
    said += [f"  NOT ALLOWED  {_one(one)}" for one in measured[:SHOWN]]
    if len(measured) > SHOWN:
        said.append(f"  … and {len(measured) - SHOWN} more of {part.part} that are not allowed")
    return said + _allowed(found, moved)


def _named(alike: Sequence[Difference]) -> str:
    return alike[0].name + (f" and {len(alike) - 1} more" if len(alike) > 1 else "")


def _allowed(found: Sequence[Difference], moved: Sequence[Moved]) -> list[str]:
    allowed = sorted(
        (one for one in found if one.allowed_by(moved)), key=lambda one: _table(one, moved).names
    )
    said = []
    for table, group in groupby(allowed, lambda one: _table(one, moved)):
        members = list(group)
        most = max(one.share for one in members)
        said.append(f"  allowed      {len(members)} of {table.names}, up to {most:.2g} ({table.reason})")
    return said


def _table(one: Difference, moved: Sequence[Moved]) -> Moved:
    table = one.allowed_by(moved)
    assert table is not None
    return table


def _one(one: Difference) -> str:
    return f"{one.name}: {one.says}" + (f", {one.share:.3g}" if math.isfinite(one.share) else "")
