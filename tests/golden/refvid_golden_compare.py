"""Two records of what trees make, tensor by tensor: what is equal bit for bit, what moved, by how much."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

FAILED = "failed"  # metadata of a record: what raised, by the name of its case
WHITE = 255  # of pictures in bytes


@dataclass(frozen=True)
class Moved:
    """Names (a glob) that may differ by so much, and why."""

    names: str
    bound: float
    reason: str


@dataclass(frozen=True)
class Difference:
    """What differs: by a share of the largest value before, inf where nothing can be measured."""

    name: str
    share: float
    says: str

    def allowed_by(self, moved: Sequence[Moved]) -> Moved | None:
        """The first table that names it and whose bound holds it."""
        fitting = (one for one in moved if fnmatchcase(self.name, one.names) and self.share <= one.bound)
        return next(fitting, None)


@dataclass(frozen=True)
class Compared:
    """One part: how many tensors both records hold, how many are equal in every bit, what differs."""

    part: str
    both: int
    equal: int
    missing: int
    differences: tuple[Difference, ...]

    @property
    def largest(self) -> float:
        """The largest difference that could be measured."""
        return max((one.share for one in self.differences if math.isfinite(one.share)), default=0.0)


def read_record(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors, and what failed. ValueError for a file that is none of ours or cut short."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            failed = json.loads((file.metadata() or {})[FAILED])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"record {path} cannot be read ({error}); remove it, it is made anew") from error
    return tensors, failed


def read_moved(path: Path) -> list[Moved]:
    """What may differ. ValueError for a table that is not of names, bound and reason."""
    import tomllib  # Python 3.11

    found = []
    for number, table in enumerate(tomllib.loads(path.read_text("utf-8")).get("moved", []), 1):
        kinds = {"names": str, "bound": float, "reason": str}
        if table.keys() != kinds.keys() or not all(type(table[key]) is kind for key, kind in kinds.items()):
            raise ValueError(
                f"{path.name}: table {number} is {table}; needed names (text), bound (a number with a point, "
                "1e-6 or inf) and reason (text)"
            )
        if not table["bound"] >= 0 or not table["reason"].strip():
            raise ValueError(f"{path.name}: table {number} needs a bound of 0 or more and a reason")
        found.append(Moved(**table))
    return found


def compare(part: str, old: Path, new: Path) -> Compared:
    """The records of one part. What failed on a side, and what is on one side alone, differs by inf."""
    (before, failed_before), (after, failed_after) = read_record(old), read_record(new)
    both = sorted(before.keys() & after.keys())
    differences = []
    for name in both:
        if not same_bits(before[name], after[name]):
            differences.append(Difference(f"{part}/{name}", *difference(before[name], after[name])))
    missing = dict.fromkeys(before.keys() - after.keys(), "only in the old")
    missing |= dict.fromkeys(after.keys() - before.keys(), "only in the new")
    for name, says in sorted(missing.items()):
        differences.append(Difference(f"{part}/{name}", math.inf, says))
    for side, failed in (("old", failed_before), ("new", failed_after)):
        differences += _failures(part, side, failed)
    equal = sum(same_bits(before[name], after[name]) for name in both)
    return Compared(part, len(both), equal, len(missing), tuple(differences))


def _failures(part: str, side: str, failed: Mapping[str, str]) -> list[Difference]:
    return [
        Difference(f"{part}/{name}", math.inf, f"failed in the {side}: {said}")
        for name, said in failed.items()
    ]


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Shape, type and every bit: 0 and -0 differ, a NaN equals itself."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(_bits(one), _bits(other))


def _bits(tensor: Tensor) -> Tensor:
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def difference(old: Tensor, new: Tensor) -> tuple[float, str]:
    """(share, words): the largest difference as a share of the largest value before, of white for bytes; inf
    where shapes or types differ, or where one is finite and the other is not."""
    if old.shape != new.shape:
        return math.inf, f"has shape {tuple(new.shape)}, had {tuple(old.shape)}"
    if old.dtype != new.dtype:
        return math.inf, f"is {new.dtype}, was {old.dtype}"
    before, after = old.double(), new.double()
    known = before.isfinite()
    if not torch.equal(known, after.isfinite()) or not torch.equal(
        before[~known].nan_to_num(), after[~known].nan_to_num()
    ):
        return math.inf, f"{int((known ^ after.isfinite()).sum())} values are finite on one side alone"
    off = (after - before)[known].abs()
    scale = WHITE if old.dtype == torch.uint8 else before[known].abs().max().item() if known.any() else 0.0
    most = off.max().item() if len(off) else 0.0
    moved = int((off > 0).sum())
    return (most / scale if scale else math.inf if most else 0.0), f"{moved} of {old.numel()} values"
