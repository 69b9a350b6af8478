"""Refusals of options that have nothing to act on: by name, before anything is read."""

import argparse
from collections.abc import Mapping, Sequence


def is_given(options: argparse.Namespace, name: str) -> bool:
    """True where a command line says something by this option. Its default says nothing: None, False, auto,
    or empty."""
    value = getattr(options, name, None)
    return not (value is None or value is False or value in ([], "", "auto"))


def refuse_without(options: argparse.Namespace, needs: Mapping[str, Sequence[str]]) -> None:
    """ValueError for an option that is given without any of those that it acts on."""
    for name, others in needs.items():
        if is_given(options, name) and not any(is_given(options, other) for other in others):
            wanted = " or ".join(map(spelled, others))
            raise ValueError(f"{spelled(name)}: needs {wanted} beside it; give that, or leave it out")


def refuse(options: argparse.Namespace, reasons: Mapping[str, str]) -> None:
    """ValueError for an option that is given where it cannot act, with the reason why."""
    for name, reason in reasons.items():
        if is_given(options, name):
            raise ValueError(f"{spelled(name)}: {reason}; leave it out")


def spelled(name: str) -> str:
    """An option as it is typed. Its name in a namespace may end in _, where Python has the word for
    itself."""
    return "--" + name.strip("_").replace("_", "-")


def require_least(least: int, name: str, given: int) -> int:
    """The number that an option gives. ValueError for less than `least`."""
    if given < least:
        raise ValueError(f"{spelled(name)} is {given}; give {least} or more")
    return given
