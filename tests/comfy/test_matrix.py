"""Matrix of Wan variants by features of ComfyUI that references must live with: claims in every cell.

A feature is a function of a case. It returns claims: what is said, what came out, what it is held against,
and how. docs/compatibility.md is the table that comes out; the last test here holds it to the truth."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import comfy.sample
import comfy.sd
import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from refvid_matrix import CONTROLS, Claim, close, controls, differs, differs_at_all, same
from refvid_matrix_edits import REFUSED as NOT_EDITED
from refvid_matrix_edits import edits_act, edits_beside
from refvid_matrix_frames import REFUSED, frames_act, frames_beside
from refvid_matrix_identities import identities_act, identities_beside
from refvid_matrix_variants import FRAMES, KEPT, SIDE, SIZES, STEPS, Case, frames_of, make_case, wrap_blocks

import nodes
from refvid.hosts.comfy.guiders import strip

pytestmark = pytest.mark.comfy
ROOT = Path(__file__).resolve().parents[2]
SLOT = "optimized_attention_override"
VIDEO = FRAMES * SIDE * SIDE // 4
LAST = STEPS - 1

Features = dict[str, Callable[[Case], list[Claim]]]


def no_reference(case: Case) -> list[Claim]:
    bare, out = case.run(case.model, *case.texts()), case.apply(1.0)
    return [
        ("a patched model without references", case.run(out.model, *case.texts()), same, bare),
        ("references of strength 0", case.applied(case.apply(0.0, 0.0)), same, bare),
    ]


def references_act(case: Case) -> list[Claim]:
    bare, one = case.run(case.model, *case.texts()), case.applied(case.apply(1.0))
    claims: list[Claim] = [
        ("one reference", one, differs, bare),
        ("less strength", case.applied(case.apply(0.3)), differs, one),
        ("a second reference", case.applied(case.apply(1.0, 0.5)), differs, one),
    ]
    other = case.apply(1.0, picture_seed=9)
    claims.append(("another picture", case.applied(other), differs, one))
    deaf, out = case.model.clone(), case.apply(1.0, 0.5)
    for model in (deaf, out.model):
        model.model_options["transformer_options"][SLOT] = lambda kernel, query, *_, **__: query * 0
    silenced = case.applied(out), case.run(deaf, strip(out.positive), strip(out.negative))
    claims.append(("with attention silenced, no other way in", silenced[0], close, silenced[1]))
    if "noise_mask" in case.latent():
        claims.append(("the given frame", one[:, :, :1], close, case.latent()["samples"][:, :, :1]))
    return claims


def lora(case: Case) -> list[Claim]:
    """Held against a file in which the LoRA is part of the weights: then it acts on all tokens or the results
    differ."""
    add, merged = case.low_rank("blocks.0.self_attn.k", "blocks.1.cross_attn.v", "blocks.1.ffn.0")
    before = case.apply(1.0, 0.5, model=add(case.model))
    out = case.apply(1.0, 0.5)
    after = add(out.model)
    wanted = case.applied(case.apply(1.0, 0.5, model=merged))
    return [
        ("before Apply References", case.applied(before), close, wanted),
        ("after Apply References", case.run(after, out.positive, out.negative), close, wanted),
        ("none", case.applied(out), differs, wanted),
    ]


def block_patches(case: Case) -> list[Claim]:
    seen: dict[str, list[int]] = {"before": [], "after": []}
    clocks: list[bool] = []

    def watch(where):
        def around(run, args):
            seen[where].append(args["img"].shape[1])
            if where == "before" and args["vec"].ndim == 4 and args["vec"].shape[1] > 1:
                spread = args["vec"].repeat_interleave(args["img"].shape[1] // args["vec"].shape[1], 1)
                noisiest = spread[:, VIDEO - 1 : VIDEO]
                clocks.append(torch.equal(spread[:, VIDEO:], noisiest.expand(-1, KEPT, -1, -1)))
            return run(args)

        return around

    before = case.model.clone()
    wrap_blocks(before, case.sizes.layers, watch("before"))
    out = case.apply(1.0, 0.5, model=before)
    wrap_blocks(out.model, case.sizes.layers, watch("after"))
    calls = case.sizes.layers * STEPS  # both passes of guidance share an evaluation
    return [
        ("idle patches around ours", case.applied(out), same, case.applied(case.apply(1.0, 0.5))),
        ("the one before sees the references", seen["before"], same, [VIDEO + KEPT] * calls),
        ("the one after sees the video", seen["after"], same, [VIDEO] * calls),
        (
            "references take the noisiest clock",
            clocks,
            same,
            [True] * calls * ("noise_mask" in case.latent()),
        ),
    ]


def chained(override: Callable, options: dict) -> dict:
    """Options with one more attention override, over the one that is there."""
    before = options.get(SLOT)
    if before is None:
        return {**options, SLOT: override}
    return {**options, SLOT: lambda kernel, *a, **kw: override(functools.partial(before, kernel), *a, **kw)}


def attention_override(case: Case) -> list[Claim]:
    """Global and set before ours, global and set after, and set in each block, inside ours and around it.
    Each is called for all attention it would see without references, and sees our strengths only if it is
    behind ours."""
    calls: list[bool] = []

    def override(kernel, *args, **kwargs):
        calls.append(kwargs.get("mask") is not None)
        return kernel(*args, **kwargs)

    def everywhere(model):
        options = model.model_options
        options["transformer_options"] = chained(override, options["transformer_options"])

    def in_blocks(model):
        def around(run, args):
            return run({**args, "transformer_options": chained(override, args["transformer_options"])})

        wrap_blocks(model, case.sizes.layers, around)

    claims: list[Claim] = []
    plain, ours = case.applied(case.apply(1.0, 0.5)), case.sizes.layers * STEPS
    for place in (everywhere, in_blocks):
        bare, before = case.model.clone(), case.model.clone()
        place(bare)
        place(before)
        calls.clear()
        case.run(bare, *case.texts())
        total = len(calls)
        out, around = case.apply(1.0, 0.5, model=before), case.apply(1.0, 0.5)
        place(around.model)
        # In a block and before ours, the other's override wraps our bias instead of being called with it.
        for applied, masks in ((out, 0 if place is in_blocks else ours), (around, ours)):
            case.applied(applied)  # the first time we ask an override whether masks act in it
            calls.clear()
            got = case.applied(applied)
            claims.append((f"result, {place.__name__}", got, same, plain))
            claims.append((f"calls, {place.__name__}", (len(calls), sum(calls)), same, (total, masks)))
    return claims


def captured(case: Case) -> list[Claim]:
    """All controls at once, in the step in which they act, captured whole, without code generation, which
    takes minutes; test_controls.py and test_variants.py let references come, fade and go."""
    torch._dynamo.reset()  # its limit of graphs counts those of other models of the same class
    out, plain = case.apply_all(case.controlled(**CONTROLS["all at once"])), case.apply(1.0, 1.0)
    model, eager = out.model.clone(), case.applied(out, first=LAST)
    set_torch_compile_wrapper(model, backend="eager", fullgraph=True)
    return [
        ("compiled", case.run(model, out.positive, out.negative, first=LAST), close, eager),
        ("controls act in that step", eager, differs_at_all, case.applied(plain, first=LAST)),
    ]


def batch_of_two(case: Case) -> list[Claim]:
    two, out = case.twice(), case.apply(1.0, 0.5)
    noise = comfy.sample.prepare_noise(two.latent()["samples"], 5)
    both = two.applied(two.apply(1.0, 0.5))
    return [
        ("first", both[:1], close, case.applied(out, noise=noise[:1])),
        ("second", both[1:], close, case.applied(out, noise=noise[1:])),
        ("the two", both[:1], differs, both[1:]),
    ]


def context_windows(case: Case) -> list[Claim]:
    """Windows that do not overlap are videos of their own: each run alone with all references must come out
    equal."""
    out, half = case.apply(1.0, 0.5), FRAMES // 2
    windowed = ContextWindowsManualNode.execute(
        out.model, half, 0, "batched", 1, False, "pyramid", 2, False, causal_window_fix=False
    ).result[0]
    latent = case.latent()
    noise, together = (
        comfy.sample.prepare_noise(latent["samples"], 5),
        case.run(windowed, out.positive, out.negative),
    )
    claims: list[Claim] = [("one window over all", together, differs, case.applied(out))]
    for start in range(0, FRAMES, half):
        span = slice(start, start + half)
        conds = (frames_of(c, start, start + half) for c in (out.positive, out.negative))
        part = {key: value[:, :, span] for key, value in latent.items()}
        alone = case.run(out.model, *conds, latent=part, noise=noise[:, :, span])
        claims.append((f"frames from {start}", together[:, :, span], close, alone))
    return claims


def combined(case: Case) -> list[Claim]:
    """Core averages what it combines, so one step of the sampler, which is linear in it, is the average of
    two."""
    one, two = case.apply(1.0), case.apply(1.0, 0.5)
    (positive,) = nodes.ConditioningCombine().combine(one.positive, two.positive)

    def run(conditioning):
        return case.run(one.model, conditioning, two.negative, steps=1)

    first, second = run(one.positive), run(two.positive)
    return [
        ("both halves", run(positive), close, (first + second) / 2),
        ("the halves", first, differs, second),
    ]


FEATURES: Features = {
    "No reference is bit-identical": no_reference,
    "References and strengths act": references_act,
    "Regions, frames, steps, fades, visibility, soft masks": controls,
    "LoRA (core), before and after": lora,
    "Block patches of other packs, before and after": block_patches,
    "Attention overrides of other packs, before, after, per block": attention_override,
    "torch.compile, captured whole": captured,
    "Batch of 2": batch_of_two,
    "Context windows (core)": context_windows,
    "ConditioningCombine": combined,
    "Identities: strength, parts, region, two people": identities_act,
    "Identities beside LoRA, patches, overrides, references, batch, compile, windows": identities_beside,
    "Replaced frames: clean pictures, clocks": frames_act,
    "Replaced frames beside LoRA, patches, overrides, references, identities, batch, compile, windows": frames_beside,
    "A source video to edit, with and without semantic tokens": edits_act,
    "A source video beside LoRA, patches, overrides, all of the above, batch, compile, windows": edits_beside,
}


@pytest.fixture(scope="module")
def cases(folder, vae):
    return {name: make_case(name, folder, vae) for name in SIZES}


@pytest.mark.parametrize("variant", SIZES)
@pytest.mark.parametrize("feature", FEATURES)
def test_a_feature_holds_its_claims_on_a_variant(cases, feature, variant):
    for what, got, relation, wanted in FEATURES[feature](cases[variant]):
        assert relation(got, wanted), f"{what}: not {relation.__name__}"


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script_method.:DeprecationWarning"
)  # torch's own, in its compiler
def test_generated_code_equals_eager(folder, vae):
    """One block: a second would take twice the time for more of the same."""
    if not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        pytest.skip("no C++ compiler: torch.compile was tested without code generation")
    case = make_case("T2V", folder, vae, layers=1)
    out = case.apply(1.0, 0.5)
    model, eager = out.model.clone(), case.applied(out, steps=1)
    torch._dynamo.reset()
    set_torch_compile_wrapper(model, backend="inductor", fullgraph=True)
    assert close(case.run(model, out.positive, out.negative, steps=1), eager)


GENERATED = {"T2V": "passed; skipped without a C++ compiler"}
SERVER = "KSampler and SamplerCustomAdvanced on a real server"


def table() -> str:
    """Table in which every cell is a test of this file or of test_matrix_server.py that must pass; the others
    say why there is none."""
    rows = [(name, dict.fromkeys(SIZES, "passed")) for name in (*FEATURES, SERVER)]
    refused = {"Replaced frames": REFUSED, "A source video": NOT_EDITED}
    for name, cells in rows:
        for begins, variants in refused.items():
            if name.startswith(begins):
                cells |= dict.fromkeys(variants, "refused by name")
    untested = dict.fromkeys(SIZES, "not run: takes a minute; captured whole instead")
    rows.append(("torch.compile, code generated", untested | GENERATED))
    lines = [["", *SIZES], ["---"] * (len(SIZES) + 1), *([name, *cells.values()] for name, cells in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def test_the_page_on_compatibility_shows_this_matrix():
    page = ROOT / "docs/compatibility.md"
    text = page.read_text("utf-8")
    found = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    wanted = ROOT / "out/compatibility.md"
    if found != table():
        wanted.parent.mkdir(exist_ok=True)
        wanted.write_text(text.replace(found, table()), "utf-8")
        pytest.fail(
            "the table is not this matrix; to renew it: cp out/compatibility.md docs/compatibility.md"
        )
