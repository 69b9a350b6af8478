"""One constant frame rate for films that were recorded with another, or with none."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median

FASTEST = 60  # pictures a second that a film is re-timed to: what is declared above is a file's clock
FINEST = 1001  # largest denominator of a measured rate: 30000/1001 is television's


@dataclass(frozen=True)
class Timed:
    """Pictures that are shown at the places of a constant rate, and that rate, in pictures a second."""

    shown: list[int]
    rate: Fraction


def constant_rate(times: Sequence[Fraction], end: Fraction, declared: Iterable[Fraction | None]) -> Timed:
    """times: when each picture begins to be shown, in seconds, ascending; end: when the last one ceases to
    be.

    Every picture once, at the first rate at which each lies less than half a picture from its time. The rates
    are those declared, the mean one in whole numbers and the mean one. Else re-timed [choice: re-timing]: a
    place shows the latest picture whose time rounds to it or earlier, so that the length is kept to half a
    picture. The rate is then the fastest declared up to FASTEST, which loses the fewest pictures, or that of
    the median step. ValueError for times that do not ascend.
    """
    if any(later <= earlier for earlier, later in itertools.pairwise(times)) or end <= times[-1]:
        raise ValueError("its timestamps do not ascend")
    places = [one - times[0] for one in (*times, end)]
    mean = (Fraction(len(times)) / places[-1]).limit_denominator(FINEST)
    known = [one for one in declared if one]
    for rate in (*known, *([Fraction(round(mean))] if mean > 1 else []), mean):
        if all(abs(place * rate - k) < Fraction(1, 2) for k, place in enumerate(places)):
            return Timed(list(range(len(times))), rate)
    steps = [later - earlier for earlier, later in itertools.pairwise(places)]
    usual = (1 / median(steps)).limit_denominator(FINEST)
    rate = max([one for one in known if one <= FASTEST], default=usual)
    begins = [round(place * rate) for place in places]
    shown: list[int] = []
    for k, (begin, stop) in enumerate(itertools.pairwise(begins)):
        shown[begin:] = [k] * max(stop - begin, 1)
    return Timed(shown[: max(begins[-1], 1)], rate)
