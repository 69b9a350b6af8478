"""Random masks of one piece whose share of the picture lies in a wanted interval: Saber's mask generator
(arXiv 2512.06905, §3.1 and its script). 1 = belongs to the reference."""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .shapes import FAMILIES, GAUGES, MASK_VERSION

ROUNDS = 48  # of the search for a scale
SLACK = 0.01  # of the picture: how near `uniform` comes to the share it drew
# Once around a pixel from above, clockwise: (down, right); even places share an edge with it.
RING = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


@dataclass(frozen=True)
class MaskGenerator:
    """Generator of masks: each family has an equal chance, each interval (weight, (lo, hi)) of the share of
    the picture its weight.

    `first_hit` stops at the first scale whose area lies in the interval, as published: it favours small
    shares (of [0.1, 0.5] it reaches half at about 0.2). `uniform` draws the share and meets it within 1 % of
    the picture.
    ValueError for a family or mode that does not exist, weights or intervals that are none.
    """

    families: tuple[str, ...] = FAMILIES
    intervals: tuple[tuple[float, tuple[float, float]], ...] = (
        (0.1, (0.0, 0.1)),
        (0.8, (0.1, 0.5)),
        (0.1, (0.5, 1.0)),
    )
    mode: str = "first_hit"
    # Rows, states and figures are kept by the fields of what made them: those of other masks are not used.
    version: int = field(default=MASK_VERSION, init=False)

    def __post_init__(self) -> None:
        unknown = [name for name in self.families if name not in GAUGES]
        if unknown or not self.families:
            raise ValueError(f"families is {self.families}; give one or more of {', '.join(FAMILIES)}")
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}; give one of {', '.join(MODES)}")
        for weight, (low, high) in self.intervals:
            if not (0 <= weight < math.inf and 0 <= low <= high <= 1):
                raise ValueError(
                    f"intervals holds {(weight, (low, high))}; each is (weight >= 0, (lo, hi)), 0 <= lo <= hi <= 1"
                )
        if not sum(weight for weight, _ in self.intervals):
            raise ValueError(f"intervals is {self.intervals}; at least one weight has to be above 0")

    def __call__(self, n: int, height: int, width: int, generator: Generator) -> Tensor:
        """Masks (n, 1, H, W) float of 0 and 1, each one 8-connected piece of at least one pixel.

        Where no number of pixels lies in an interval, the nearest one is met. ValueError where n < 0 or a
        side < 1.
        """
        for name, value, least in (("n", n, 0), ("height", height, 1), ("width", width, 1)):
            if value < least:
                raise ValueError(f"{name} is {value}; give {least} or more")
        if not n:
            return torch.zeros(0, 1, height, width)
        weights, bounds = zip(*self.intervals, strict=True)
        chosen = torch.multinomial(torch.tensor(weights), n, replacement=True, generator=generator)
        fewest, most = MODES[self.mode](torch.tensor(bounds)[chosen].double(), height * width, generator)
        family = torch.randint(len(self.families), (n,), generator=generator)
        wanted = (fewest + most) / 2
        # Each family makes its masks together: far fewer calls than one a mask.
        gauge = torch.empty(n, height, width)
        for index, name in enumerate(self.families):
            rows = family.eq(index).nonzero()[:, 0]
            if len(rows):
                gauge[rows] = GAUGES[name](wanted[rows], height, width, generator)
        return mask_of_size(one_piece(gauge), fewest, most, generator).unsqueeze(1).float()


def _allowed(bounds: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """Fewest and most pixels (n,) that bounds (n, 2) of a share allow, at least one."""
    # The shares come from floats: 0.1 of 6400 pixels is 640 of them, not 641.
    fewest = (bounds[:, 0] * pixels - 1e-3).ceil().clamp_min(1)
    most = (bounds[:, 1] * pixels + 1e-3).floor()
    nearest = (bounds.mean(1) * pixels).round().clamp_min(1)
    empty = most < fewest
    return torch.where(empty, nearest, fewest).long(), torch.where(empty, nearest, most).long()


def _uniform(bounds: Tensor, pixels: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Fewest and most pixels (n,) within SLACK of a share that is drawn from bounds (n, 2)."""
    fewest, most = _allowed(bounds, pixels)
    luck = torch.rand(len(bounds), generator=generator, dtype=torch.float64)
    share = bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) * luck
    aim = (share * pixels).round().long().clamp(fewest, most)
    slack = int(SLACK * pixels)
    return torch.maximum(fewest, aim - slack), torch.minimum(most, aim + slack)


MODES = {"first_hit": lambda bounds, pixels, generator: _allowed(bounds, pixels), "uniform": _uniform}


def one_piece(gauge: Tensor) -> Tensor:
    """Raise a gauge (n, H, W) > 0 as little as keeps every {gauge <= s} in one 8-connected piece around its
    lowest pixel, which gets 0 [choice: one-piece]. Pixels tear thin arms off a shape, and a small shape can
    miss them all.

    A pixel joins after its parent, the lowest of its neighbours that lie nearer to the root.
    """
    n, height, width = gauge.shape
    flat = gauge.flatten(1)
    root = flat.argmin(1, keepdim=True)
    flat = flat.scatter(1, root, 0.0)
    # Offsets from the root: (n, H, 1) and (n, 1, W).
    down = torch.arange(height).view(1, -1, 1) - (root // width).view(-1, 1, 1)
    right = torch.arange(width).view(1, 1, -1) - (root % width).view(-1, 1, 1)
    padded = F.pad(flat.view(n, height, width), (1, 1, 1, 1), value=math.inf)
    lowest, parent = torch.full_like(gauge, math.inf), torch.zeros(n, height, width, dtype=torch.long)
    for step_down, step_right in RING:
        other = _shifted(padded, step_down, step_right)
        # Nearer: |offset + step|² < |offset|².
        nearer = 2 * (down * step_down + right * step_right) + step_down**2 + step_right**2 < 0
        better = nearer & (other < lowest)
        lowest = torch.where(better, other, lowest)
        parent.masked_fill_(better, step_down * width + step_right)
    parent = torch.arange(height * width) + parent.flatten(1)  # from steps to places (n, H * W)
    while not parent.eq(root).all():  # doubling: after k rounds a pixel knows the highest of 2^k forebears
        flat = torch.maximum(flat, flat.gather(1, parent))
        parent = parent.gather(1, parent)
    return flat.view(n, height, width)


def mask_of_size(gauge: Tensor, fewest: Tensor, most: Tensor, generator: Generator) -> Tensor:
    """Masks (n, H, W) bool {gauge <= s} of `fewest` to `most` (n,) pixels. s is doubled from 1, then halved
    between what is too small and too large, until the first hit. Where ROUNDS (48) find none, the nearer end
    is grown or shrunk."""
    scale, low, high = (torch.full((len(gauge),), value) for value in (1.0, 0.0, math.inf))
    for _ in range(ROUNDS):
        area = _area(gauge, scale)
        small, large = area < fewest, area > most
        if not (small | large).any():
            break
        low, high = torch.where(small, scale, low), torch.where(large, scale, high)
        middle = torch.where(high.isinf(), 2 * scale, (low + high) / 2)
        scale = torch.where(small | large, middle, scale)
    area = _area(gauge, scale)
    missed = (area < fewest) | (area > most)
    # Pixels that the lower end lacks, against those that the upper has too many.
    grow = fewest - _area(gauge, low) <= _area(gauge, high) - most
    scale = torch.where(missed, torch.where(grow, low, high), scale)
    mask = gauge <= scale.view(-1, 1, 1)
    if missed.any():
        aim = torch.where(grow, fewest, most)
        mask[missed] = resized(mask[missed], aim[missed], generator)
    return mask


def _area(gauge: Tensor, scale: Tensor) -> Tensor:
    """Pixels (n,) of {gauge <= scale}."""
    return (gauge <= scale.view(-1, 1, 1)).sum((1, 2))


def resized(mask: Tensor, pixels: Tensor, generator: Generator) -> Tensor:
    """Grow or shrink masks (n, H, W) bool to so many pixels (n,), in one piece and without opening or closing
    a hole.

    Growth adds random simple 8-neighbours. Shrinking removes random pixels with 2 to 6 neighbours and one
    change from 0 to 1 around them, as published. Where a mask is too thin to have any, simple pixels go
    [choice: thin-masks]. Pixels that change together never touch, so that each is judged in the picture it
    changes. Stops short where none is left.
    """
    for _ in range(mask[0].numel()):
        need = (pixels - mask.sum((1, 2))).view(-1, 1, 1)
        # (8, n, H, W): neighbours of every pixel, in the order of RING
        around = torch.stack([_shifted(F.pad(mask, (1, 1, 1, 1)), *step) for step in RING])
        candidates = torch.where(need > 0, ~mask & _simple(around), _removable(mask, around)) & (need != 0)
        luck = torch.rand(mask.shape, generator=generator, dtype=torch.float64) * candidates
        # Of candidates that touch, the luckiest one changes, and no more of them than are needed.
        peaks = luck * luck.eq(F.max_pool2d(luck, 3, 1, 1))
        ranked = peaks.flatten(1).sort(1, descending=True).values
        last = ranked.gather(1, (need.abs().flatten(1) - 1).clamp_min(0))
        chosen = candidates & (peaks >= last[:, :, None]) & (peaks > 0)
        if not chosen.any():
            break
        mask = mask ^ chosen
    return mask


def _simple(around: Tensor) -> Tensor:
    """Pixels (n, H, W) bool whose change changes no piece and no hole: Yokoi's number for 8-connected pieces
    is 1. around (8, n, H, W) bool are their neighbours."""
    # An edge of the background counts, unless the corner and the edge after it are background too.
    edge, corner = ~around[::2], ~around[1::2]
    return (edge & ~(corner & edge.roll(-1, 0))).sum(0).eq(1)


def _removable(mask: Tensor, around: Tensor) -> Tensor:
    """Pixels (n, H, W) bool of masks that shrinking may take: the published ones, or simple ones where a mask
    has none of those."""
    neighbours, changes = around.sum(0), (~around & around.roll(-1, 0)).sum(0)
    published = mask & (neighbours >= 2) & (neighbours <= 6) & changes.eq(1)
    return torch.where(published.any(2).any(1).view(-1, 1, 1), published, mask & _simple(around))


def _shifted(padded: Tensor, down: int, right: int) -> Tensor:
    """Values that lie one step away: (n, H + 2, W + 2) -> (n, H, W)."""
    height, width = padded.shape[1] - 2, padded.shape[2] - 2
    return padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]
