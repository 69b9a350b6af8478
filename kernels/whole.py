"""Attention of a whole sequence in place of the host's own, by the name of its path."""

from collections.abc import Callable

from .eager import eager_attention
from .grouped import Attend, Groups
from .paths import EAGER, TRITON
from .segment_attention import triton_attention

# Made for what the queries of a sequence see; None: everyone sees everyone.
WHOLE_ATTENTION: dict[str, Callable[[Groups | None], Attend]] = {
    EAGER.name: eager_attention,
    TRITON.name: triton_attention,
}
