"""VACE's forward as it was published (Wan-Video/Wan2.1, wan/modules/vace_model.py), from weights alone, as an
oracle: float64, one clip, one softmax over everything, with a table of who sees whom and weights of keys."""

import torch
from refvid_sama_published import Published
from torch import Tensor
from torch.nn import functional as F

from refvid.core.controls import Controls, FrameWindow, StepWindow
from refvid.core.references import Reference, make_reference

HEADS, LAYERS, CHANNELS = 2, 2, 16


class PublishedVace(Published):
    """Blocks and hint branch of tiny weights, with heads of 48 features."""

    def __init__(
        self, state: dict[str, Tensor], heads: int = HEADS, layers: int = LAYERS, exact: bool = False
    ):
        self.type = torch.float64 if exact else torch.float32  # of the embedding of patches
        self.state, self.modules = {key: value.double() for key, value in state.items()}, {}
        self.sizes, self.layers, self.table = _Heads(heads), layers, torch.zeros(())

    def logits(self, logits: Tensor, own: bool) -> Tensor:
        return logits + self.table if own else logits

    def embedded(self, frames: Tensor, name: str) -> Tensor:
        """Tokens of frames (C, F, h, w), by a convolution, which ComfyUI keeps in float32."""
        weight, bias = (self.state[f"{name}.{part}"].to(self.type) for part in ("weight", "bias"))
        made = F.conv3d(frames[None].to(self.type), weight, bias, (1, 2, 2))
        return made[0].flatten(1).mT.double()

    def velocity(
        self, x: Tensor, hint: Tensor, words: Tensor, time: float, table: Tensor, strength: float
    ) -> Tensor:
        """Velocity (C, F, h, w) of frames x with their hint (96, F, h, w), states of the text (S, width).
        table (L, L), added to the logits of query over key, in blocks and hint branch."""
        self.table = table
        tokens, turn = self.embedded(x, "patch_embedding"), rotation(*x.shape[1:])
        context = self.linear(
            F.gelu(self.linear(words.double(), "text_embedding.0"), approximate="tanh"), "text_embedding.2"
        )
        waves = time * 10000 ** (-torch.arange(128).double() / 128)
        clock = self.linear(torch.cat([waves.cos(), waves.sin()]), "time_embedding.0")
        clock = self.linear(F.silu(clock), "time_embedding.2")
        six = self.linear(F.silu(clock), "time_projection.1").view(6, -1)
        shown, skips = self.embedded(hint, "vace_patch_embedding"), []
        shown = self.linear(shown, "vace_blocks.0.before_proj") + tokens
        for index in range(self.layers):
            shown = self.block(f"vace_blocks.{index}", shown, six, context, turn)
            skips.append(self.linear(shown, f"vace_blocks.{index}.after_proj"))
        for index in range(self.layers):
            tokens = self.block(f"blocks.{index}", tokens, six, context, turn) + strength * skips[index]
        shift, scale = self.state["head.modulation"][0] + clock
        made = self.linear(self.norm(tokens) * (1 + scale) + shift, "head.head")
        frames, rows, columns = x.shape[1], x.shape[2] // 2, x.shape[3] // 2
        parts = made.view(frames, rows, columns, 2, 2, CHANNELS)
        return parts.permute(5, 0, 1, 3, 2, 4).reshape(CHANNELS, frames, 2 * rows, 2 * columns)


class _Heads:
    def __init__(self, heads: int):
        self.heads = heads


def rotation(frames: int, rows: int, columns: int) -> Tensor:
    """Of every token of a video, (L, 24) complex: a third of a head's 48 features each for time, height and
    width."""
    rates = 10000.0 ** (-torch.arange(0, 16, 2).double() / 16)
    turns = [
        torch.cat([t * rates, y * rates, x * rates])
        for t in range(frames)
        for y in range(rows // 2)
        for x in range(columns // 2)
    ]
    return torch.polar(torch.ones(len(turns), 24).double(), torch.stack(turns))


FRAMES, LEFT_HALF = 3, torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)
EACH, SIGMA = 16, 1 / 64  # late: timesteps are waves in float32, whose phase is off by more early


def table(*references: dict) -> torch.Tensor:
    """(L, L), what is added to the logit of each query over each key: a reference has a weight, shown tokens
    (16,) bool, where in the video it acts (48,) bool, and what it sees."""
    front = EACH * len(references)
    length = front + FRAMES * EACH
    made = torch.zeros(length, length, dtype=torch.float64)
    for index, one in enumerate(references):
        own = slice(index * EACH, (index + 1) * EACH)
        made[:, own] += one.get("weight", torch.zeros(EACH))
        made[:, own] += torch.where(one.get("shown", torch.ones(EACH, dtype=torch.bool)), 0.0, -torch.inf)
        acts = one.get("acts", torch.ones(FRAMES * EACH, dtype=torch.bool))
        made[front:, own] += torch.where(acts, 0.0, -torch.inf)[:, None]
    sees = [one.get("sees", "all") for one in references]
    for query, says in enumerate(sees):
        rows = slice(query * EACH, (query + 1) * EACH)
        for key, other in enumerate(sees):
            if query != key and not says == other == "all":
                made[rows, key * EACH : (key + 1) * EACH] = -torch.inf
        if says == "itself":
            made[rows, front:] = -torch.inf
    return made


def half() -> torch.Tensor:
    """The left half of a frame's tokens."""
    return torch.arange(EACH) % 4 < 2


EARLY = StepWindow(0.0, 0.5)
CASES = {
    "neutral": ([Controls(), Controls()], [None, None], [None, None], [{}, {}]),
    "strengths": (
        [Controls(0.5), Controls(2.0)], [None, None], [None, None],
        [{"weight": torch.full((EACH,), 0.5).log()}, {"weight": torch.full((EACH,), 2.0).log()}],
    ),
    "a mask": ([Controls(), Controls()], [LEFT_HALF, None], [None, None], [{"shown": half()}, {}]),
    "a soft mask with a strength": (
        [Controls(), Controls(0.5, soft=True)], [None, 0.75 * LEFT_HALF], [None, None],
        [{}, {"shown": half(), "weight": torch.full((EACH,), 0.375).log()}],
    ),
    "a region": (
        [Controls(), Controls(0.5)], [None, None], [LEFT_HALF, None],
        [{"acts": half().repeat(FRAMES)}, {"weight": torch.full((EACH,), 0.5).log()}],
    ),
    "frames of the video": (
        [Controls(frames=FrameWindow(1, 4)), Controls()], [None, LEFT_HALF], [None, None],
        [{"acts": torch.arange(FRAMES * EACH) // EACH == 1}, {"shown": half()}],
    ),
    "outside of its steps": (
        [Controls(steps=EARLY), Controls()], [None, None], [None, None],
        [{"shown": torch.zeros(EACH, dtype=torch.bool)}, {}],
    ),
    "sees the video, and itself": (
        [Controls(sees="video"), Controls(sees="itself")], [None, None], [None, None],
        [{"sees": "video"}, {"sees": "itself"}],
    ),
}  # fmt: skip


def references(name: str) -> list[Reference]:
    """The two references of a case."""
    controls, masks, regions, _ = CASES[name]
    pictures = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(3))
    return [make_reference(*one) for one in zip(pictures, masks, controls, regions, strict=True)]


def said(name: str) -> Tensor:
    """Table of a case, in words of the controls alone."""
    return table(*CASES[name][3])
