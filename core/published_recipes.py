"""Recipes of weights that anybody can download, read from the code that was published with them. Nobody has
run these weights here; docs/weights.md says what is known of each."""

from dataclasses import replace

from .recipe import WHITE, Hints, Place, Recipe


def phantom() -> Recipe:
    """Whole reference frames behind the video, white padding included; zero latents in guidance's null pass.
    Phantom (arXiv 2502.11079) and core's WanPhantomSubjectToVideo, whose third output that pass is."""
    return Recipe(
        "phantom", "arXiv 2502.11079", "video", WHITE, True, False, "keep", "zero", max_references=4,
        hints=Hints(5.0, 7.5, 50, 5.0, (832, 480), 81, 24),
    )  # fmt: skip


def skyreels_v3() -> Recipe:
    """Recipe `phantom` with four places: those without a picture hold zero latents and stay in the sequence.
    SkyReels-V3 R2V (SkyworkAI/SkyReels-V3 28c771e), whose released script has no guidance."""
    return replace(
        phantom(), name="skyreels_v3", source="SkyworkAI/SkyReels-V3", reference_places=4,
        hints=Hints(1.0, 1.0, 8, 5.0, (1280, 720), 121, 24),
    )  # fmt: skip


def refalign() -> Recipe:
    """Recipe `phantom` whose references do not read the prompt. RefAlign (gudaochangsheng/RefAlign 6f91526,
    models/wan_video_dit.py)."""
    return replace(
        phantom(), name="refalign", source="gudaochangsheng/RefAlign", reads_text=False,
        hints=Hints(5.0, 7.5, 50, 5.0, (832, 480), 81, 16),
    )  # fmt: skip


def kaleido() -> Recipe:
    """Reference frames beside the video's first ones, 80 rows and columns away; every pass keeps them.
    Kaleido (zai-org/Kaleido 4c6c757, dit_video_crossattn.py). What we read names no shift."""
    return Recipe(
        "kaleido", "zai-org/Kaleido", "video", WHITE, True, False, "keep", "keep", Place("index", 80, 80),
        max_references=3, hints=Hints(1.0, 6.0, 50, None, (896, 512), 81, 16),
    )  # fmt: skip


def concat_id() -> Recipe:
    """One face on black behind the video and beyond its columns, which does not read the prompt; every pass
    keeps it. Concat-ID-Wan (ML-GSAI/Concat-ID, pipelines/wan_video.py)."""
    return Recipe(
        "concat_id", "ML-GSAI/Concat-ID", "video", 0.0, True, False, "keep", "keep",
        Place("after", 0, "beyond"), max_references=1, reads_text=False,
        hints=Hints(1.0, 5.0, 50, 5.0, (832, 480), 81, 16),
    )  # fmt: skip


def stand_in() -> Recipe:
    """One face of 512 x 512 pixels before the video and beyond its rows and columns. It is clean and reads
    itself alone; a LoRA of its own changes its queries, keys and values. Stand-In (WeChatCV/Stand-In
    cceec58, models/set_condition_branch.py). Guidance's pass without it is the plain model's, which never
    changed."""
    return Recipe(
        "stand_in", "WeChatCV/Stand-In", "video", WHITE, True, False, "keep", "drop",
        Place("before", "beyond", "beyond"), max_references=1, size=(512, 512), clock="own",
        reads_text=False, sees="itself", token_lora=True,
        hints=Hints(1.0, 5.0, 20, 5.0, (832, 480), 81, 16),
    )  # fmt: skip


def bernini() -> Recipe:
    """Pictures as in-context streams of their own size, which its training leaves out of the sequence.
    ByteDance Bernini-R (bernini/training/data.py) and core's BerniniConditioning."""
    return Recipe(
        "bernini", "ByteDance/Bernini-R", "own", WHITE, False, False, "keep", "drop",
        Place("first", own_source=True),
    )  # fmt: skip


def vace() -> Recipe:
    """Whole reference frames in front of the video, on white, in every pass: VACE (arXiv 2503.07598) §3.2 and
    Wan-Video/Wan2.1 9737cba (wan/vace.py, generate.py). The hint branch is shown them; the model denoises
    frames of its own there, which are cut off after sampling."""
    return Recipe(
        "vace", "arXiv 2503.07598", "video", WHITE, True, False, "keep", "keep", Place("before"),
        carrier="hints", hints=Hints(1.0, 5.0, 50, 16.0, (832, 480), 81, 16),
    )  # fmt: skip


PUBLISHED = (phantom, bernini, skyreels_v3, refalign, kaleido, concat_id, stand_in, vace)
