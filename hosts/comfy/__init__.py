"""ComfyUI's host: everything that knows ModelPatcher, conditioning or a sampler."""

from .evaluation import register_rider
from .frames import Frames
from .identities import People
from .references import References
from .source.rider import Source
from .vace import VaceReferences

for kind in (References, People, Frames, Source, VaceReferences):
    register_rider(kind)
