"""What a comparison says: a table of parts, then what differs, with the reason where it is allowed."""

import math
from collections.abc import Sequence
from itertools import groupby

from refvid_golden_compare import Compared, Difference, Moved

SHOWN = 30  # names of a part that differ


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
    """The largest first; those that a table allows together, one line a table."""
    found = sorted(part.differences, key=lambda one: -one.share)
    refused = [one for one in found if one.allowed_by(moved) is None]
    said = [f"  NOT ALLOWED  {_one(one)}" for one in refused[:SHOWN]]
    if len(refused) > SHOWN:
        said.append(f"  … and {len(refused) - SHOWN} more that are not allowed")
    allowed = sorted(
        (one for one in found if one.allowed_by(moved)), key=lambda one: _table(one, moved).names
    )
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
