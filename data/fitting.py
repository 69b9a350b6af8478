"""Pictures of a clip at the size of its bucket."""

import numpy as np


def fitted(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """A picture (H, W, C) uint8 scaled until it covers width x height, what is over cut off evenly on both
    sides. Areas are averaged where it becomes smaller, cubic where it becomes larger."""
    import cv2

    high, wide = picture.shape[:2]
    scale = max(width / wide, height / high)
    size = (max(width, round(wide * scale)), max(height, round(high * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = picture if size == (wide, high) else cv2.resize(picture, size, interpolation=how)
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return np.ascontiguousarray(scaled[top : top + height, left : left + width])
