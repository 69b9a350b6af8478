"""What both trees are given: this tree's samples, small model files that 0.1.0 left, masks drawn here."""

from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "demo" / "samples"
KEPT = ROOT / "tests" / "data" / "0.1.0"
TOY, SECOND = SAMPLES / "refvid_toy.png", SAMPLES / "refvid_toy_2.png"
FIRST, LAST = SAMPLES / "refvid_first.png", SAMPLES / "refvid_last.png"
FILM, FILM_MASK = SAMPLES / "refvid_film.mp4", SAMPLES / "refvid_film_mask.mp4"
SCENE = SAMPLES / "refvid_scene.mp4"
PROMPT = "a toy moving right on dark background"
INSTRUCTION = "change the background to light"

MODELS = KEPT / "models"
INPAINTING = MODELS / "diffusion_models" / "refvid_kept_inp.safetensors"
SLOT_ID, SAMA, VIDEOMAKER = (
    MODELS / "loras" / f"refvid_demo_{name}.safetensors" for name in ("slot_id", "sama", "videomaker")
)
IDENTITY = KEPT / "inputs" / "refvid_kept_identity.safetensors"
SIDE, TOY_SIDE = 48, 96  # pixels of a video of the small files, of the pictures


def small_files(dit: Path = MODELS / "diffusion_models" / "refvid_demo_dit.safetensors") -> list[object]:
    """Options: a backbone of random weights, two blocks of two heads, on which every choice shows."""
    vae = MODELS / "vae" / "refvid_demo_vae.safetensors"
    text = MODELS / "text_encoders" / "refvid_demo_text_encoder.safetensors"
    return ["--dit", dit, "--vae", vae, "--text-encoder", text]


def draw_half(path: Path, side: int, left: bool = True) -> Path:
    """A mask: half of a picture."""
    mask = Image.new("RGB", (side, side))
    mask.paste((255, 255, 255), (0, 0, side // 2, side) if left else (side // 2, 0, side, side))
    mask.save(path)
    return path


def draw_film(path: Path, side: int, frames: int = 13) -> Path:
    """A GIF, longer than a window: a square that travels."""
    shown = []
    for index in range(frames):
        picture = Image.new("RGB", (side, side), (40, 80, 60))
        picture.paste((220, 60, 40), (2 * index, side // 4, 2 * index + side // 3, 3 * side // 4))
        shown.append(picture)
    shown[0].save(path, save_all=True, append_images=shown[1:], duration=125)
    return path


def scaled(path: Path, folder: Path, side: int) -> Path:
    """A picture in another size."""
    out = folder / f"{side}-{path.name}"
    Image.open(path).resize((side, side)).save(out)
    return out


def digest_files() -> list[Path]:
    """All of these files."""
    found = [file for folder in (SAMPLES, KEPT / "models", KEPT / "inputs") for file in folder.rglob("*")]
    return sorted(file for file in found if file.is_file())
