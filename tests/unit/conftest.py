"""Properties run without a deadline: a busy machine is not a failure."""

from hypothesis import settings

settings.register_profile("refvid", deadline=None)
settings.load_profile("refvid")
