"""Claims of the ablations: a figure of one side against that of another, decided by a paired interval over
toys.

They are directions of effect on the demo world; the papers' figures are never presented as ours.
"""

from dataclasses import dataclass
from math import nan

from ..core.statistics import paired_interval
from .tables import Runs, applying, mean_over_seeds


@dataclass(frozen=True)
class Side:
    """One side of a claim: a run of the ablation, and the variant of its clips."""

    run: str
    variant: str


@dataclass(frozen=True)
class Claim:
    """A statement: `figure` is larger for the first side than for the second.

    sign    1, or -1 where it is smaller
    margin  how much worse the first side may be, for claims that say "no worse"
    """

    says: str
    first: Side
    second: Side
    figure: str
    sign: int = 1
    margin: float = 0.0


@dataclass(frozen=True)
class Wording:
    """Words of a claim's sentence; `statement` may name {says} and {first}, the run on the first side."""

    statement: str = "**{says}**"
    holds: str = "holds"
    fails: str = "does not hold"
    against: str = ""
    form: str = "+.3f"


@dataclass(frozen=True)
class Decision:
    """Outcome of a claim: mean and 95 % interval of first minus second; `holds` is None where the interval
    does not decide."""

    mean: float
    low: float
    high: float
    holds: bool | None


def decide(claim: Claim, runs: Runs) -> Decision:
    """Compare the sides toy by toy, each a mean over the training seeds. Toys to which the figure does not
    apply are left out; with none left nothing is decided, and the numbers are NaN."""
    first, second = (
        mean_over_seeds(runs[side.run], side.variant, claim.figure) for side in (claim.first, claim.second)
    )
    difference = applying(first - second)
    if not len(difference):
        return Decision(nan, nan, nan, None)
    mean, low, high = paired_interval(difference)
    worst, best = sorted((claim.sign * low, claim.sign * high))
    holds = True if worst > -claim.margin else False if best < -claim.margin else None
    return Decision(mean, low, high, holds)


def decision_words(holds: bool | None, wording: Wording = Wording()) -> str:
    """Words of a decision."""
    return {True: wording.holds, False: wording.fails, None: "not decided"}[holds]


def sentence(claim: Claim, runs: Runs, wording: Wording = Wording()) -> str:
    """One line of Markdown: the claim, its verdict, and the shift of its figure with the interval and the
    margin that was chosen."""
    found = decide(claim, runs)
    told = decision_words(found.holds, wording)
    mean, low, high = (format(one, wording.form) for one in (found.mean, found.low, found.high))
    statement = wording.statement.format(says=claim.says, first=claim.first.run)
    margin = f", margin {claim.margin:g}" if claim.margin else ""
    return f"- {statement}: **{told}** ({claim.figure} {mean} [{low}, {high}]{margin}{wording.against})."
