"""Shares of a schedule: where in it a noise level stands. Windows speak of shares of the whole schedule, as
ComfyUI's percent does. Wan 2.2's two experts, and runs in parts, then agree on when something acts."""

from collections.abc import Callable

HALVINGS = 60


def flow_sigma(share: float, shift: float) -> float:
    """Noise level of a flow model at a share of its schedule, 0 at the start (pure noise), with Wan's time
    shift."""
    time = 1 - share
    return shift * time / (1 + (shift - 1) * time)


def share_of(sigma: float, sigma_of: Callable[[float], float]) -> float:
    """Share of the schedule, 0 to 1, at which a decreasing `sigma_of` reaches `sigma`, rounded to a
    millionth. A level that came through fp32 then lands on the window's edge it was computed from."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if sigma_of(middle) > sigma else (low, middle)
    return round((low + high) / 2, 6)
