"""Methods that can be trained, each in a folder of its own: config, rows, batch, losses, export, and
`method`, which the engine is given. No method knows another."""

from ..engine.method import register
from .sama.method import Sama
from .slot_id.method import SlotId
from .videomaker.method import VideoMaker

for _method in (SlotId(), VideoMaker(), Sama()):
    register(_method)
