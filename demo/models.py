"""The shipped demo model: three files in Wan's own formats, and adapters for it."""

from pathlib import Path

from ..hosts.pipeline import Backbone, load_backbone

FOLDER = Path(__file__).parent / "models"
DIT, TEXT_ENCODER, VAE = (
    FOLDER / f"refvid_demo_{part}.safetensors" for part in ("dit", "text_encoder", "vae")
)
SLOT_ID, SAMA, VIDEOMAKER = (
    FOLDER / f"refvid_demo_{adapter}.safetensors" for adapter in ("slot_id", "sama", "videomaker")
)


def load_demo(**options) -> Backbone:
    """The demo backbone; options as `load_backbone` takes them (dtype, device)."""
    return load_backbone(DIT, VAE, TEXT_ENCODER, **options)
