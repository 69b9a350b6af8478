"""Graphs on small files: those in which every node and choice occurs, and every recipe with every control."""

from refvid_base_folder import SAMA, VIDEOMAKER
from refvid_client import Graph, node
from refvid_kept_graphs import GRAPHS, ONE_PICTURE, RECIPES, SEES
from refvid_kept_parts import LENGTH, apply, base, clip, core_run, left_half, reference

EDITING = ("sama", "in_context")


def graphs() -> dict[str, Graph]:
    """By name."""
    found = {f"kept/{name}": build() for name, build in GRAPHS.items()}
    found |= {f"forwards/{recipe}": forwards(recipe) for recipe in RECIPES if recipe != "auto"}
    return found | {f"forwards/{recipe}": edits(recipe) for recipe in EDITING}


def controls() -> dict[str, dict]:
    """Of the first reference. What says when it acts takes three steps, the others one."""
    return {
        "neutral": {},
        "weak": {"strength": 0.4},
        "strong": {"strength": 3.0},
        "soft": {"soft_mask": True},
        "early": {"end_percent": 0.7, "fade_out": 0.5},
        "late": {"start_percent": 0.3, "fade_in": 0.5},
        "first_frames": {"last_frame": 4},
        "later_frames": {"first_frame": 5},
        "region": {"region": ["left", 0]},
        **{f"sees_{sees}": {"sees": sees} for sees in SEES},
    }


def forwards(recipe: str) -> Graph:
    """One reference with every control, where the recipe takes more a second beside it, and on a LoRA."""
    graph = base() | left_half() | {"second": reference("toy_2", strength=0.5)}
    graph["lora"] = node(
        "LoraLoaderModelOnly", model=["backbone", 0], lora_name=VIDEOMAKER, strength_model=0.7
    )
    names = ("one",) if recipe in ONE_PICTURE else ("one", "second")
    for name, said in controls().items():
        graph |= {f"one_{name}": reference(**said)}
        given = (f"one_{name}", *names[1:])
        graph[f"apply_{name}"] = apply(*given, recipe=recipe, null_pass="recipe")
        graph |= _run(name, f"apply_{name}", _steps(said))
    graph["apply_lora"] = apply("one_neutral", recipe=recipe, null_pass="recipe")
    graph["apply_lora"]["inputs"]["model"] = ["lora", 0]
    return graph | _run("lora", "apply_lora", 2)  # two: what is kept of the first step


def edits(recipe: str) -> Graph:
    """A clip edited beside a reference with every control."""
    graph = base() | clip() | left_half()
    graph["sama"] = node("RefVidLoadEditingAdapter", model=["backbone", 0], adapter=SAMA, strength=0.7)
    for name, said in controls().items():
        graph |= {f"one_{name}": reference(**said)}
        graph[f"edit_{name}"] = node(
            "RefVidInstructionEdit", model=["sama", 0], clip=["short", 0], vae=["backbone", 2],
            source=["long", 0], instruction="change the background to light", window=LENGTH, overlap=4,
            recipe=recipe, references=[f"one_{name}", 0],
        )  # fmt: skip
        graph |= _run(name, f"edit_{name}", _steps(said), (0, 1, 2), (f"edit_{name}", 3))
    return graph


def _steps(said: dict) -> int:
    return 3 if {"start_percent", "end_percent"} & said.keys() else 1


def _run(name: str, given: str, steps: int, outputs=(0, 2, 3), latent=("video", 0)) -> Graph:
    return core_run(name, given, outputs, latent, steps)
