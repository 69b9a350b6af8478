"""Packages of OpenCV, which all install the one folder `cv2`: what is said at start where several do."""

import logging
import sys
from importlib.metadata import PackageNotFoundError, version

logger = logging.getLogger(__name__)
# Those of contrib have more modules, those that are not headless open windows too.
OPENCV_PACKAGES = (
    "opencv-contrib-python",
    "opencv-python",
    "opencv-contrib-python-headless",
    "opencv-python-headless",
)


def tell_opencv() -> None:
    """Warn once, in one line, where several packages share the folder `cv2`."""
    said = shared_opencv(installed_opencv(), sys.executable)
    if said:
        logger.warning("refvid: %s", said)


def installed_opencv() -> dict[str, str]:
    """Version of each package of OpenCV that is installed, by name."""
    found = {}
    for name in OPENCV_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def shared_opencv(found: dict[str, str], python: str) -> str | None:
    """A sentence of what may break where several packages own `cv2`, and the commands that put it right. None
    for fewer."""
    if len(found) < 2:
        return None
    names = [name for name in OPENCV_PACKAGES if name in found]
    listed = " and ".join(f"{name} {found[name]}" for name in names)
    return (
        f"{listed} share the folder cv2, and the one installed last wrote over the other: modules that only one has "
        "(cv2.ximgproc of contrib, windows) may be missing in other packs, and removing one breaks both. To keep one: "
        f'"{python}" -m pip uninstall -y {" ".join(names)}, then "{python}" -m pip install {_with_all_of(names)}'
    )


def _with_all_of(names: list[str]) -> str:
    """The one package that has what each of these has."""
    contrib = "contrib-" if any("contrib" in name for name in names) else ""
    headless = "-headless" if all(name.endswith("headless") for name in names) else ""
    return f"opencv-{contrib}python{headless}"
