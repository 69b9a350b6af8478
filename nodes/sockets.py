"""Socket types of this pack: one per domain object."""

from comfy_api.latest import io

References = io.Custom("REFVID_REFERENCE")  # list[core.references.Reference]
CATEGORY = "refvid"
