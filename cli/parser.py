"""Parsers of all commands: what their `--help` says of defaults and numbers, and how wide it is."""

import argparse
import shutil
import textwrap
from typing import Any

_WIDEST = 100  # columns
_NUMBERS: dict[Any, str] = {int: "N", float: "NUMBER"}


class CommandParser(argparse.ArgumentParser):
    """A parser whose help tells each default; so do those of its commands."""

    def __init__(self, *names: Any, **how: Any):
        super().__init__(*names, **{"formatter_class": _Help, **how})


class _Help(argparse.HelpFormatter):
    def __init__(self, prog: str, **how: Any):
        columns = min(shutil.get_terminal_size().columns - 2, _WIDEST)
        super().__init__(prog, **{"max_help_position": 28, "width": columns, **how})

    def _get_help_string(self, action: argparse.Action) -> str:
        told = action.help or ""
        return f"{told}; default %(default)s" if _says(action) else told

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)  # names stay whole

    def _get_default_metavar_for_optional(self, action: argparse.Action) -> str:
        return _NUMBERS.get(action.type) or super()._get_default_metavar_for_optional(action)


def _says(action: argparse.Action) -> bool:
    """True for a default that acts: not for one that is nothing, off or empty, nor for a command's own."""
    return (
        not action.required
        and action.default not in (None, False, "", argparse.SUPPRESS)
        and action.default != []
    )
