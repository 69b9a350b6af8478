"""The Wan variants references work in, tiny, in process, each with what it usually comes with: VACE with a
control video, TI2V with and without a given first frame."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import comfy.sd
import refvid_tiny as tiny
import torch
from refvid_in_process import load_model, picture, sample, text
from refvid_test_nodes import tiny_wan22_vae
from torch import Tensor

from refvid.backbones.wan.dit import DiTConfig
from refvid.core.controls import Controls
from refvid.core.references import Reference, make_reference
from refvid.hosts.comfy.references import Applied, apply_references

SIZES = {
    "T2V": tiny.config(),
    "Fun-InP": tiny.config(in_channels=36),
    "I2V": tiny.config(in_channels=36, image_width=1280),
    "VACE": tiny.config(),
    "TI2V": tiny.config(in_channels=48, out_channels=48),
    "TI2V, first frame given": tiny.config(in_channels=48, out_channels=48),
}
FRAMES, SIDE, STEPS = 4, 4, 2
LEFT = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)
KEPT = 2 + 4  # reference tokens of `references`: half of a picture of four tokens, and a whole one
ALONG_TIME = ("vace_frames", "vace_mask", "concat_latent_image", "concat_mask")


def references(*strengths: float, picture_seed: int = 3) -> list[Reference]:
    """Up to two: the left half of a picture, and the whole of another."""
    masks = (LEFT, None)
    return [make_reference(picture(picture_seed + i), masks[i], Controls(s)) for i, s in enumerate(strengths)]


@dataclass(frozen=True)
class Case:
    """A model of one variant, the VAE of its family, and the graph around it."""

    name: str
    sizes: DiTConfig
    state: dict[str, Tensor]
    folder: Path
    model: object
    vae: object
    batch: int = 1

    def reloaded(self, state: dict[str, Tensor]):
        """The model with other weights, from a file of their own."""
        return load_model(tiny.save_dit(self.folder, "reloaded.safetensors", self.sizes, state))

    def low_rank(self, *keys: str) -> tuple[Callable, object]:
        """A LoRA on these layers, as what puts it on a model through core, and the model from a file in which
        it is part of the weights."""
        generator, low, merged = torch.Generator().manual_seed(4), {}, dict(self.state)
        for key in keys:
            rows, columns = self.state[f"{key}.weight"].shape
            a, b = torch.randn(4, columns, generator=generator), torch.randn(rows, 4, generator=generator)
            low |= {f"diffusion_model.{key}.lora_A.weight": a, f"diffusion_model.{key}.lora_B.weight": b}
            merged[f"{key}.weight"] = merged[f"{key}.weight"] + 0.02 * b @ a
        return lambda model: comfy.sd.load_lora_for_models(model, None, low, 0.02, 0)[0], self.reloaded(
            merged
        )

    def texts(self) -> tuple[list, list]:
        options = {}
        if self.name == "VACE":
            generator = torch.Generator().manual_seed(1)
            frames = torch.randn(1, 32, FRAMES, SIDE, SIDE, generator=generator)
            mask = torch.ones(1, 64, FRAMES, SIDE, SIDE)
            options = {"vace_frames": [frames], "vace_mask": [mask], "vace_strength": [0.7]}
        return [[text(1), dict(options)]], [[text(2), dict(options)]]

    def latent(self) -> dict[str, Tensor]:
        shape = (self.batch, self.sizes.out_channels, FRAMES, SIDE, SIDE)
        if self.name != "TI2V, first frame given":
            return {"samples": torch.zeros(shape)}
        mask = torch.ones(1, 1, FRAMES, SIDE, SIDE)
        mask[:, :, 0] = 0
        given = torch.randn(1, *shape[1:], generator=torch.Generator().manual_seed(8))
        return {"samples": given.expand(shape).clone(), "noise_mask": mask}

    def apply(self, *strengths: float, model=None, picture_seed: int = 3) -> Applied:
        return self.apply_all(references(*strengths, picture_seed=picture_seed), model=model)

    def apply_all(self, given: list[Reference], attention: str = "auto", model=None) -> Applied:
        positive, negative = self.texts()
        return apply_references(
            model or self.model, None, positive, negative, self.vae, self.latent(), given, "saber", "keep",
            attention,
        )  # fmt: skip

    def apply_to(self, model, positive: list, negative: list) -> Applied:
        """Apply the two references of `apply(1.0, 0.5)` onto a model and conditioning that something else was
        applied to."""
        return apply_references(
            model, None, positive, negative, self.vae, self.latent(), references(1.0, 0.5), "saber", "keep"
        )

    def controlled(self, region: bool = False, **controls) -> list[Reference]:
        """References, the first of two under control; its region is the left half of the video."""
        first, second = references(1.0, 1.0)
        side = SIDE * self.vae.spacial_compression_encode()
        half = torch.zeros(side, side).index_fill(1, torch.arange(side // 2), 1.0) if region else None
        asked = Controls(**controls)
        mask = first.mask * 0.8 if asked.soft else first.mask  # thinner than a token would have it
        return [replace(first, mask=mask, controls=asked, region=half), second]

    def run(self, model, positive, negative, latent=None, noise=None, steps=STEPS, first=0) -> Tensor:
        latent = latent or self.latent()
        return sample(model, positive, negative, latent, steps=steps, noise=noise, first=first)

    def applied(self, out: Applied, **kwargs) -> Tensor:
        return self.run(out.model, out.positive, out.negative, **kwargs)

    def twice(self) -> "Case":
        return replace(self, batch=2)


def make_state(name: str, sizes: DiTConfig | None = None) -> dict[str, Tensor]:
    return (tiny.vace_state if name == "VACE" else tiny.dit_state)(sizes or SIZES[name])


def make_case(name: str, folder: Path, vae, layers: int = 2) -> Case:
    sizes = replace(SIZES[name], layers=layers)
    state = make_state(name, sizes)
    model = load_model(tiny.save_dit(folder, f"{name}.safetensors", sizes, state))
    return Case(name, sizes, state, folder, model, tiny_wan22_vae() if sizes.out_channels == 48 else vae)


def frames_of(conditioning: list, start: int, stop: int) -> list:
    """The conditioning of a part of the video, as a window over the frames must see it."""

    def cut(value):
        return [cut(x) for x in value] if isinstance(value, list) else value[:, :, start:stop]

    return [[t, {k: cut(v) if k in ALONG_TIME else v for k, v in o.items()}] for t, o in conditioning]


def wrap_blocks(model, layers: int, around: Callable) -> None:
    """Another pack's patch on every block: around(run, args), where `run` is the block, or the patch that was
    there."""
    placed = model.model_options["transformer_options"].get("patches_replace", {}).get("dit", {})
    for index in range(layers):
        previous = placed.get(("double_block", index))

        def patch(args, extra, previous=previous):
            run = extra["original_block"] if previous is None else lambda given: previous(given, extra)
            return around(run, args)

        model.set_model_patch_replace(patch, "dit", "double_block", index)
