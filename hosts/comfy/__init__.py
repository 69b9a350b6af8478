"""ComfyUI's host: everything that knows ModelPatcher, conditioning or a sampler."""

from .evaluation import register_rider
from .frames import Frames
from .identities import People
from .references import References
from .source.rider import Source

for kind in (References, People, Frames, Source):
    register_rider(kind)
