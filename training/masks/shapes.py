"""Random shapes as gauges: a pixel belongs to the shape at scale s where its gauge is at most s. So a shape
grows with s by construction. Families and their numbers: Saber's mask generator (arXiv 2512.06905, §3.1 and
its script), but for those of [choice: mask-families]. What is published for a landscape's height is taken of
the shorter side [choice: shorter-side].

Every family is a function (n, height, width, generator) -> gauge (n, H, W) > 0; scale 1 is the base size.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

BASE = (0.15, 0.35)  # half a shape's height at scale 1, in shorter sides
BLOB_CORNERS = 128  # a Fourier blob's outline is drawn as a polygon with so many corners
TURN = 2 * math.pi
EDGE = 1e-3  # a gauge is never below: scale 0 holds no pixel but the root


def ellipse(n: int, height: int, width: int, generator: Generator) -> Tensor:
    """Ellipse: half axes of ratio U(0.5, 2); centre 10 % of a side away from the borders.
    -> gauge (n, H, W)."""
    down, right = _offsets(n, height, width, 0.1, generator)
    aspect, base = _uniform(n, 0.5, 2, generator), _base(n, height, width, generator)
    return torch.hypot(right / (aspect * base), down / base).clamp_min(EDGE)


def superellipse(n: int, height: int, width: int, generator: Generator) -> Tensor:
    """Superellipse |x/a|^p + |y/b|^p <= 1, p of U(2.2, 6) and a/b of U(0.6, 1.7); margin 12 %.
    -> gauge (n, H, W)."""
    down, right = _offsets(n, height, width, 0.12, generator)
    aspect, base = _uniform(n, 0.6, 1.7, generator), _base(n, height, width, generator)
    power = _uniform(n, 2.2, 6, generator)
    along, across = (down / base).abs(), (right / (aspect * base)).abs()
    # The longer of the two is taken out of the sum, which else overflows far away.
    longer = torch.maximum(along, across).clamp_min(EDGE)
    return longer * ((along / longer) ** power + (across / longer) ** power) ** (1 / power)


def fourier_blob(n: int, height: int, width: int, generator: Generator) -> Tensor:
    """Fourier blob of radius c + Σ aₖ cos kθ + bₖ sin kθ, k = 1…K, lifted to at least 0.2. K is 3 to 6, the
    coefficients are N(0, 0.25)/(1 + k), c is 1 + |N(0, 0.15)|. Margin 10 %. -> gauge (n, H, W)."""
    angles = torch.linspace(0, TURN, BLOB_CORNERS + 1).expand(n, -1).contiguous()
    order = torch.arange(1.0, 7)
    most = torch.randint(3, 7, (n, 1), generator=generator)
    size = 0.25 / (1 + order) * (order <= most)
    a, b = (size * torch.randn(n, 6, generator=generator) for _ in range(2))
    waves = order[:, None] * angles[0]  # (6, corners + 1)
    radius = 1 + 0.15 * torch.randn(n, 1, generator=generator).abs() + a @ waves.cos() + b @ waves.sin()
    radius = radius + (0.2 - radius.amin(1, keepdim=True)).clamp_min(0)
    down, right = _offsets(n, height, width, 0.1, generator)
    base = _base(n, height, width, generator)
    return _star(down / base, right / base, angles, radius)


def convex_polygon(n: int, height: int, width: int, generator: Generator) -> Tensor:
    """Polygon of 8 to 16 corners on an ellipse of ratio U(0.6, 1.7), turned at random; margin 10 %. Gaps
    between corners are of gamma law 1.4, kept within 0.5 to 3, so that the centre stays inside. The paper
    names this family without numbers. -> gauge (n, H, W)."""
    corners = torch.randint(8, 17, (n, 1), generator=generator)
    angles = _corners(_gaps(n, 16, generator).clamp(0.5, 3), corners)
    down, right = _offsets(n, height, width, 0.1, generator)
    aspect, base = _uniform(n, 0.6, 1.7, generator), _base(n, height, width, generator)
    turn = _uniform(n, 0, TURN, generator)
    along, across = down / base, right / (aspect * base)
    return _star(
        turn.cos() * along - turn.sin() * across,
        turn.sin() * along + turn.cos() * across,
        angles,
        torch.ones_like(angles),
    )


def concave_polygon(n: int, height: int, width: int, generator: Generator) -> Tensor:
    """Polygon of 28 to 63 corners at gaps of gamma law 1.4. Its radius has smoothed noise N(0, 0.18) and 2 to
    4 Gaussian dents, and stays within 0.25 to 1.6. Dents are 0.10 to 0.35 rad wide and 0.18 to 0.42 deep.
    Margin 10 %. -> gauge (n, H, W)."""
    corners = torch.randint(28, 64, (n, 1), generator=generator)
    angles, column = _corners(_gaps(n, 63, generator), corners), torch.arange(64) % corners
    noise = 0.18 * torch.randn(n, 64, generator=generator)
    # Smoothing goes once around: the last corner has the first as its neighbour.
    before, after = noise.gather(1, (column - 1) % corners), noise.gather(1, (column + 1) % corners)
    radius = 1 + (before + 2 * noise.gather(1, column) + after) / 4
    dents = torch.randint(2, 5, (n, 1), generator=generator)
    middle, wide, deep = (
        _uniform(n, low, high, generator, 4) for low, high in ((0, TURN), (0.10, 0.35), (0.18, 0.42))
    )
    # Angles (n, 64, 4) from each corner to each dent, -π to π.
    away = (angles[:, :, None] - middle + math.pi) % TURN - math.pi
    dent = deep * torch.exp(-0.5 * (away / wide) ** 2) * (torch.arange(4) < dents)[:, None]
    radius = (radius * (1 - dent.sum(2))).clamp(0.25, 1.6)
    radius = torch.where(torch.arange(64) < corners, radius, radius[:, :1])  # closes the outline
    down, right = _offsets(n, height, width, 0.1, generator)
    base = _base(n, height, width, generator)
    return _star(down / base, right / base, angles, radius)


def jagged_rectangle(n: int, height: int, width: int, generator: Generator) -> Tensor:
    """Rectangle in the middle, sides of ratio U(0.6, 1.7), every edge cut into by smoothed noise of up to
    U(0.5, 3) pixels. -> gauge (n, H, W)."""
    down, right = (torch.arange(float(size)) - (size - 1) / 2 for size in (height, width))
    down, right = down.view(1, -1, 1), right.view(1, 1, -1)
    aspect, base = _uniform(n, 0.6, 1.7, generator), _base(n, height, width, generator)
    depth = _uniform(n, 0.5, 3, generator)

    def cuts(length: int) -> Tensor:
        """Depths (n, length) along an edge, 0 to 1."""
        return F.avg_pool1d(torch.rand(n, length, generator=generator), 3, 1, 1, count_include_pad=False)

    # Left or right edge by row (n, H, W), upper or lower by column.
    sides = torch.where(right < 0, cuts(height)[:, :, None], cuts(height)[:, :, None])
    ends = torch.where(down < 0, cuts(width)[:, None], cuts(width)[:, None])
    across, along = (right.abs() + depth * sides) / (aspect * base), (down.abs() + depth * ends) / base
    return torch.maximum(across, along).clamp_min(EDGE)


def _uniform(n: int, low: float, high: float, generator: Generator, count: int = 1) -> Tensor:
    """Numbers (n, 1, count) of U(low, high)."""
    return low + (high - low) * torch.rand(n, 1, count, generator=generator)


def _base(n: int, height: int, width: int, generator: Generator) -> Tensor:
    """Half a shape's height in pixels at scale 1, (n, 1, 1)."""
    return _uniform(n, *BASE, generator) * min(height, width)


def _offsets(n: int, height: int, width: int, margin: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Distances in pixels from a random centre, a margin (share of a side) away from the borders: down
    (n, H, 1) and right (n, 1, W)."""
    top = _uniform(n, margin, 1 - margin, generator) * height - 0.5
    left = _uniform(n, margin, 1 - margin, generator) * width - 0.5
    return torch.arange(float(height)).view(1, -1, 1) - top, torch.arange(float(width)).view(1, 1, -1) - left


def _gaps(n: int, count: int, generator: Generator) -> Tensor:
    """Gaps (n, count) of the gamma law of shape 1.4, by Marsaglia and Tsang (2000). The first of eight
    proposals that is accepted counts; all fail once in 10^12."""
    shift = 1.4 - 1 / 3
    normal = torch.randn(n, count, 8, generator=generator)
    cube = (1 + normal / math.sqrt(9 * shift)) ** 3
    chance = normal**2 / 2 + shift * (1 - cube + cube.clamp_min(1e-30).log())
    accepted = (cube > 0) & (torch.rand(n, count, 8, generator=generator).log() < chance)
    return shift * cube.gather(2, accepted.int().argmax(2, keepdim=True))[:, :, 0]


def _corners(gaps: Tensor, corners: Tensor) -> Tensor:
    """Angles (n, V + 1) of corners, increasing from 0 to 2π, by gaps (n, V) of which the first `corners`
    (n, 1) count. Corners left over lie at 2π."""
    total = torch.where(torch.arange(gaps.shape[1]) < corners, gaps, 0).cumsum(1)
    angles = F.pad(total / total[:, -1:] * TURN, (1, 0))
    return torch.where(torch.arange(angles.shape[1]) < corners, angles, TURN)


def _star(down: Tensor, right: Tensor, angles: Tensor, radius: Tensor) -> Tensor:
    """Gauge (n, H, W) of the polygon around 0 with corners at `angles` (n, V + 1), 0 to 2π, and `radius`
    (n, V + 1).

    In the sector between two corners the gauge is the linear function that is 1 on the edge between them.
    """
    x, y = radius * angles.cos(), radius * angles.sin()
    # Twice the area of each sector's triangle: 0 only in sectors that hold no angle.
    area = (x[:, :-1] * y[:, 1:] - x[:, 1:] * y[:, :-1]).clamp_min(1e-9)
    normal_right, normal_down = y.diff(dim=1) / area, -x.diff(dim=1) / area
    down, right = torch.broadcast_tensors(down, right)
    angle = (torch.atan2(down, right) % TURN).clamp_max(TURN - 1e-4).flatten(1)
    sector = torch.searchsorted(angles, angle, right=True) - 1
    across, along = (part.gather(1, sector).view_as(down) for part in (normal_right, normal_down))
    return (right * across + down * along).clamp_min(EDGE)


GAUGES = {
    "ellipse": ellipse,
    "superellipse": superellipse,
    "fourier_blob": fourier_blob,
    "convex_polygon": convex_polygon,
    "concave_polygon": concave_polygon,
    "jagged_rectangle": jagged_rectangle,
}
FAMILIES = tuple(GAUGES)
