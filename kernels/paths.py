"""Which attention runs, and why: every path says what it cannot take, the first that can is chosen."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)
_told: set[tuple[str, str]] = set()
AUTO = "auto"


@dataclass(frozen=True)
class Need:
    """What an evaluation asks of its self-attention, and of whom.

    bias         log weights on the keys of references (a strength, a fade, a soft mask)
    drops_masks  why a mask would be lost in the attention that the host has, or None
    no_triton    why this package's Triton kernels cannot run here, or None
    averages     a reference reads frame by frame and takes the mean
    """

    bias: bool = False
    drops_masks: str | None = None
    no_triton: str | None = None
    averages: bool = False


@dataclass(frozen=True)
class Path:
    """One way to run self-attention. `why_not` answers with a reason, or None where the path takes it."""

    name: str
    says: str
    why_not: Callable[[Need], str | None]


@dataclass(frozen=True)
class Choice:
    """The path that runs and why it is that one."""

    path: Path
    reason: str


def _takes_all(_: Need) -> None:
    return None


REMOVAL = Path(
    "removal",
    "the host's attention, over the keys that may be seen",
    lambda need: "a strength, a fade or a soft mask weighs keys" if need.bias else None,
)
BIAS = Path(
    "bias", "the host's attention, with log weights on keys as its mask", lambda need: need.drops_masks
)
SDPA = Path("sdpa", "torch's own attention in place of the host's", _takes_all)
TRITON = Path(
    "triton",
    "this pack's Triton kernel, over the blocks of tokens that see each other",
    lambda need: "a reference reads frame by frame, which takes a mean" if need.averages else need.no_triton,
)
EAGER = Path("eager", "plain torch with a whole mask, to check the others by; slow", _takes_all)
PATHS = (REMOVAL, BIAS, SDPA)  # in the order they are tried
# Taken only where asked for: no GPU has timed TRITON yet.
NAMED = {path.name: path for path in (TRITON, EAGER)}
NAMES = (AUTO, *NAMED)


def choose_path(need: Need, name: str = AUTO) -> Choice:
    """The path named where it takes what is needed, else the first of PATHS that does, with the reasons why the ones
    before it do not. ValueError lists the names."""
    if name not in NAMES:
        raise ValueError(f"attention is {name!r}; choose one of {', '.join(NAMES)}")
    refused = []
    for path in (*((NAMED[name],) if name in NAMED else ()), *PATHS):
        reason = path.why_not(need)
        if reason is None:
            usual = "it was asked for by name" if path.name == name else "no key needs a weight"
            return Choice(path, "; ".join(refused) or usual)
        refused.append(f"not {path.name}: {reason}")
    raise AssertionError("the last path takes everything")


def tell_path(choice: Choice) -> None:
    """Log a choice, once."""
    key = (choice.path.name, choice.reason)
    if key not in _told:
        _told.add(key)
        logger.info("refvid: attention path %s (%s): %s", choice.path.name, choice.path.says, choice.reason)
