"""The null pass of our guiders: what it has of the references, by recipe and by the node's own word."""

from dataclasses import replace

import comfy.sample
import comfy.samplers
import pytest
import refvid_riders as plain
import refvid_stand_in as stand_in
import refvid_tiny as tiny
import torch
from comfy_extras.nodes_wan import WanPhantomSubjectToVideo
from refvid_in_process import empty_latent, picture, sample, text, with_values, worst

from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.backbones.wan.sampler import flow_sigmas, sample_euler
from refvid.core import recipes
from refvid.core.frames import Placed
from refvid.core.guidance import Guidance, Scale, joint
from refvid.core.published_recipes import phantom
from refvid.core.recipes import EDITING, RECIPES, recipe_named
from refvid.core.references import make_reference
from refvid.hosts.comfy import wire
from refvid.hosts.comfy.backbone import with_shift
from refvid.hosts.comfy.frames import AttachedFrames, replace_frames
from refvid.hosts.comfy.guiders import null_of, strip, table_guider
from refvid.hosts.comfy.references import AttachedReferences, apply_references

pytestmark = pytest.mark.comfy

BEHIND = [name for name in RECIPES if recipe_named(name).carrier == "behind"]
NULL_PASS = wire.key(AttachedReferences, "null_pass")


def carried(conditioning):
    return wire.read(AttachedReferences, conditioning[0][1])


NULLS = ("keep", "drop", "zero")
SEPARATE = Guidance(Scale(5.0), Scale(7.5))  # Phantom's own scales
SHIFT = 5.0


def words() -> tuple[list, list]:
    return [[text(1), {}]], [[text(2), {}]]


def applied(model, vae, recipe="saber", null="recipe", seeds=(3,), onto=None):
    texts = words() if onto is None else (onto.positive, onto.negative)
    given = [make_reference(picture(seed)) for seed in seeds]
    return apply_references(model, None, *texts, vae, empty_latent(), given, recipe, null)


def guided(out, guidance, **how):
    guider = table_guider(out.model, out.positive, out.negative, guidance)
    return sample(guider.model_patcher, None, None, empty_latent(), guider=guider, **how)


def by_core(out):
    return sample(out.model, out.positive, out.negative, empty_latent(), cfg=4.0)


@pytest.fixture
def keeping(monkeypatch):
    """The name of a recipe whose weights have always seen their references."""
    made = replace(phantom(), name="keeping", guider_null="keep")
    monkeypatch.setitem(recipes.RECIPES, made.name, lambda: made)
    return made.name


class Published(comfy.samplers.CFGGuider):
    """Phantom's own guidance, on the three outputs of core's node, one evaluation of each: from zero latents
    and the negative prompt to the references, and from there to the prompt."""

    def set(self, positive, references, nothing, image: float, prompt: float) -> "Published":
        self.inner_set_conds({"positive": positive, "references": references, "negative": nothing})
        self.scales = image, prompt
        return self

    def predict_noise(self, x, timestep, model_options={}, seed=None):  # noqa: B006
        both, references, nothing = (
            comfy.samplers.calc_cond_batch(self.inner_model, [self.conds[name]], x, timestep, model_options)[
                0
            ]
            for name in ("positive", "references", "negative")
        )
        image, prompt = self.scales
        return nothing + image * (references - nothing) + prompt * (both - references)


@pytest.mark.parametrize("size", [(64, 64), (96, 128)])
def test_phantom_under_our_guiders_is_its_published_guidance_on_cores_three_outputs(t2v, vae, size):
    height, width = size
    latent, pictures = empty_latent(rows=height // 8, columns=width // 8), [picture(n, *size) for n in (3, 4)]
    out = apply_references(
        t2v, None, *words(), vae, latent, [make_reference(one) for one in pictures], "phantom"
    )
    core = WanPhantomSubjectToVideo.execute(*words(), vae, width, height, 9, 1, torch.stack(pictures)).result
    spread = float(sample(t2v, *words(), latent).std())
    for guidance in (SEPARATE, joint(Scale(4.0))):
        image, prompt = guidance.image.value, guidance.text.value
        wanted = sample(t2v, None, None, latent, guider=Published(t2v).set(*core[:3], image, prompt))
        ours = table_guider(out.model, out.positive, out.negative, guidance)
        assert worst(sample(out.model, None, None, latent, guider=ours), wanted) < 1e-5 * spread * prompt
        without = sample(
            t2v, None, None, latent, guider=Published(t2v).set(*core[:2], words()[1], image, prompt)
        )
        assert worst(without, wanted) > 0.1 * spread  # what our guiders made before


@pytest.mark.parametrize("recipe", [*BEHIND, *EDITING, "keeping"])
@pytest.mark.parametrize("guidance", [SEPARATE, joint(Scale(3.0))], ids=["separate", "joint"])
def test_both_hosts_agree_for_every_recipe(t2v, vae, folder, keeping, recipe, guidance):
    """sama is a source's; its pictures are in_context's."""
    chosen = recipe_named("in_context" if recipe == "sama" else recipe)
    dit, plain_vae = load_dit(folder / "t2v.safetensors")[0], load_vae(folder / "vae.safetensors")
    given = [make_reference(picture(seed)) for seed in range(3, 3 + min(2, chosen.max_references))]
    shifted = with_shift(t2v, SHIFT)
    shifted = stand_in.fitted(shifted, chosen, dit.config, folder)
    out = apply_references(shifted, None, *words(), vae, empty_latent(), given, chosen)
    lora = stand_in.needed(chosen, dit.config)
    encoded = plain.encode_references(dit, plain_vae, given, chosen, (3, 8, 8), lora)
    texts = {"positive": text(1), "negative": text(2)}
    made = []
    for null in {chosen.guider_null, *NULLS}:
        other = replace(chosen, guider_null=null)
        layout = replace(encoded.arranged.layout, recipe=other)
        references = replace(encoded, arranged=replace(encoded.arranged, layout=layout))
        velocity = plain.guided_velocity(dit, plain.condition(texts, references, shift=SHIFT), guidance)
        noise = comfy.sample.prepare_noise(empty_latent()["samples"], 5)
        latent = sample_euler(velocity, noise, flow_sigmas(4, SHIFT))
        made.append((null, latent * plain_vae.deviation + plain_vae.mean))
    theirs = guided(out, guidance)
    near = [null for null, ours in made if worst(ours, theirs) < 1e-3 * float(theirs.std())]
    assert near == [chosen.guider_null]


@pytest.mark.parametrize("recipe", ["saber", "phantom", "videomaker"])
@pytest.mark.parametrize("null", NULLS)
def test_the_nodes_own_null_pass_rules_our_guiders_as_it_rules_cores(t2v, vae, recipe, null):
    out = applied(t2v, vae, recipe, null)
    assert torch.equal(guided(out, joint(Scale(4.0))), by_core(out))


@pytest.mark.parametrize("recipe", BEHIND)
def test_where_the_node_says_nothing_the_recipe_rules_them(t2v, vae, folder, recipe):
    model = stand_in.fitted(t2v, recipe_named(recipe), tiny.config(), folder)
    made = {null: guided(applied(model, vae, recipe, null), joint(Scale(4.0))) for null in ("recipe", *NULLS)}
    rules = recipe_named(recipe).guider_null
    assert [null for null in NULLS if torch.equal(made["recipe"], made[null])] == [rules]
    assert all(worst(made["recipe"], made[null]) > 1e-3 for null in NULLS if null != rules)


@pytest.mark.parametrize("nulls", [("keep", "drop"), ("drop", "keep"), ("zero", "keep"), ("keep", "zero")])
def test_nodes_in_a_row_each_rule_their_own_references(t2v, vae, nulls):
    out = applied(t2v, vae, null=nulls[0])
    out = applied(out.model, vae, null=nulls[1], seeds=(4,), onto=out)
    assert torch.equal(guided(out, joint(Scale(4.0))), by_core(out))
    alike = [applied(t2v, vae, null=null, seeds=(3, 4)) for null in NULLS]
    same = [torch.equal(guided(one, joint(Scale(4.0))), by_core(out)) for one in alike]
    assert same == ([False, False, True] if "zero" in nulls else [False] * 3)


def test_a_node_that_says_nothing_before_one_that_does_keeps_the_recipes_null_pass(t2v, vae):
    out = applied(t2v, vae)
    assert NULL_PASS not in out.positive[0][1]
    out = applied(out.model, vae, null="keep", seeds=(4, 5), onto=out)
    assert out.positive[0][1][NULL_PASS] == "recipe keep keep"
    null, whole = carried(null_of(out.negative, out.positive)), carried(out.positive)
    for name in ("latents", "masks", "reach"):
        pairs = zip(getattr(null, name), getattr(whole, name)[1:], strict=True)
        assert all(torch.equal(*pair) for pair in pairs)
    assert len(null.controls) == 2 and not null.zero


def test_the_null_pass_is_that_of_the_part_that_carries_references(t2v, vae):
    """Core's Combine puts parts in a row; the first may be a prompt alone."""
    out = applied(t2v, vae, "phantom")
    null = carried(null_of(out.negative, [[text(7), {}], *out.positive]))
    assert null.zero and len(null.latents) == 1
    bare = null_of(out.negative, [[text(7), {}]])
    assert bare == strip(out.negative) and carried(out.negative) is not None and carried(bare) is None


def test_given_frames_are_out_of_it_whatever_it_has_of_the_references(t2v, vae):
    out = applied(t2v, vae, null="keep")
    placed = Placed(picture(8)[None], [0], "own")
    _, positive, negative, _ = replace_frames(
        [out.model], out.positive, out.negative, vae, empty_latent(), placed
    )
    null = null_of(negative, positive)
    assert carried(null) is not None and wire.read(AttachedFrames, null[0][1]) is None


def test_where_it_keeps_the_references_an_image_scale_does_nothing_and_that_is_said(
    t2v, vae, keeping, caplog
):
    for out in (applied(t2v, vae, keeping), applied(t2v, vae, null="keep")):
        caplog.clear()
        first, second = (guided(out, Guidance(Scale(image), Scale(5.0))) for image in (2.0, 3.0))
        assert worst(first, second) < 1e-4 * float(first.std())
        said = [record.message for record in caplog.records if "image_scale" in record.message]
        assert len(said) == 2 and all("does nothing to the references" in one for one in said)
        caplog.clear()
        assert torch.equal(guided(out, joint(Scale(4.0))), by_core(out))
        guided(out, Guidance(Scale(1.0), Scale(5.0)))
        assert "image_scale" not in caplog.text
    guided(applied(t2v, vae, "phantom"), Guidance(Scale(2.0), Scale(5.0)))
    assert "image_scale" not in caplog.text


@pytest.mark.parametrize("said", ["all", "keep keep", "", "recipe zero"])
def test_words_that_a_saved_conditioning_cannot_have_are_refused(t2v, vae, said):
    out = applied(t2v, vae, null="keep")
    positive = with_values(out.positive, {NULL_PASS: said})
    with pytest.raises(ValueError, match=rf"{NULL_PASS} is .*needed one of recipe, keep, drop, zero for"):
        table_guider(out.model, positive, out.negative, joint(Scale(4.0)))
