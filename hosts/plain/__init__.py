"""refvid without ComfyUI: the same recipes on the plain torch backbones of `backbones/`."""

from .evaluation import register
from .frames import Frames
from .identities import People
from .references import References
from .source import Source

for kind in (References, People, Frames, Source):
    register(kind)
