"""Paths of attention, and why one runs. Every path says what it cannot take. Of the others the winner of a
race is chosen where one was held (`kernels.race`), else the first in their order."""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)
_told: set[tuple[str, str]] = set()
ANY_ATTENTION = "auto"
DETERMINISTIC = "deterministic"  # the order of PATHS, whatever is faster
ASKED = "REFVID_ATTENTION"  # environment variable: what auto means


@dataclass(frozen=True)
class Need:
    """Need of an evaluation: what it asks of its self-attention, and of whom.

    bias         log weights on the keys of references (a strength, a fade, a soft mask)
    drops_masks  why a mask would be lost in the attention that the host has, or None
    no_triton    why this package's Triton kernels cannot run here, or None
    averages     a reference reads frame by frame and takes the mean
    no_wide      why heads that carry an automatic region are too wide for the attention that the host has,
                 or None
    """

    bias: bool = False
    drops_masks: str | None = None
    no_triton: str | None = None
    averages: bool = False
    no_wide: str | None = None


@dataclass(frozen=True)
class Path:
    """One way to run self-attention. `why_not` answers with a reason, or None where the path takes it."""

    name: str
    says: str
    why_not: Callable[[Need], str | None]


@dataclass(frozen=True)
class PathChoice:
    """The path that runs and why it is that one."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Verdict:
    """Verdict of a race: the path that won, None where none was left; medians in milliseconds; why others
    were left out. lasting says whether it holds for later processes: not where memory ran out."""

    path: str | None
    milliseconds: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    lasting: bool = True

    def __str__(self) -> str:
        timed = sorted(self.milliseconds.items(), key=lambda one: one[1])
        out = [f"{name} left out: {reason}" for name, reason in self.left_out.items()]
        return "; ".join([", ".join(f"{name} {taken:.3g} ms" for name, taken in timed) or "none timed", *out])


def _takes_all(_: Need) -> None:
    return None


REMOVAL = Path(
    "removal",
    "the host's attention, over the keys that may be seen",
    lambda need: "a strength, a fade or a soft mask weighs keys" if need.bias else need.no_wide,
)
BIAS = Path(
    "bias",
    "the host's attention, with log weights on keys as its mask",
    lambda need: need.drops_masks or need.no_wide,
)
SDPA = Path("sdpa", "torch's own attention in place of the host's", _takes_all)
TRITON = Path(
    "triton",
    "this pack's Triton kernel, over the blocks of tokens that see each other",
    lambda need: "a reference reads frame by frame, which takes a mean" if need.averages else need.no_triton,
)
EAGER = Path("eager", "plain torch with a whole mask, to check the others by; slow", _takes_all)
PATHS = (REMOVAL, BIAS, SDPA)  # in the order they are tried
PATHS_BY_NAME = {
    path.name: path for path in (TRITON, EAGER)
}  # taken where asked for; TRITON where it wins a race, too
ATTENTION_NAMES = (ANY_ATTENTION, *PATHS_BY_NAME, DETERMINISTIC)
ALL = {path.name: path for path in (*PATHS, *PATHS_BY_NAME.values())}


def attention_asked(name: str) -> str:
    """Attention that a user asks for: `name`, in whose place the environment may say what auto means.
    ValueError lists the names."""
    said = os.environ.get(ASKED) or ANY_ATTENTION
    for given, where in ((name, "attention"), (said, f"the environment's {ASKED}")):
        if given not in ATTENTION_NAMES:
            raise ValueError(f"{where} is {given!r}; choose one of {', '.join(ATTENTION_NAMES)}")
    return said if name == ANY_ATTENTION else name


def rivals(need: Need) -> tuple[Path, ...]:
    """The paths that say the same for a need, in their order. Where no key has a weight, torch's own has no
    part in it: the host's attention runs without a mask."""
    among = (BIAS, SDPA, TRITON) if need.bias else (REMOVAL, TRITON)
    return tuple(path for path in among if path.why_not(need) is None)


def choose_path(need: Need, name: str = ANY_ATTENTION, verdict: Verdict | None = None) -> PathChoice:
    """Choose the path that is asked for where it takes what is needed, or that won a race. Else it is the
    first of PATHS that does, with the reasons why the ones before it do not. ValueError lists the names."""
    name = attention_asked(name)
    refused = []
    for path, reason in _order(name, verdict):
        missing = path.why_not(need)
        if missing is None:
            usual = "; ".join(refused) or "no key needs a weight"
            return PathChoice(path, "; ".join([*refused, reason]) if reason else usual)
        refused.append(f"not {path.name}: {missing}")
    raise AssertionError("the last path takes everything")


def _order(name: str, verdict: Verdict | None) -> list[tuple[Path, str]]:
    """The paths to try, and why if not for what they take. Those that a race left out come last."""
    if name in PATHS_BY_NAME:
        return [(PATHS_BY_NAME[name], "it was asked for by name"), *((path, "") for path in PATHS)]
    if verdict is None or name == DETERMINISTIC:
        return [(path, "") for path in PATHS]
    said = f"timed here: {verdict}"
    won = [] if verdict.path is None else [ALL[verdict.path]]
    right = [path for path in PATHS if path not in won and path.name not in verdict.left_out]
    return [(path, said) for path in (*won, *right, *PATHS)]


def tell_path(choice: PathChoice) -> None:
    """Log a choice, once."""
    key = (choice.path.name, choice.reason)
    if key not in _told:
        _told.add(key)
        logger.info("refvid: attention path %s (%s): %s", choice.path.name, choice.path.says, choice.reason)
