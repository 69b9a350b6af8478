"""Refusals of inputs that choose a file by its name."""

from collections.abc import Callable
from typing import Any

from ..hosts.comfy.files import model_file


def refusal_of(find: Callable[..., Any], *asked: str) -> str | None:
    """The sentence with which `find` refuses what is asked for; None where it finds it."""
    try:
        find(*asked)
    except ValueError as error:
        return str(error)
    return None


def lora_refusal(name: str, what: str = "adapter") -> str | None:
    """A sentence for a name that is none of a file in models/loras."""
    return refusal_of(model_file, "loras", name, what)
