"""The base class of this pack's nodes, and their socket types, one per domain object."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import Parameter, Signature, signature
from typing import Any

from comfy_api.latest import io, ui
from comfy_execution.utils import get_executing_context

from ..core.controls import FITS
from .input_checks import checked_names, literal_refusal, require_inputs

ReferencesSocket = io.Custom("REFVID_REFERENCE")  # list[core.references.Reference]
AdapterSocket = io.Custom("REFVID_ADAPTER")  # hosts.comfy.adapters.LoadedAdapter
IdentitySocket = io.Custom("REFVID_IDENTITY")  # core.identity.Identity
LongVideoSocket = io.Custom("REFVID_LONG_VIDEO")  # core.long_video.LongVideo
SHARE_STEP = 0.001  # the frontend rounds what is typed to the decimals of a step, whatever `round` says
FACTOR_STEP = 0.01  # of strengths and scales
# Tooltips of what several nodes have
LOW_NOISE = "The second model of Wan 2.2 14B, for low noise levels. It is patched in the same way."
LOW_NOISE_OUT = "The second model, patched; empty where none came in."
# Nodes on which a text is drawn: ids in a graph, which another graph gives to others, and types
_told_on: set[tuple[str | None, str]] = set()


class Category:
    """Folders of the node library, by task."""

    # No node is an essential (`essentials_category`): the frontend's list of those is its own, and the mark
    # would only move ours from the extensions to the nodes of ComfyUI.
    LOADERS = "refvid/loaders"
    REFERENCES = "refvid/references"
    IDENTITY = "refvid/identity"
    FRAMES = "refvid/frames and long video"
    GUIDANCE = "refvid/guidance and sampling"
    EDITING = "refvid/editing"
    MEASURING = "refvid/inspection and training"


class Node(io.ComfyNode):
    """A node whose inputs are what its schema says. Of an optional input that is empty, `execute` gets its
    own default.

    Literals where links belong are refused before a prompt runs, everything else before the node does. The
    ValueError names the input, what came and what is needed.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        run = cls.__dict__["execute"].__func__
        if hasattr(run, "__wrapped__"):
            return  # ComfyUI runs a node on a copy of its class
        cls.execute = classmethod(_checked(run))
        cls.validate_inputs = classmethod(_literals_checked(checked_names(cls.define_schema())))


def _checked(run: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
    names = list(signature(run).parameters)[1:]

    @functools.wraps(run)
    def execute(cls: type[Node], *args: Any, **kwargs: Any) -> io.NodeOutput:
        values = dict(zip(names, args, strict=False)) | kwargs
        context = get_executing_context()
        node = None if context is None else context.node_id
        schema = cls.define_schema()
        kind = schema.node_id
        with _refusal_shown(node, kind):
            require_inputs(schema, values)
            out = run(cls, **{name: value for name, value in values.items() if value is not None})
        _tell(_said(out.ui), node, kind)
        return out

    return execute


def _said(shown: Any) -> str:
    """The text of what a node shows: the frontend draws it on its own Preview as Text alone."""
    if isinstance(shown, ui.PreviewText):
        return shown.value
    return "".join(shown.get("text", ())) if isinstance(shown, dict) else ""


@contextmanager
def _refusal_shown(node: str | None, kind: str) -> Iterator[None]:
    """Draw a refusal on the node that refuses. The frontend's own words are that the node threw an error;
    the sentence is further down, in the middle of its report."""
    _tell("", node, kind)
    try:
        yield
    except ValueError as error:
        _tell(str(error), node, kind)
        raise


def _tell(text: str, node: str | None, kind: str) -> None:
    """Draw a text on a node, or take away what stands there."""
    if text or (node, kind) in _told_on:
        _show_text(text or " ", node)  # an empty text would be ignored
    (_told_on.add if text else _told_on.discard)((node, kind))


def _literals_checked(names: list[str]) -> Callable[..., bool | str]:
    def validate_inputs(cls: type[Node], **values: Any) -> bool | str:
        return literal_refusal(cls.define_schema(), values) or True

    # The server hands over what the signature names, and checks the bounds of all others itself.
    taken = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in ("cls", *names)]
    validate_inputs.__signature__ = Signature(taken)  # pyright: ignore[reportFunctionMemberAccess]
    return validate_inputs


def fit_input(what: str) -> io.Combo.Input:
    """Input of how other sizes are fitted; `what` is said of in one sentence."""
    return io.Combo.Input("fit", optional=True, options=list(FITS), default=FITS[0], advanced=True,
                          tooltip=f"{what} crop: the middle of it, in the right aspect. pad: all of it, with "
                                  "margins. stretch: all of it, out of shape.")  # fmt: skip


def hidden_of(node: type[Node]) -> tuple[dict[str, Any] | None, str | None]:
    """The prompt that a node runs in, and its id there; nothing of either without a server."""
    return (node.hidden.prompt, node.hidden.unique_id) if node.hidden else (None, None)


def _show_text(text: str, node: str | None) -> None:
    """Show a text on a node of the page that asked for the run; without a server, nowhere."""
    from server import PromptServer  # ComfyUI's, which is not there before it serves

    sender = getattr(PromptServer, "instance", None)
    if sender is not None and node:
        sender.send_progress_text(text, node)
