"""Measures of pictures: change, brightness, sharpness and motion, the same in whatever process they are
taken."""

import numpy as np

FLOW_SIDE = 256  # pixels along the long side where changes and motion are read
_TENTH, _DARKER = 0.1, 0.8  # of the most light: a flash is larger, and its darker side below
_BYTES = np.arange(256) / 255
_LIGHT = np.where(_BYTES <= 0.04045, _BYTES / 12.92, ((_BYTES + 0.055) / 1.055) ** 2.4)  # sRGB, IEC 61966-2-1


def six_digits(value: float) -> float:
    """A number rounded to six significant digits, as results are kept."""
    return float(f"{value:.6g}")


def scaled(picture: np.ndarray, side: int = FLOW_SIDE) -> np.ndarray:
    """A picture (H, W, C) uint8 whose long side is at most `side` pixels, by the mean of areas."""
    import cv2

    height, width = picture.shape[:2]
    if max(height, width) <= side:
        return picture
    share = side / max(height, width)
    size = max(1, round(width * share)), max(1, round(height * share))
    return cv2.resize(np.ascontiguousarray(picture), size, interpolation=cv2.INTER_AREA)


def grey_of(picture: np.ndarray) -> np.ndarray:
    """Brightness (H, W) uint8 of a picture (H, W, 3), by ITU-R BT.601."""
    import cv2

    return cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)


def change(before: np.ndarray, after: np.ndarray) -> float:
    """Mean absolute difference of two pictures (H, W, 3) uint8, of 255."""
    return float(np.abs(before.astype(np.int16) - after).mean())


def light_of(picture: np.ndarray) -> float:
    """Mean relative luminance of a picture (H, W, 3) uint8 in sRGB, 0 to 1 (WCAG 2.2)."""
    return float(_LIGHT[picture].reshape(-1, 3).mean(axis=0) @ (0.2126, 0.7152, 0.0722))


def sharpness_of(picture: np.ndarray) -> float:
    """Variance of the Laplacian of a picture (H, W, 3) uint8."""
    import cv2

    return float(cv2.Laplacian(grey_of(picture), cv2.CV_64F).var())


def shift_between(before: np.ndarray, after: np.ndarray) -> float:
    """Mean length of Farnebäck's flow between two brightnesses (H, W) uint8, in pixels."""
    import cv2

    # The numbers are those of OpenCV's own tutorial and sample. No flow to start from, unknown to its stubs.
    flow = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 3, 5, 1.2, 0)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return float(np.sqrt((flow.astype(np.float64) ** 2).sum(axis=2)).mean())


def flashes_a_second(light: list[float], fps: float) -> int:
    """Most flashes within any second of a film, from its pictures' relative luminance.

    A flash is a rise and a fall, or the other way round, of a tenth of all light or more each. The darker
    side is below 0.8. WCAG 2.2, success criterion 2.3.1, allows three.
    """
    turns = np.array(_turns(light))
    if not len(turns):
        return 0
    ends = np.searchsorted(turns, turns + max(1, round(fps)))
    return int((ends - np.arange(len(turns))).max()) // 2


def _turns(light: list[float]) -> list[int]:
    """Places at which brightness has gone a tenth up or down since it last turned; by turns up and down."""
    turns: list[int] = []
    low = high = light[0] if light else 0.0
    way = 0
    for at, one in enumerate(light):
        low, high = min(low, one), max(high, one)
        if way <= 0 and one - low >= _TENTH and low < _DARKER:
            way, high = 1, one
            turns.append(at)
        elif way >= 0 and high - one >= _TENTH and one < _DARKER:
            way, low = -1, one
            turns.append(at)
    return turns
