"""Halves of what one node gives, model and conditioning: apart they are refused by name, or logged."""

import json
import logging
from pathlib import Path

import comfy.sd
import pytest
import refvid_tiny as tiny
import torch
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from comfy_extras.nodes_custom_sampler import Guider_DualCFG
from comfy_extras.nodes_torch_compile import TorchCompileModel
from refvid_client import edited, failure, node
from refvid_halves import (
    CORES,
    FEATURE,
    GUIDERS,
    JOINT,
    NAMES,
    Halves,
    Maker,
    by_core,
    core_guider,
    denoised,
    through,
)
from refvid_in_process import empty_latent, picture, worst

import nodes
from refvid.hosts.comfy import adapters, pairing, wire
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.identities import AttachedIdentities
from refvid.hosts.comfy.inspection import inspect_comfy_references
from refvid.hosts.comfy.steps import StepRange, denoise_steps

pytestmark = pytest.mark.comfy
ROOT = Path(__file__).resolve().parents[2]
MAIN = json.loads((ROOT / "workflows/api/masked_reference_to_video.json").read_text("utf-8"))
GOOD = edited(MAIN, {"denoise.steps": 1})


@pytest.fixture(scope="module")
def maker(t2v, vae, folder) -> Maker:
    return Maker(t2v, vae, adapters.load_comfy_adapter(str(tiny.save_adapter(folder, tiny.config()))))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", GUIDERS)
def test_both_halves_run_and_act(maker, name, kind):
    assert worst(through(kind, maker.made(name)), through(kind, maker.raw)) > 1e-3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", GUIDERS)
def test_conditioning_without_its_model_is_refused(maker, name, kind):
    made, feature = maker.made(name), FEATURE[name]
    with pytest.raises(ValueError, match=f"model did not go through {feature.nodes}") as caught:
        through(kind, Halves(maker.raw.model, *made.both))
    said = str(caught.value)
    assert f"{feature.name} came in positive" in said and "connect the model that node gives back" in said
    assert ("low_noise_model" in said) == feature.experts
    assert said.startswith("guider: ") == (kind in CORES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", GUIDERS)
def test_a_model_without_its_conditioning_is_refused(maker, name, kind):
    made, feature = maker.made(name), FEATURE[name]
    for negative in (
        maker.raw.negative,
        made.negative,
    ):  # what negative carries may be nobody, or a null pass
        with pytest.raises(ValueError, match=f"no {feature.name} in positive") as caught:
            through(kind, Halves(made.model, maker.raw.positive, negative))
        said = str(caught.value)
        assert f"the model went through {feature.nodes}: connect the positive" in said
        assert said.startswith("guider: ") == (kind in CORES)


@pytest.mark.parametrize("name", ["references", "identities", "frames", "source"])
@pytest.mark.parametrize("kind", ["Joint", "Separate", "CFG", "DualCFG", "PerpNeg"])
def test_a_negative_side_alone_is_refused_too(maker, name, kind):
    made = maker.made(name)
    with pytest.raises(
        ValueError, match=f"{FEATURE[name].name} came in (negative|middle|empty_negative_prompt)"
    ):
        through(kind, Halves(maker.raw.model, maker.raw.positive, made.negative))


@pytest.mark.parametrize("name", NAMES)
def test_under_cores_sampler_a_model_alone_says_so_once_a_run_and_nothing_else_does(maker, name, caplog):
    def said() -> list[str]:
        found = [
            r.message for r in caplog.records if r.levelno == logging.WARNING and "went through" in r.message
        ]
        caplog.clear()
        return found

    made, feature = maker.made(name), FEATURE[name]
    bare = [[[words, {}] for words, _ in side] for side in made.both]
    by_core(made)
    denoised(table_guider(made.model, *made.both, JOINT))
    by_core(maker.raw)
    assert not said()
    without = by_core(Halves(maker.raw.model, *bare))
    alone = by_core(Halves(made.model, *bare))
    (once,) = said()
    assert f"no {feature.name} in positive, but the model went through {feature.nodes}: connect" in once
    if name != "identities":  # whose LoRA stays
        assert torch.equal(alone, without)
    by_core(Halves(made.model, *bare))
    assert len(said()) == 1
    # Nothing of ours runs on the other half, which the help pages say.
    assert torch.equal(by_core(Halves(maker.raw.model, *made.both)), without) and not said()


# ---- several


def test_what_one_of_several_nodes_put_on_the_model_is_missed_by_its_own_name(maker, caplog):
    first = maker.references(maker.raw)
    both = maker.identities(first)
    through("Joint", both)
    for given, name in (
        (Halves(both.model, *first.both), "no identities in positive"),
        (Halves(both.model, *maker.identities(maker.raw).both), "no references in positive"),
        (Halves(first.model, *both.both), "model did not go through Apply Identity"),
    ):
        with pytest.raises(ValueError, match=name):
            through("Joint", given)
        by_core(given)
        assert caplog.text.count(name) == 1


@pytest.mark.parametrize("order", [NAMES, NAMES[::-1], ("frames", "references", "identities")])
def test_nodes_in_a_row_belong_together_in_every_order(maker, order):
    if order[0] == "source":
        given = maker.identities(maker.frames(maker.source(maker.raw)))
    else:  # an edit makes its own texts
        order = [name for name in order if name != "source"]
        given = maker.raw
        for name in order:
            given = maker.made(name, given)
    for kind in GUIDERS:
        through(kind, given)


def test_what_a_middle_pass_carries_does_not_stand_for_the_prompts_and_other_names_are_all_looked_at(maker):
    made, raw = maker.references(maker.raw), maker.raw
    guider = Guider_DualCFG(made.model)
    guider.set_conds(raw.positive, made.positive, raw.negative)
    guider.set_cfg(3.0, 1.5)
    with pytest.raises(ValueError, match="no references in positive, but"):
        denoised(guider)
    sides = {"one": [{}], "two": [made.positive[0][1]], "negative": [{}]}  # of another pack's guider
    pairing.require_halves(made.model, sides)
    with pytest.raises(ValueError, match="no references in one or two, but"):
        pairing.require_halves(made.model, {**sides, "two": [{}]})
    with pytest.raises(ValueError, match="references came in two and three, and"):
        pairing.require_halves(raw.model, {**sides, "three": sides["two"]})


def test_an_adapter_reads_what_it_wrote(maker, folder, vae):
    path = tiny.save_adapter(folder, tiny.config(), "other.safetensors", seed=9)
    other = adapters.load_comfy_adapter(str(path))
    film = torch.stack([picture(n) for n in range(9)])
    person = adapters.encode_comfy_identity(other, vae, film, None, None)[0]
    theirs, ours = maker.identities(maker.raw, other, person), maker.identities(maker.raw)
    for positive, negative, side in (
        (theirs.positive, ours.negative, "positive"), (ours.positive, theirs.negative, "negative"),
    ):  # fmt: skip
        wanted = f"LoRA of adapter {maker.loaded.adapter.fingerprint}, {side} identities of adapter "
        with pytest.raises(ValueError, match=wanted + other.adapter.fingerprint):
            through("Joint", Halves(ours.model, positive, negative))
    with pytest.raises(ValueError, match=r"carries identities of adapter .* already"):
        maker.identities(Halves(maker.raw.model, *theirs.both))
    # What 0.1.0 saved does not say which adapter it was.
    said = wire.key(AttachedIdentities, "adapter")
    old = [
        [[words, {k: v for k, v in options.items() if k != said}] for words, options in side]
        for side in ours.both
    ]
    assert torch.equal(through("Joint", Halves(ours.model, *old)), through("Joint", ours))


# ---- the second expert


def test_a_second_expert_that_was_left_out_is_refused_and_low_noise_model_named(maker):
    made, low = maker.references(maker.raw, low=maker.raw.model)
    high = table_guider(made.model, *made.both, JOINT)
    first, _ = denoise_steps(high, empty_latent(), StepRange(4, "euler", "simple", 0, 2, True), 3, True)
    rest = StepRange(4, "euler", "simple", 2, 10000, False)
    left_out = core_guider("CFG", maker.raw.model, *made.both)
    with pytest.raises(
        ValueError, match=r"guider: .*Apply References.*second expert goes into its low_noise_model"
    ):
        denoise_steps(left_out, first, rest, 3, False)
    with pytest.raises(ValueError, match="low_noise_model"):
        table_guider(maker.raw.model, *made.both, JOINT)
    denoise_steps(table_guider(low, *made.both, JOINT), first, rest, 3, False)


# ---- what stays legal


def test_a_node_that_does_nothing_leaves_no_mark(maker):
    for given in (
        maker.references(maker.raw, strength=0.0), maker.identities(maker.raw, strength=0.0),
    ):  # fmt: skip
        for kind in GUIDERS:
            assert torch.equal(through(kind, given), through(kind, maker.raw))
    first = maker.frames(maker.raw)
    assert maker.references(first, strength=0.0).model is first.model


@pytest.mark.parametrize("null", ["keep", "drop", "zero"])
def test_every_null_pass_is_legal(maker, null):
    for kind in GUIDERS:
        through(kind, maker.references(maker.raw, null_pass=null))


def test_one_part_of_a_combination_is_enough(maker):
    made = maker.references(maker.raw)
    area = nodes.ConditioningSetArea().append(made.positive, 32, 32, 0, 0, 1.0)[0]
    for parts in (
        [*maker.raw.positive, *made.positive],
        [*made.positive, *maker.raw.positive],
        [*maker.raw.positive, *area],
    ):
        for kind in GUIDERS:
            through(kind, Halves(made.model, parts, made.negative))


def _lora(model):
    return comfy.sd.load_lora_for_models(model, None, tiny.lora_of(tiny.config(), "self_attn"), 0.5, 0.0)[0]


LATER = {
    "cloned": lambda model: model.clone().clone(),
    "LoRA": _lora,
    "context windows": lambda model: ContextWindowsManualNode.execute(
        model, 5, 4, "standard_static", 1, False, "pyramid", 2, False, "", False
    ).result[0],
    "compiled": lambda model: TorchCompileModel.execute(model, "inductor").result[0],
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("later", LATER)
def test_what_other_nodes_do_to_the_model_afterwards_keeps_both_halves_known(maker, name, later):
    made = maker.made(name)
    model = LATER[later](made.model)
    assert model is not made.model
    table_guider(model, *made.both, JOINT)
    with pytest.raises(ValueError, match=f"no {FEATURE[name].name} in positive"):
        table_guider(model, *maker.raw.both, JOINT)
    if later != "compiled":
        for kind in GUIDERS:
            through(kind, Halves(model, *made.both))


def test_a_batch_of_videos_is_legal(maker):
    made = maker.references(maker.raw)
    guider = table_guider(made.model, *made.both, JOINT)
    part = StepRange(2, "euler", "simple", 0, 10000, False)
    out, _ = denoise_steps(guider, empty_latent(batch=2), part, 3, True)
    assert len(out["samples"]) == 2


def test_a_model_that_reads_all_our_conditioning_may_have_skipped_the_node_that_made_some_of_it(maker):
    """Needs of references, given frames and a source: no more of a model than any of our nodes puts there."""
    first = maker.references(maker.raw)
    both = maker.frames(first)
    for kind in GUIDERS:
        assert torch.equal(through(kind, Halves(first.model, *both.both)), through(kind, both))


def test_guiders_of_others_without_conditions_that_can_be_read_are_left_alone(maker):
    made = maker.references(maker.raw)
    pairing.require_halves(made.model, {})
    pairing.require_halves(maker.raw.model, {"positive": []})


# ---- what looks without running, and the server


def test_inspect_shows_nothing_of_a_model_that_would_leave_it_out(maker):
    made = maker.references(maker.raw)
    inspect_comfy_references(made.model, made.positive, empty_latent())
    with pytest.raises(ValueError, match="model did not go through Apply References"):
        inspect_comfy_references(maker.raw.model, made.positive, empty_latent())


def test_a_server_names_the_node_and_the_input_of_halves_that_are_apart(server):
    """Both directions, and the second expert in Denoise Steps with core's guider; then the right graph."""
    core = {
        "core": node(
            "CFGGuider", model=["backbone", 0], positive=["apply", 2], negative=["apply", 3], cfg=2.0
        )
    }
    graphs = {
        "guider": (
            edited(GOOD, {"guider.model": ["backbone", 0]}),
            "model did not go through Apply References",
        ),
        "positive": (edited(GOOD, {"guider.positive": ["positive_prompt", 0]}), "no references in positive"),
        "denoise": (edited(GOOD, {"denoise.guider": ["core", 0]}, core), "guider: model did not go through"),
    }
    for name, (graph, said) in graphs.items():
        found = failure(server.run(graph))
        assert found is not None and said in found.message, name
        assert found.node == ("denoise" if name == "denoise" else "guider")
    assert failure(server.run(GOOD)) is None
