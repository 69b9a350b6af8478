"""Parts that the small graphs of refvid_kept_graphs.py share: files, pictures, references, runs."""

from refvid_base_folder import DIT, TEXT, VAE
from refvid_client import Graph, node

SIDE, HALF, LENGTH = 48, 24, 9
IDENTITY = "refvid_kept_identity.safetensors"  # among the inputs
SAVED = "keep_"  # before the name of a run: where its latent is saved
FIRST, SECOND = (0, 2, 3), (1, 2, 3)  # outputs of our nodes: an expert and both conditionings
EULER = {"sampler_name": "euler", "scheduler": "simple"}


def base(dit: str = DIT, shift: float = 5.0, length: int = LENGTH) -> Graph:
    """Files, two cut-outs, texts and an empty video."""
    return {
        "backbone": node(
            "RefVidLoadBackbone", diffusion_model=dit, text_encoder=TEXT, vae=VAE, weight_dtype="default",
            shift=shift
        ),
        "short": node("T5TokenizerOptions", clip=["backbone", 1], min_padding=1, min_length=1),  # small files
        "toy": node("LoadImage", image="refvid_toy.png"),
        "toy_2": node("LoadImage", image="refvid_toy_2.png"),
        "positive_prompt": node("CLIPTextEncode", clip=["short", 0], text="a toy moving right on dark background"),
        "negative_prompt": node("CLIPTextEncode", clip=["short", 0], text=""),
        "video": node("EmptyHunyuanLatentVideo", width=SIDE, height=SIDE, length=length, batch_size=1),
    }  # fmt: skip


def left_half() -> Graph:
    """A mask of the video's size."""
    return {
        "nowhere": node("SolidMask", value=0.0, width=SIDE, height=SIDE),
        "half": node("SolidMask", value=1.0, width=HALF, height=SIDE),
        "left": node("MaskComposite", destination=["nowhere", 0], source=["half", 0], x=0, y=0,
        operation="add"),
    }  # fmt: skip


def clip() -> Graph:
    """Thirteen pictures in the video's size, the first nine of them, the same larger, and where their subject
    is. From single pictures: what a film's file becomes depends a little on the decoder."""

    def joined(one: str, two: str) -> dict:
        return node("ImageBatch", image1=[one, 0], image2=[two, 0])

    def scaled(name: str) -> dict:
        size = {"upscale_method": "bilinear", "width": SIDE, "height": SIDE, "crop": "disabled"}
        return node("ImageScale", image=[name, 0], **size)

    return {
        "first": node("LoadImage", image="refvid_first.png"),
        "last": node("LoadImage", image="refvid_last.png"),
        "toys": joined("toy", "toy_2"),
        "ends": joined("first", "last"),
        "five": joined("toys", "three"),
        "three": joined("ends", "toy_2"),
        "eight": joined("five", "three"),
        "large": joined("eight", "five"),
        "long": scaled("large"),
        "film": node("ImageFromBatch", image=["long", 0], batch_index=0, length=LENGTH),
        "mask": node("LoadImageMask", image="refvid_toy_mask.png", channel="red"),
    }


def reference(picture: str = "toy", **asked) -> dict:
    return node("RefVidReference", **{
        "image": [picture, 0], "mask": [picture, 1], "mask_marks": "background", "strength": 1.0, **asked
    })  # fmt: skip


def loaded(**asked) -> dict:
    return node(
        "RefVidLoadReference", **{"image": "refvid_toy.png", "subject": "auto", "strength": 1.0, **asked}
    )


def apply(*references: str, onto: str | None = None, **asked) -> dict:
    model, texts = (["backbone", 0], (["positive_prompt", 0], ["negative_prompt", 0]))
    if onto is not None:
        model, texts = [onto, 0], ([onto, 2], [onto, 3])
    slots = {f"references.reference_{index}": [name, 0] for index, name in enumerate(references)}
    return node("RefVidApplyReferences", **{
        "model": model, "positive": texts[0], "negative": texts[1], "vae": ["backbone", 2],
        "latent": ["video", 0], **slots, "recipe": "saber", "null_pass": "drop", **asked,
    })  # fmt: skip


def core_run(name: str, given: str, outputs=FIRST, latent=("video", 0), steps: int = 3) -> Graph:
    """Core's sampler on what the node `given` gives, and its latent."""
    model, positive, negative = ([given, output] for output in outputs)
    sampler = node(
        "KSampler", model=model, positive=positive, negative=negative, latent_image=list(latent), seed=3,
        steps=steps, cfg=3.0,
        denoise=1.0, **EULER,
    )  # fmt: skip
    return {name: sampler, f"{SAVED}{name}": node("SaveLatent", samples=[name, 0], filename_prefix=name)}


def own_run(name: str, guider: dict, latent=("video", 0), **steps) -> Graph:
    """Our steps with a guider, and its latent."""
    denoise = node("RefVidDenoiseSteps", **{
        "guider": [f"{name}_guider", 0], "latent": list(latent), "add_noise": "enable", "noise_seed": 3,
        "steps": 3, **EULER,
        "start_at_step": 0, "end_at_step": 10000, "return_with_leftover_noise": "disable", **steps,
    })  # fmt: skip
    saved = node("SaveLatent", samples=[name, 0], filename_prefix=name)
    return {f"{name}_guider": guider, name: denoise, f"{SAVED}{name}": saved}


def guider(kind: str, given: str, outputs=FIRST, **asked) -> dict:
    names = zip(("model", "positive", "negative"), outputs, strict=True)
    return node(kind, **{name: [given, output] for name, output in names}, **asked)
