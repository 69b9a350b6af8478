"""Wan's forward with reference pictures as each public method was published, from weights alone: float64, one
clip, one softmax over everything. It knows nothing of the package."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

HEADS, LAYERS, CHANNELS, STRIDE, TOKEN = 2, 2, 16, 8, 16
Start = tuple[int, int, int]  # frame, row and column of a picture's first token


@dataclass(frozen=True)
class Method:
    """Published way of references.

    at      start of reference k of n beside a video of F frames, H rows and W columns
    ground  what pads a picture to the video's size; None: pictures keep their own
    reads   whether references read the prompt
    slots   that are always there, zero latents where no picture is
    null    what the pass without conditions has: "zero" latents, all of them ("keep"), or none ("drop")
    scales  of guidance by image and by text
    ids     whether reference k turns by an id of its own, k + 1, over the whole head
    """

    at: Callable[[int, int, int, int, int], Start]
    null: str
    scales: tuple[float, float]
    ground: float | None = 1.0
    reads: bool = True
    slots: int = 0
    ids: bool = False


def behind(k: int, n: int, f: int, h: int, w: int) -> Start:
    return f + k, 0, 0


METHODS = {
    "phantom": Method(behind, "zero", (5.0, 7.5)),
    "skyreels_v3": Method(behind, "zero", (1.0, 1.0), slots=4),
    "refalign": Method(behind, "zero", (5.0, 7.5), reads=False),
    "kaleido": Method(lambda k, n, f, h, w: (k, 80, 80), "keep", (1.0, 6.0)),
    "concat_id": Method(lambda k, n, f, h, w: (f, 0, w), "keep", (1.0, 5.0), ground=0.0, reads=False),
    "bernini": Method(lambda k, n, f, h, w: (0, 0, 0), "drop", (4.0, 6.0), ground=None, ids=True),
}
MOST = {"concat_id": 1}  # pictures


def prepared(picture: Tensor, method: Method, height: int, width: int) -> Tensor:
    """A picture (H, W, 3) as the VAE is shown it: fitted with its aspect kept and centred on the ground, or
    of its own size in whole tokens."""
    rows, columns = picture.shape[:2]
    if method.ground is None:
        size = [max(1, round(side / TOKEN)) * TOKEN for side in (rows, columns)]
    else:
        scale = min(height / rows, width / columns)
        size = [round(rows * scale), round(columns * scale)]
    shown = F.interpolate(picture.movedim(-1, 0)[None], size, mode="bilinear", antialias=True)[0]
    if method.ground is None:
        return shown.movedim(0, -1)
    canvas = torch.full((3, height, width), method.ground)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    canvas[:, top : top + size[0], left : left + size[1]] = shown
    return canvas.movedim(0, -1)


def turns(grid: Start, start: Start, head: int, source: int = 0) -> Tensor:
    """Rotations of a grid's tokens, (L, head / 2) complex: thirds of a head for time, height and width."""
    space = 2 * (head // 6)
    sizes = (head - 2 * space, space, space)
    rates = [10000.0 ** (-torch.arange(0, size, 2).double() / size) for size in sizes]
    whole = source * 10000.0 ** (-torch.arange(0, head, 2).double() / head)
    made = [
        torch.cat([(start[axis] + place[axis]) * rates[axis] for axis in range(3)]) + whole
        for place in ((t, y, x) for t in range(grid[0]) for y in range(grid[1]) for x in range(grid[2]))
    ]
    return torch.polar(torch.ones(len(made), head // 2).double(), torch.stack(made))


class PublishedWan:
    """Forward of a Wan T2V model with references, from its state dict."""

    def __init__(self, state: dict[str, Tensor]):
        self.state = {key: value.double() for key, value in state.items()}

    def linear(self, x: Tensor, name: str) -> Tensor:
        return F.linear(x, self.state[f"{name}.weight"], self.state[f"{name}.bias"])

    def norm(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=1e-6)

    def embedded(self, latent: Tensor) -> Tensor:
        """Tokens of a latent (C, F, h, w), in float32, where ComfyUI keeps the embedding."""
        cells = F.unfold(latent.float().movedim(1, 0), 2, stride=2)  # (F, C * 4, tokens)
        weight = self.state["patch_embedding.weight"].float().flatten(1)
        tokens = F.linear(cells.mT, weight, self.state["patch_embedding.bias"].float())
        return tokens.flatten(0, 1).double()

    def attention(self, x: Tensor, read: Tensor, name: str, turn: Tensor | None) -> Tensor:
        def rms(y: Tensor, which: str) -> Tensor:
            y = y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt()
            return (y * self.state[f"{name}.norm_{which}.weight"]).unflatten(-1, (HEADS, -1)).transpose(0, 1)

        query, key = rms(self.linear(x, f"{name}.q"), "q"), rms(self.linear(read, f"{name}.k"), "k")
        if turn is not None:
            pairs = (torch.view_as_complex(y.unflatten(-1, (-1, 2)).contiguous()) for y in (query, key))
            query, key = (torch.view_as_real(y * turn).flatten(-2) for y in pairs)
        value = self.linear(read, f"{name}.v").unflatten(-1, (HEADS, -1)).transpose(0, 1)
        seen = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1) @ value
        return self.linear(seen.transpose(0, 1).flatten(1), f"{name}.o")

    def block(self, name: str, x: Tensor, six: Tensor, text: Tensor, turn: Tensor, readers: int) -> Tensor:
        shift, scale, gate, last_shift, last_scale, last_gate = self.state[f"{name}.modulation"][0] + six
        normed = self.norm(x) * (1 + scale) + shift
        x = x + gate * self.attention(normed, normed, f"{name}.self_attn", turn)
        weight, bias = (self.state[f"{name}.norm3.{part}"] for part in ("weight", "bias"))
        read = self.attention(self.norm(x[:readers]) * weight + bias, text, f"{name}.cross_attn", None)
        x = torch.cat([x[:readers] + read, x[readers:]])
        inner = self.linear(self.norm(x) * (1 + last_scale) + last_shift, f"{name}.ffn.0")
        return x + last_gate * self.linear(F.gelu(inner, approximate="tanh"), f"{name}.ffn.2")

    def velocity(
        self, method: Method, video: Tensor, references: Sequence[Tensor], words: Tensor, time: float
    ) -> Tensor:
        """Velocity (C, F, h, w) of a video's latent, with the latents (C, 1, h, w) of references, states of
        the text (S, width) and a timestep in 0…1000."""
        frames, rows, columns = video.shape[1], video.shape[2] // 2, video.shape[3] // 2
        head, parts = self.state["head.modulation"].shape[-1] // HEADS, [self.embedded(video)]
        angles = [turns((frames, rows, columns), (0, 0, 0), head)]
        for k, latent in enumerate(references):
            start = method.at(k, len(references), frames, rows, columns)
            parts.append(self.embedded(latent))
            grid = (1, latent.shape[2] // 2, latent.shape[3] // 2)
            angles.append(turns(grid, start, head, k + 1 if method.ids else 0))
        tokens, turn, length = torch.cat(parts), torch.cat(angles), len(parts[0])
        text = F.gelu(self.linear(words.double(), "text_embedding.0"), approximate="tanh")
        text = self.linear(text, "text_embedding.2")
        waves = time * 10000 ** (-torch.arange(128).double() / 128)
        clock = F.silu(self.linear(torch.cat([waves.cos(), waves.sin()]), "time_embedding.0"))
        clock = self.linear(clock, "time_embedding.2")
        six = self.linear(F.silu(clock), "time_projection.1").unflatten(0, (6, -1))
        for index in range(LAYERS):
            readers = len(tokens) if method.reads else length
            tokens = self.block(f"blocks.{index}", tokens, six, text, turn, readers)
        shift, scale = self.state["head.modulation"][0] + clock
        made = self.linear(self.norm(tokens[:length]) * (1 + scale) + shift, "head.head")
        made = made.view(frames, rows, columns, 2, 2, CHANNELS)
        return made.permute(5, 0, 1, 3, 2, 4).reshape(CHANNELS, frames, 2 * rows, 2 * columns)

    def passes(
        self, method: Method, video: Tensor, references: Sequence[Tensor], words: dict[str, Tensor],
        time: float,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Velocities of guidance: of text and references, of references and the negative text, and of the
        pass without conditions, with the negative text."""
        missing = [torch.zeros_like(references[0])] * (method.slots - len(references))
        given = [*references, *missing]
        null = {"keep": given, "zero": [torch.zeros_like(one) for one in given], "drop": []}[method.null]
        both, image = (self.velocity(method, video, given, words[side], time) for side in words)
        return both, image, self.velocity(method, video, null, words["negative"], time)


def guided(passes: Sequence[Tensor], scales: tuple[float, float]) -> Tensor:
    """n + image (i - n) + text (ti - i), as the pipelines write it."""
    both, image, null = passes
    return null + scales[0] * (image - null) + scales[1] * (both - image)
