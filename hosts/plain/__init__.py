"""The plain host: refvid without ComfyUI, the same recipes on the plain torch backbones of `backbones/`."""

from .evaluation import register_rider
from .frames import FramesRider
from .identities import PeopleRider
from .references import ReferencesRider
from .source import SourceRider
from .vace import HintsRider

for kind in (ReferencesRider, PeopleRider, FramesRider, SourceRider, HintsRider):
    register_rider(kind)
