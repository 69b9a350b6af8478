"""Nodes where OpenCV and kornia are not there, are in pieces, or are there twice."""

import subprocess
import sys
from math import isnan
from pathlib import Path

import pytest
import refvid_patience as patience
import torch
from refvid_comfy import PACK, comfy_environment, find_comfyui

from refvid.core.references import make_reference
from refvid.hosts.comfy import opencv
from refvid.nodes.score import RefVidScore

pytestmark = pytest.mark.comfy

HIDDEN = """
import asyncio, sys
sys.argv = ["main.py", "--cpu"]
sys.modules.update(dict.fromkeys(("cv2", "kornia")))
sys.path.append({support!r})
from pathlib import Path
import torch
import comfy.options
comfy.options.enable_args_parsing()
from refvid_folder import import_folder
import_folder("refvid", Path({pack!r}))
from refvid.nodes import RefVidExtension
nodes = asyncio.run(RefVidExtension().get_node_list())
for node in nodes:
    node.define_schema()
score = next(node for node in nodes if node.__name__ == "RefVidScore")
from refvid.core.references import make_reference
picture = torch.rand(64, 64, 3)
mask = torch.zeros(64, 64)
mask[16:48, 16:48] = 1
clip = picture.expand(2, -1, -1, -1).clone()
out = score.execute(clip=clip, reference=[make_reference(picture, mask)], subject_mask=mask[None])
print(len(nodes), *out.args[:3])
print(out.args[5])
assert sys.modules["cv2"] is None and sys.modules["kornia"] is None
"""


@pytest.mark.slow
def test_every_node_loads_and_scores_without_opencv_and_kornia():
    code = HIDDEN.format(support=str(Path(patience.__file__).parent), pack=str(PACK))
    root = find_comfyui()
    assert root is not None
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env=comfy_environment(),
        capture_output=True,
        text=True,
        timeout=patience.PROCESS,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    figures, *report = done.stdout.splitlines()
    count, *same = figures.split()
    assert int(count) >= 26 and [float(one) for one in same] == pytest.approx([1, 1, 1], abs=1e-3)
    (motion,) = [line for line in report if line.startswith("dynamic_degree")]
    assert "not measured: OpenCV cannot be used" in motion and "pip install opencv-python" in motion


def test_score_measures_all_but_motion_without_opencv_and_kornia(monkeypatch):
    for name in ("cv2", "kornia"):
        monkeypatch.setitem(sys.modules, name, None)
    picture, mask = torch.rand(64, 64, 3), torch.zeros(64, 64)
    mask[16:48, 16:48] = 1
    clip = picture.expand(2, -1, -1, -1).clone()
    asked = {"reference": [make_reference(picture, mask)], "subject_mask": mask[None]}
    out = RefVidScore.execute(clip=clip, **asked).args
    assert out[:3] == pytest.approx([1, 1, 1], abs=1e-3) and isnan(out[4])
    assert "not measured: OpenCV cannot be used" in out[5]


TWO = {
    "opencv-contrib-python": ("opencv-python", "opencv-contrib-python-headless"),
    "opencv-python": ("opencv-python", "opencv-python-headless"),
    "opencv-contrib-python-headless": ("opencv-contrib-python-headless", "opencv-python-headless"),
}


@pytest.mark.parametrize("kept", TWO)
def test_two_packages_with_one_folder_are_told_with_the_command_that_keeps_one(kept):
    said = opencv.shared_opencv(dict.fromkeys(TWO[kept], "4.12.0"), "/a python")
    assert said is not None and "\n" not in said
    assert said.startswith(
        " and ".join(f"{name} 4.12.0" for name in opencv.OPENCV_PACKAGES if name in TWO[kept])
    )
    first, second = said.split("To keep one: ")[1].split(", then ")
    assert first.startswith('"/a python" -m pip uninstall -y ') and set(first.split()[-2:]) == set(TWO[kept])
    assert second == f'"/a python" -m pip install {kept}'


@pytest.mark.parametrize("names", [(), ("opencv-python",)])
def test_one_package_is_nothing_to_tell(names):
    assert opencv.shared_opencv(dict.fromkeys(names, "4.12.0"), "python") is None


def test_what_is_installed_is_found_by_its_records(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in ("opencv_python", "opencv_contrib_python"):
        record = tmp_path / f"{name}-4.13.0.dist-info" / "METADATA"
        record.parent.mkdir()
        record.write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 4.13.0\n")
    assert opencv.installed_opencv() == dict.fromkeys(("opencv-contrib-python", "opencv-python"), "4.13.0")
    with caplog.at_level("WARNING", "refvid"):
        opencv.tell_opencv()
    assert len(caplog.messages) == 1 and "share the folder cv2" in caplog.text
