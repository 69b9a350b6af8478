"""A ComfyUI base folder for tests: the tiny model under the demo's names, pictures, and files that must be
refused."""

import json
import shutil
from pathlib import Path

import refvid_public_files
import refvid_tiny as tiny
import torch
from PIL import Image, ImageDraw, ImageOps
from safetensors.torch import save_file

from refvid.core.checkpoint import save_model
from refvid.core.lora import SELF

BACKBONE = ("diffusion_models", "text_encoders", "vae")  # folders
FOLDERS = (*BACKBONE, "loras")
DIT, TEXT, VAE = (f"refvid_demo_{part}.safetensors" for part in ("dit", "text_encoder", "vae"))
SLOT_ID, SAMA, VIDEOMAKER = (f"refvid_demo_{part}.safetensors" for part in ("slot_id", "sama", "videomaker"))
SAMPLES = Path(__file__).resolve().parents[2] / "demo" / "samples"
TRAP = "trap.pt"  # unpickling it would leave the file `sprung` beside it


def fill(base: Path) -> None:
    """Fill a folder with all that the server tests need."""
    dits, texts, vaes, loras = (base / "models" / name for name in FOLDERS)
    for folder in (dits, texts, vaes, loras, base / "input", base / "custom_nodes"):
        folder.mkdir(parents=True, exist_ok=True)
    sizes = tiny.config()
    tiny.save_dit(dits, DIT, sizes, tiny.dit_state(sizes), recipe="saber")
    tiny.save_dit(dits, "plain.safetensors", sizes, tiny.dit_state(sizes))
    tiny.save_text_encoder(texts, TEXT)
    tiny.save_vae(vaes, VAE)
    tiny.save_adapter(loras, sizes, SLOT_ID)
    tiny.save_dit(dits, "sama.safetensors", sizes, tiny.sama_state(sizes))
    save_model(tiny.semantic_state(sizes.width), loras / SAMA, dtype=torch.float32)
    save_model(tiny.lora_of(sizes, SELF), loras / VIDEOMAKER, dtype=torch.float32)
    for whole in (dits / DIT, texts / TEXT, vaes / VAE, loras / SLOT_ID):
        whole.with_name("truncated.safetensors").write_bytes(
            whole.read_bytes()[: whole.stat().st_size * 2 // 3]
        )
        _trap(whole.with_name(TRAP))
    _ltxv(dits / "ltxv.safetensors")
    _camera(dits)
    _taesd(vaes / "taesd.safetensors")
    refvid_public_files.fill(base)
    cut_out().save(base / "input" / "refvid_toy.png")
    ImageOps.flip(cut_out()).save(base / "input" / "refvid_toy_2.png")
    photo().save(base / "input" / "photo.png")
    for sample in (*SAMPLES.glob("*.mp4"), SAMPLES / "refvid_first.png", SAMPLES / "refvid_last.png"):
        shutil.copy(sample, base / "input")
    for nodes in ("refvid_test_nodes.py", "refvid_fault_nodes.py"):
        shutil.copy(Path(__file__).with_name(nodes), base / "custom_nodes")


def cut_out() -> Image.Image:
    """A toy on a transparent ground, 64x64."""
    picture = Image.new("RGBA", (64, 64))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((12, 16, 52, 52), fill=(220, 60, 40, 255))
    draw.rectangle((20, 8, 30, 30), fill=(250, 200, 30, 255))
    return picture


def photo() -> Image.Image:
    """The toy on a ground of its own, without transparency, 96x80."""
    picture = Image.new("RGB", (96, 80), (30, 90, 60))
    picture.paste(cut_out(), (16, 8), cut_out())
    return picture


def _ltxv(path: Path) -> None:
    """A model of another family, as small as core recognises it; tensors that are not there stay random."""
    sizes = {
        "num_attention_heads": 2, "attention_head_dim": 16, "cross_attention_dim": 32, "caption_channels": 32,
    }  # fmt: skip
    width = sizes["num_attention_heads"] * sizes["attention_head_dim"]
    state = {
        "adaln_single.emb.timestep_embedder.linear_1.bias": torch.zeros(width),
        "transformer_blocks.0.attn2.to_k.weight": torch.zeros(width, sizes["cross_attention_dim"]),
    }
    save_file(state, path, {"config": json.dumps({"transformer": sizes})})


def _camera(folder: Path) -> None:
    """A Wan variant with a forward of its own."""
    sizes = tiny.config(in_channels=36)
    width = sizes.width
    adapter = {"conv": torch.zeros(width, 24 * 64, 2, 2)} | {
        f"residual_blocks.0.conv{part}": torch.zeros(width, width, 3, 3) for part in (1, 2)
    }
    weights = {f"control_adapter.{key}.weight": value for key, value in adapter.items()}
    biases = {f"control_adapter.{key}.bias": torch.zeros(width) for key in adapter}
    tiny.save_dit(folder, "camera.safetensors", sizes, {**tiny.dit_state(sizes), **weights, **biases})


def _taesd(path: Path) -> None:
    save_file({"taesd_decoder.1.weight": torch.zeros(64, 4, 3, 3)}, path)


def _trap(path: Path) -> None:
    path.write_bytes(f"cposix\nsystem\n(S'touch {path.with_name('sprung')}'\ntR.".encode())
