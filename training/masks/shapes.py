"""Random shapes as gauges: a pixel belongs to the shape at scale s where its gauge is at most s. So a shape
grows with s by construction. Five families and their numbers are those of Saber's mask generator
(arXiv 2512.06905, §3.1 and its script), convex polygons those of its text [choice: mask-families].

Every family is a function (wanted, height, width, generator) -> gauge (n, H, W) > 0. `wanted` (n,) are areas
in pixels, one a shape. Scale 1 is the base size.
"""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

MASK_VERSION = (
    2  # of what is drawn: raised with it, so that nothing made of other masks is taken for the same
)
BLOB_CORNERS = 128  # a Fourier blob's outline is drawn as a polygon with so many corners
TURN = 2 * math.pi
EDGE = 1e-3  # a gauge is never below: scale 0 holds no pixel but the root


def ellipse(wanted: Tensor, height: int, width: int, generator: Generator) -> Tensor:
    """Ellipse: half its height is U(0.15, 0.35) of the picture's, its half axes of ratio U(0.5, 2). Margin
    10 %. -> gauge (n, H, W)."""
    n = len(wanted)
    down, right = _offsets(n, height, width, 0.1, generator)
    aspect, base = _uniform(n, 0.5, 2, generator), height * _uniform(n, 0.15, 0.35, generator)
    return torch.hypot(right / (aspect * base), down / base).clamp_min(EDGE)


def superellipse(wanted: Tensor, height: int, width: int, generator: Generator) -> Tensor:
    """Superellipse |x/a|^p + |y/b|^p <= 1: p of U(2.2, 6), a/b of U(0.6, 1.7), b of U(0.12, 0.30) of the
    picture's height. Margin 12 %. -> gauge (n, H, W)."""
    n = len(wanted)
    down, right = _offsets(n, height, width, 0.12, generator)
    aspect, base = _uniform(n, 0.6, 1.7, generator), height * _uniform(n, 0.12, 0.30, generator)
    power = _uniform(n, 2.2, 6, generator)
    along, across = (down / base).abs(), (right / (aspect * base)).abs()
    # The longer of the two is taken out of the sum, which else overflows far away.
    longer = torch.maximum(along, across).clamp_min(EDGE)
    return longer * ((along / longer) ** power + (across / longer) ** power) ** (1 / power)


def fourier_blob(wanted: Tensor, height: int, width: int, generator: Generator) -> Tensor:
    """Fourier blob of radius Σ aₖ cos kθ + bₖ sin kθ, k = 1…K, shifted so that the smallest is 0.2. K is 3 to
    6, the coefficients are N(0, 0.25)/(1 + k). Radius 1 is 0.25 √(HW/π) pixels. Margin 12 %.
    -> gauge (n, H, W)."""
    n = len(wanted)
    angles = torch.linspace(0, TURN, BLOB_CORNERS + 1).expand(n, -1).contiguous()
    order = torch.arange(1.0, 7)
    most = torch.randint(3, 7, (n, 1), generator=generator)
    size = 0.25 / (1 + order) * (order <= most)
    a, b = (size * torch.randn(n, 6, generator=generator) for _ in range(2))
    waves = order[:, None] * angles[0]  # (6, corners + 1)
    radius = a @ waves.cos() + b @ waves.sin()  # the published constant goes with the shift
    radius = radius - radius.amin(1, keepdim=True) + 0.2
    down, right = _offsets(n, height, width, 0.12, generator)
    base = 0.25 * math.sqrt(height * width / math.pi)
    return _star(down / base, right / base, angles, radius)


def convex_polygon(wanted: Tensor, height: int, width: int, generator: Generator) -> Tensor:
    """Polygon of 8 to 16 corners on an ellipse of the wanted area and of ratio U(0.6, 1.7). Gaps between
    corners are of gamma law 1.4, kept within 0.5 to 3, so that the centre stays inside. Margin 12 %. The
    paper names this family without numbers. -> gauge (n, H, W)."""
    n = len(wanted)
    corners = torch.randint(8, 17, (n, 1), generator=generator)
    angles = _corners(_gaps(n, 16, generator).clamp(0.5, 3), corners)
    down, right = _offsets(n, height, width, 0.12, generator)
    aspect = _uniform(n, 0.6, 1.7, generator)
    base = _base_of(wanted) / aspect.sqrt()
    down, right = _turned(down / base, right / (aspect * base), generator)
    return _star(down, right, angles, torch.ones_like(angles))


def concave_polygon(wanted: Tensor, height: int, width: int, generator: Generator) -> Tensor:
    """Polygon of 28 to 63 corners at gaps of gamma law 1.4, on a circle of the wanted area. Its radius has
    noise N(0, 0.18), smoothed twice, and 2 to 4 Gaussian dents. These are 0.10 to 0.35 rad wide and 0.18 to
    0.42 deep, together at most 0.75. Margin 12 %. -> gauge (n, H, W)."""
    n = len(wanted)
    corners = torch.randint(28, 64, (n, 1), generator=generator)
    angles, column = _corners(_gaps(n, 63, generator), corners), torch.arange(64) % corners
    radius = 1 + _smoothed_around(0.18 * torch.randn(n, 64, generator=generator), corners)
    dents = torch.randint(2, 5, (n, 1), generator=generator)
    middle, wide, deep = (
        _uniform(n, low, high, generator, 4) for low, high in ((0, TURN), (0.10, 0.35), (0.18, 0.42))
    )
    # Angles (n, 64, 4) from each corner to each dent, -π to π.
    away = (angles[:, :, None] - middle + math.pi) % TURN - math.pi
    dent = deep * torch.exp(-0.5 * (away / wide) ** 2) * (torch.arange(4) < dents)[:, None]
    radius = (radius * (1 - dent.sum(2)).clamp_min(0.25)).gather(1, column)  # which closes the outline
    base = _base_of(wanted)
    down, right = _offsets(n, height, width, 0.12, generator)
    down, right = _turned(down / base, right / base, generator)
    return _star(down, right, angles, radius)


def jagged_rectangle(wanted: Tensor, height: int, width: int, generator: Generator) -> Tensor:
    """Rectangle in the middle: half its height is U(0.12, 0.30) of the picture's, its sides of ratio
    U(0.6, 1.7). Every edge is rounded outwards to whole pixels and has Gaussian noise, smoothed twice. Its
    standard deviation is U(0.5, 3) pixels for the left and right edge, and another for the two others.
    -> gauge (n, H, W)."""
    n = len(wanted)
    down, right = (torch.arange(float(size)) - size // 2 for size in (height, width))
    down, right = down.view(1, -1, 1), right.view(1, 1, -1)
    aspect, base = _uniform(n, 0.6, 1.7, generator), height * _uniform(n, 0.12, 0.30, generator)
    # Of the left and right edge by row (n, H, 1), of the upper and lower by column (n, 1, W).
    left, other = (_edge_noise(n, height, generator)[:, :, None] for _ in range(2))
    upper, lower = (_edge_noise(n, width, generator)[:, None] for _ in range(2))
    wide, high = (_uniform(n, 0.5, 3, generator) for _ in range(2))
    across = right.abs() - 1 + wide * torch.where(right < 0, left, other)
    along = down.abs() - 1 + high * torch.where(down < 0, upper, lower)
    return torch.maximum(across / (aspect * base), along / base).clamp_min(EDGE)


def _uniform(n: int, low: float, high: float, generator: Generator, count: int = 1) -> Tensor:
    """Numbers (n, 1, count) of U(low, high)."""
    return low + (high - low) * torch.rand(n, 1, count, generator=generator)


def _base_of(wanted: Tensor) -> Tensor:
    """Radii (n, 1, 1) of circles of so many pixels."""
    return (wanted / math.pi).sqrt().view(-1, 1, 1)


def _offsets(n: int, height: int, width: int, margin: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Distances in pixels from a random centre, a margin (share of a side) away from the borders: down
    (n, H, 1) and right (n, 1, W)."""
    top = _uniform(n, margin, 1 - margin, generator) * height - 0.5
    left = _uniform(n, margin, 1 - margin, generator) * width - 0.5
    return torch.arange(float(height)).view(1, -1, 1) - top, torch.arange(float(width)).view(1, 1, -1) - left


def _turned(down: Tensor, right: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Offsets (n, H, 1) and (n, 1, W) as seen by a shape that is turned at random: (n, H, W) each."""
    turn = _uniform(len(down), 0, TURN, generator)
    return turn.cos() * down - turn.sin() * right, turn.sin() * down + turn.cos() * right


def _smoothed_around(noise: Tensor, corners: Tensor) -> Tensor:
    """Noise (n, V) averaged with its neighbours by 1, 2, 1, twice. Only the first `corners` (n, 1) count, of
    which the last is a neighbour of the first."""
    column = torch.arange(noise.shape[1])
    before, after = (column - 1) % corners, (column + 1) % corners
    for _ in range(2):
        noise = (noise.gather(1, before) + 2 * noise + noise.gather(1, after)) / 4
    return noise


def _edge_noise(n: int, length: int, generator: Generator) -> Tensor:
    """Gaussian noise (n, length), smoothed twice by 1, 2, 1 and scaled to standard deviation 1 along the
    edge."""
    noise, kernel = torch.randn(n, 1, length, generator=generator), torch.tensor([[[0.25, 0.5, 0.25]]])
    for _ in range(2):
        noise = F.conv1d(noise, kernel, padding=1)
    return (noise / (noise.std(2, correction=0, keepdim=True) + 1e-6))[:, 0]


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
