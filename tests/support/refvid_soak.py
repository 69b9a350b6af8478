"""Amounts of a test of faults: a small part in every run, all of it in `make soak`."""

import os
from typing import TypeVar

AmountT = TypeVar("AmountT")


def amount(small: AmountT, full: AmountT) -> AmountT:
    """`full` under REFVID_SOAK=1, else `small`."""
    return full if os.environ.get("REFVID_SOAK") == "1" else small
