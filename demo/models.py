"""The shipped demo model: three files in Wan's own formats, and adapters for it, in folders named as
ComfyUI's."""

from pathlib import Path

from ..hosts.plain.pipeline import Pipeline, load_pipeline

_HERE = Path(__file__).parent
DEMO_MODELS, DEMO_SAMPLES = _HERE / "models", _HERE / "samples"
DIT = DEMO_MODELS / "diffusion_models" / "refvid_demo_dit.safetensors"
TEXT_ENCODER = DEMO_MODELS / "text_encoders" / "refvid_demo_text_encoder.safetensors"
VAE = DEMO_MODELS / "vae" / "refvid_demo_vae.safetensors"
SLOT_ID, SAMA, VIDEOMAKER = (
    DEMO_MODELS / "loras" / f"refvid_demo_{adapter}.safetensors"
    for adapter in ("slot_id", "sama", "videomaker")
)


def load_demo(**options) -> Pipeline:
    """The demo backbone; options as `load_pipeline` takes them (dtype, device)."""
    return load_pipeline(DIT, VAE, TEXT_ENCODER, **options)
