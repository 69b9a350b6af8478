"""The part `demo`: the demo's base and its adapters, trained from nothing by their run files
(demo/runs/*.toml), in order of value.

States stay in build/demo on the machine: a run that is out of time goes on there at the next call. Files of
runs that are done lie in FOLDER/demo, and adapters learn on the base that was trained here.
"""

import shutil
import sys
import time
from functools import partial
from pathlib import Path

from refvid.demo import models

from .device import ROOT, Device
from .processes import GRACE, run_group
from .sheet import Case, Unfinished

WORK = ROOT / "build/demo"
# By run: its files, and where the pack has them.
MADE = {
    "vae": {"vae.safetensors": models.VAE},
    "dit": {"dit.safetensors": models.DIT, "text_encoder.safetensors": models.TEXT_ENCODER},
    "slot_id": {"slot_id.safetensors": models.SLOT_ID},
    "sama": {"sama.safetensors": models.SAMA},
    "videomaker": {"videomaker.safetensors": models.VIDEOMAKER},
}
COMPILED = tuple(name for name in MADE if name != "vae")


def demo(device: Device) -> list[Case]:
    """A case a run, the base first; dry the base alone: a few steps of adapters are tested with them."""
    runs = ("vae", "dit") if device.dry else tuple(MADE)
    return [Case(name, partial(train, device, name)) for name in runs]


def train(device: Device, name: str) -> dict:
    """Files of a run, which are in the part's folder then. Unfinished where its time is over."""
    out = WORK / "dry" if device.dry else WORK
    if device.dry:
        for file in out.glob(f"*{name}*"):
            file.unlink() if file.is_file() else shutil.rmtree(file)
    code = run_group(command(name, out, device), device.until - GRACE - time.monotonic())
    if code is None:
        raise Unfinished(f"{name} goes on from its last state, at most a minute ago")
    if code:
        return {"failed": f"refvid train {name} ended with {code}; its own words are above"}
    (device.folder / "demo").mkdir(parents=True, exist_ok=True)
    for file, place in MADE[name].items():
        shutil.copy(out / file, device.folder / "demo" / file)
        if not device.dry:
            shutil.copy(out / file, place)
    return {"files": sorted(MADE[name])}


def command(name: str, out: Path, device: Device) -> list[str]:
    """Command of a run: begun, or gone on with."""
    asked = [sys.executable, str(ROOT / "refvid.py"), "train", name, "--out", str(out)]
    asked += ["--device", device.at.type]
    if device.dry:
        return [*asked, "--smoke"]
    begun = any((out / f"{name}-run{which}.safetensors").exists() for which in ("", "-before"))
    return [*asked, *["--compile"] * (name in COMPILED), *["--resume"] * begun]
