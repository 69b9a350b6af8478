"""Small API graphs in which every node, and every choice that a user has, occurs beside those of the shipped
workflows."""

from refvid_base_folder import SAMA, SLOT_ID, VIDEOMAKER
from refvid_client import Graph, edited, node
from refvid_kept_models import INPAINTING, REFERENCE_ADAPTER
from refvid_kept_parts import (
    FIRST,
    IDENTITY,
    LENGTH,
    SECOND,
    apply,
    base,
    clip,
    core_run,
    guider,
    left_half,
    loaded,
    own_run,
    reference,
)

SEES = ("recipe", "all", "video", "itself", "frames")
FITS = ("crop", "pad", "stretch")
RECIPES = (
    "auto", "saber", "phantom", "bernini", "skyreels_v3", "refalign", "kaleido", "concat_id", "videomaker",
    "videomaker_shared", "videomaker_no_text",
)  # fmt: skip
ONE_PICTURE = ("concat_id", "videomaker", "videomaker_shared", "videomaker_no_text")


def references() -> Graph:
    """Two references with every control, and every null pass that core's samplers can be given."""
    asked = {
        **{f"sees_{sees}": {"sees": sees} for sees in SEES},
        "weak": {"strength": 0.4},
        "strong": {"strength": 3.0},
        "early": {"end_percent": 0.7, "fade_out": 0.5},
        "late": {"start_percent": 0.3, "fade_in": 0.5},
        "first_frames": {"last_frame": 4},
        "later_frames": {"first_frame": 5},
        "region": {"region": ["left", 0]},
        "soft": {"soft_mask": True},
        "focused": {"focus": 8.0, "focus_start": 0.3},
        "inverted": {"mask_marks": "subject"},
        "focus": {"focus": 4.0, "focus_start": 0.1},
        "known": {"mask_marks": "auto"},
        **{f"fit_{fit}": {"fit": fit, "region": ["small", 0]} for fit in FITS},
    }
    graph = base() | left_half() | {"small": node("SolidMask", value=1.0, width=24, height=40)}
    for name, controls in asked.items():
        second = reference("toy_2", sees=controls.get("sees", "all"))
        graph |= {f"one_{name}": reference(**controls), f"two_{name}": second}
        graph[f"apply_{name}"] = apply(f"one_{name}", f"two_{name}")
        graph |= core_run(name, f"apply_{name}")
    graph |= {"plain": reference(), "plain_2": reference("toy_2")}
    for null in ("recipe", "keep", "zero"):
        graph[f"apply_null_{null}"] = apply("plain", null_pass=null)
        graph |= core_run(f"null_{null}", f"apply_null_{null}")
    graph["apply_eager"] = apply("plain", "plain_2", attention="eager")
    graph["apply_chained"] = apply("plain_2", onto="apply_eager")
    graph["apply_swapped"] = apply("plain_2", "plain", attention="deterministic")
    for name in ("chained", "swapped"):
        graph |= core_run(name, f"apply_{name}")
    graph["apply_experts"] = apply("plain", low_noise_model=["backbone", 0])
    return graph | core_run("experts", "apply_experts", SECOND)


def pictures() -> Graph:
    """References loaded with every part that can count and every control, saved as files, and applied."""
    asked = {
        "auto": {"sees": "frames", "region": ["left", 0], "soft_mask": True},
        "cut_out": {
            "subject": "cut-out",
            "start_percent": 0.2,
            "end_percent": 0.9,
            "fade_in": 0.1,
            "fade_out": 0.2,
        },
        "painted": {"subject": "painted", "first_frame": 1, "last_frame": 6, "sees": "video"},
        "whole": {"subject": "whole picture", "focus": 4.0, "focus_start": 0.1, "sees": "itself"},
        "all": {"sees": "all"},
        "recipe": {"sees": "recipe"},
        "another": {"image": "refvid_toy_2.png", "strength": 0.5},
    }
    graph = base() | left_half()
    for name, controls in asked.items():
        graph |= {f"one_{name}": loaded(**controls), f"apply_{name}": apply(f"one_{name}")}
        graph[f"file_{name}"] = node(
            "RefVidSaveReference", reference=[f"one_{name}", 0], filename_prefix="references/kept"
        )
        graph |= core_run(name, f"apply_{name}")
    return graph


def recipes() -> Graph:
    """Recipes with core's sampler and with our guider, and a model with masked input."""
    graph = base(shift=3.0) | {"plain": reference(), "plain_2": reference("toy_2")}
    graph |= {
        "lora": node("LoraLoaderModelOnly", model=["backbone", 0], lora_name=VIDEOMAKER, strength_model=1.0)
    }
    for recipe in RECIPES:
        many = ("plain",) if recipe in ONE_PICTURE else ("plain", "plain_2")
        graph[f"apply_{recipe}"] = apply(*many, recipe=recipe, null_pass="recipe")
        if recipe.startswith("videomaker"):
            graph[f"apply_{recipe}"]["inputs"]["model"] = ["lora", 0]
        graph |= core_run(recipe, f"apply_{recipe}")
        graph |= own_run(f"{recipe}_joint", guider("RefVidJointGuider", f"apply_{recipe}", scale=3.0))
    masked = base(INPAINTING)["backbone"]
    graph |= {
        "masked": masked,
        "apply_masked": edited({"a": apply("plain")}, {"a.model": ["masked", 0]})["a"],
    }
    return graph | core_run("masked_input", "apply_masked")


def adapters() -> Graph:
    """An adapter of reference tokens on both experts, and on one."""
    graph = base() | {"plain": reference()}
    both = {"low_noise_model": ["backbone", 0], "low_noise_adapter": REFERENCE_ADAPTER}
    for name, more in {"one": {"low_noise_adapter": "none"}, "both": both}.items():
        graph[name] = node(
            "RefVidLoadReferenceAdapter", model=["backbone", 0], adapter=REFERENCE_ADAPTER, **more
        )
        graph[f"apply_{name}"] = edited(
            {"a": apply("plain", recipe="stand_in", null_pass="recipe")}, {"a.model": [name, 0]}
        )["a"]
        graph |= core_run(name, f"apply_{name}")
    return graph


def guiders() -> Graph:
    """Guiders with windows and fades, renormed guidance, and a run in two ranges."""
    graph = base() | {"plain": reference(), "apply": apply("plain")}
    for over in ("clip", "frames"):
        graph[f"renorm_{over}"] = node("RefVidRenormGuidance", model=["apply", 0], over=over)
        one = guider("RefVidJointGuider", "apply", scale=6.0)
        one["inputs"]["model"] = [f"renorm_{over}", 0]
        graph |= own_run(f"renormed_{over}", one)
    separate, window = "RefVidSeparateGuider", {"start_percent": 0.1, "end_percent": 0.9, "fade_in": 0.3}
    graph |= own_run("joint", guider("RefVidJointGuider", "apply", scale=4.0, **window, fade_out=0.2))
    scales = {"image_scale": 1.5, "text_scale": 5.0}
    graph |= own_run("separate", guider(separate, "apply", **scales, scales="given"))
    graph |= own_run(
        "separate_late", guider(separate, "apply", image_scale=2.0, text_scale=4.0, **window, fade_out=0.2)
    )
    graph |= own_run("separate_text", guider(separate, "apply", image_scale=1.0, text_scale=5.0))
    graph["published"] = apply("plain", recipe="phantom", null_pass="recipe")
    graph |= own_run("separate_auto", guider(separate, "published", **scales, scales="auto"))
    joint = guider("RefVidJointGuider", "apply", scale=2.0)
    graph |= own_run("high", joint, end_at_step=1, return_with_leftover_noise="enable")
    graph |= own_run("low", joint, ("high", 0), start_at_step=1, add_noise="disable")
    graph["keep_estimate"] = node("SaveLatent", samples=["high", 1], filename_prefix="estimate")
    return graph


def frames() -> Graph:
    """Tasks of replaced frames, both clocks, and key frames to a long video."""
    tasks = {
        "first frame": (1, {}), "prediction": (5, {}), "first and last": (2, {}), "every n-th": (3, {}),
        "multi-view": (1, {}),
        "free": (2, {"task.frames_at": "4, -1"}),
    }  # fmt: skip
    graph = base() | clip() | {"views": base(length=25)["video"]}
    for task, (count, more) in tasks.items():
        name = task.replace(" ", "_").replace("-", "_")
        latent = ["views" if task == "multi-view" else "video", 0]
        given = {"frames": [f"pictures_{count}", 0], "task": task, **more, "latent": latent}
        pictures = node("ImageFromBatch", image=["film", 0], batch_index=0, length=count)
        graph |= {f"pictures_{count}": pictures, f"replace_{name}": _replace(**given, clock="own")}
        guided = guider("RefVidJointGuider", f"replace_{name}", scale=2.0)
        graph |= own_run(name, guided, (f"replace_{name}", 4))
    both = {"frames": ["pictures_2", 0], "task": "first and last", "latent": ["video", 0]}
    for clock in ("own", "shared"):
        graph[f"replace_{clock}"] = _replace(**both, clock=clock)
        graph |= core_run(f"clock_{clock}", f"replace_{clock}", latent=(f"replace_{clock}", 4))
    graph |= {"plain": reference(), "replace_and": _replace(**both, clock="own")}
    graph["apply"] = apply("plain", onto="replace_and")
    wide = node(
        "ImageScale", image=["first", 0], upscale_method="bilinear", width=64, height=40, crop="disabled"
    )
    graph["wide"] = wide
    for fit in FITS:
        one = {"frames": ["wide", 0], "task": "first frame", "latent": ["video", 0], "clock": "own"}
        graph[f"replace_{fit}"] = _replace(**one, fit=fit)
        graph |= core_run(f"fit_{fit}", f"replace_{fit}", latent=(f"replace_{fit}", 4))
    graph["replace_experts"] = _replace(**both, clock="own", low_noise_model=["backbone", 0])
    graph |= core_run("experts", "replace_experts", SECOND, ("replace_experts", 4))
    return graph | core_run("with_reference", "apply", latent=("replace_and", 4)) | _long()


def _replace(**given) -> dict:
    texts = {"positive": ["positive_prompt", 0], "negative": ["negative_prompt", 0]}
    return node("RefVidReplaceFrames", model=["backbone", 0], **texts, vae=["backbone", 2], **given)


def _long() -> Graph:
    texts = {"positive": ["positive_prompt", 0], "negative": ["negative_prompt", 0], "vae": ["backbone", 2]}
    keys = {
        "keys": node("RefVidKeyframes", clip=["film", 0], keys=3, stride=4, keep=2),
        "between": node(
            "RefVidInbetween", model=["backbone", 0], low_noise_model=["backbone", 0], **texts,
            pair=["keys", 0],
            plan=["keys", 1], clock="shared",
        ),
    }  # fmt: skip
    run = own_run("segments", guider("RefVidJointGuider", "between", scale=2.0), ("between", 4))
    return keys | run | {
        "decode": node("VAEDecode", samples=["segments", 0], vae=["backbone", 2]),
        "join": node("RefVidJoinSegments", segments=["decode", 0], plan=["keys", 1]),
        "keep_joined": node("SaveImage", images=["join", 0], filename_prefix="joined"),
    }  # fmt: skip


def identities() -> Graph:
    """One from a file, one read from a clip, and the two blended, with every part and control."""
    people = {
        "adapter": node("RefVidLoadAdapter", adapter=SLOT_ID),
        "known": node("RefVidLoadIdentity", file=IDENTITY),
        "read": node(
            "RefVidEncodeIdentity", clip=["large", 0], vae=["backbone", 2], adapter=["adapter", 0],
            mask=["mask", 0], anchor_frame=2
        ),
        "blend": node("RefVidBlendIdentities", first=["known", 0], second=["read", 0], share=0.25),
        "saved": node("RefVidSaveIdentity", identity=["blend", 0], filename_prefix="blended"),
    }  # fmt: skip
    asked = {
        "both": {}, "slots": {"parts": "slots"}, "anchor": {"parts": "anchor"}, "weak": {"strength": 0.3},
        "blended": {"identity": ["blend", 0]}, "read_again": {"identity": ["read", 0]},
        "named": {"phrase": "a toy", "clip": ["short", 0]},
        "region": {"region": ["left", 0], "latent": ["video", 0]},
        "experts": {"low_noise_model": ["backbone", 0]},
    }  # fmt: skip
    graph = base() | clip() | left_half() | people
    for name, more in asked.items():
        graph[f"identity_{name}"] = _identity(**more)
        graph |= core_run(name, f"identity_{name}", SECOND if name == "experts" else FIRST)
    two = {"identity": ["read", 0], "strength": 0.5, **asked["region"]}
    graph["identity_two"] = edited({"a": _identity(**two, phrase="dark background", clip=["short", 0])}, {
        "a.model": ["identity_named", 0], "a.positive": ["identity_named", 2],
        "a.negative": ["identity_named", 3],
    })["a"]  # fmt: skip
    graph |= {"plain": reference(), "apply": apply("plain", onto="identity_two")}
    graph |= own_run("joint", guider("RefVidJointGuider", "apply", scale=2.0))
    return graph | core_run("two", "identity_two") | core_run("with_reference", "apply")


def _identity(**asked) -> dict:
    return node("RefVidApplyIdentity", **{
        "model": ["backbone", 0], "positive": ["positive_prompt", 0], "negative": ["negative_prompt", 0],
        "adapter": ["adapter", 0],
        "identity": ["known", 0], "strength": 1.0, "parts": "both", **asked,
    })  # fmt: skip


def edits() -> Graph:
    """A clip edited by each recipe, whole and in windows, with a reference; its perturbed clips; its figures;
    its report."""
    adapter = {"adapter": SAMA, "strength": 0.7}
    graph = base() | clip() | {"sama": node("RefVidLoadEditingAdapter", model=["backbone", 0], **adapter)}
    graph |= {"plain": reference(), "speed": _pretext("speed"), "inpaint": _pretext("inpaint")}
    graph["shuffle"] = _pretext("shuffle", tubes=3)
    graph["odd"] = node(
        "ImageScale", image=["film", 0], upscale_method="bilinear", width=40, height=52, crop="disabled"
    )
    asked = {
        "sama": {}, "chosen": {"recipe": "sama"}, "in_context": {"recipe": "in_context",
        "model": ["backbone", 0]},
        "windows": {"window": LENGTH, "overlap": 4}, "with_reference": {"references": ["plain", 0]},
        "faster": {"source": ["speed", 0]}, "holes": {"source": ["inpaint", 0]},
        "shuffled": {"source": ["shuffle", 0]}, **{f"fit_{fit}": {"fit": fit, "source": ["odd", 0]} for fit in FITS},
    }  # fmt: skip
    for name, more in asked.items():
        graph[f"edit_{name}"] = node("RefVidInstructionEdit", **{
            "model": ["sama", 0], "clip": ["short", 0], "vae": ["backbone", 2], "source": ["long", 0],
            "instruction": "change the background to light", "window": 81, "overlap": 32, "recipe": "auto",
            **more,
        })  # fmt: skip
        graph |= core_run(f"{name}_run", f"edit_{name}", (0, 1, 2), (f"edit_{name}", 3))
    graph |= own_run(
        "joint", guider("RefVidJointGuider", "edit_sama", (0, 1, 2), scale=3.0), ("edit_sama", 3)
    )
    scored = {"clip": ["large", 0], "reference": ["plain", 0], "baseline": ["ends", 0]}
    graph |= {"score": node("RefVidScore", **scored, subject_mask=["mask", 0]), "apply": apply("plain")}
    inspected = {
        "model": ["apply", 0],
        "positive": ["apply", 2],
        "latent": ["video", 0],
        "vae": ["backbone", 2],
    }
    said = {f"figure_{index}": node("PreviewAny", source=["score", index]) for index in range(5)}
    said["asked"] = node("PreviewAny", source=["shuffle", 1])
    return graph | {"inspect": node("RefVidInspect", **inspected)} | said


def _pretext(name: str, **more) -> dict:
    return node("RefVidMotionPretext", clip=["long", 0], pretext=name, seed=4, **more)


GRAPHS = {
    f"every_{build.__name__}": build
    for build in (references, pictures, recipes, adapters, guiders, frames, identities, edits)
}
