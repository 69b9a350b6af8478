"""Socket types of this pack: one per domain object."""

from comfy_api.latest import io

References = io.Custom("REFVID_REFERENCE")  # list[core.references.Reference]
Adapter = io.Custom("REFVID_ADAPTER")  # hosts.comfy.identity.LoadedAdapter
Identity = io.Custom("REFVID_IDENTITY")  # core.identity.Identity
Plan = io.Custom("REFVID_LONG_VIDEO")  # core.long_video.LongVideo
CATEGORY = "refvid"
