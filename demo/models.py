"""The shipped demo model: three files in Wan's own formats, and adapters for it, in folders named as ComfyUI's."""

from pathlib import Path

from ..hosts.plain.pipeline import Pipeline, load_pipeline

HERE = Path(__file__).parent
FOLDER, SAMPLES = HERE / "models", HERE / "samples"
DIT = FOLDER / "diffusion_models" / "refvid_demo_dit.safetensors"
TEXT_ENCODER = FOLDER / "text_encoders" / "refvid_demo_text_encoder.safetensors"
VAE = FOLDER / "vae" / "refvid_demo_vae.safetensors"
SLOT_ID, SAMA, VIDEOMAKER = (
    FOLDER / "loras" / f"refvid_demo_{adapter}.safetensors" for adapter in ("slot_id", "sama", "videomaker")
)


def load_demo(**options) -> Pipeline:
    """The demo backbone; options as `load_pipeline` takes them (dtype, device)."""
    return load_pipeline(DIT, VAE, TEXT_ENCODER, **options)
