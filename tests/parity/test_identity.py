"""Slot-ID on both hosts: the same identity from the same clip, and the same numbers from it, alone and beside
references."""

import pytest
import refvid_in_process as run
import refvid_riders as plain
import refvid_tiny as tiny
import torch

from refvid.backbones.wan.geometry import WAN, WAN_2_1
from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.backbones.wan.lora import merge_lora
from refvid.backbones.wan.sampler import flow_sigmas, sample_euler
from refvid.core.adapter import load_adapter
from refvid.core.controls import FrameWindow
from refvid.core.guidance import CONDITIONED, NULL, Scale, joint
from refvid.core.reach import reach, reach_words
from refvid.core.recipes import recipe_named
from refvid.core.references import make_reference
from refvid.hosts.comfy import adapters, identities
from refvid.hosts.comfy.backbone import with_shift
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.references import apply_references

pytestmark = pytest.mark.comfy
GRID, SIGMA, SHIFT = (3, 8, 8), 0.6, 5.0
LEFT = torch.zeros(64, 64)
LEFT[:, :32] = 1
TEXTS = {"positive": run.text(1), "negative": run.text(2)}
PHRASE = torch.cat([run.text(8, 3), torch.zeros(1, 5, 32)], dim=1)  # two words, the closing token, padding

CASES = {
    "one": [{}],
    "slots alone": [{"parts": "slots"}],
    "weak": [{"strength": 0.3}],
    "named": [{"phrase": PHRASE}],
    "left": [{"region": LEFT}],
    "left and right": [{"region": LEFT}, {"region": 1 - LEFT, "strength": 2.0, "parts": "anchor"}],
    "one left, one everywhere, named": [{"region": LEFT, "phrase": PHRASE}, {"strength": 0.5}],
}
BACKBONES = {"t2v": tiny.config(), "i2v": tiny.config(in_channels=36, image_width=1280)}


def film(seed: int) -> torch.Tensor:
    return torch.rand(11, 40, 56, 3, generator=torch.Generator().manual_seed(seed))


def masks(seed: int) -> torch.Tensor:
    marked = torch.zeros(11, 40, 56)
    for index in range(11):
        marked[index, 5 : 30 + seed, index : index + 20] = 1
    return marked


class Twin:
    """One set of files on both hosts, with two identities read by each."""

    def __init__(self, folder, name):
        sizes = BACKBONES[name]
        path = tiny.save_dit(folder, f"{name}.safetensors", sizes, tiny.dit_state(sizes))
        vae, adapter = tiny.save_vae(folder), tiny.save_adapter(folder, sizes)
        self.comfy, self.comfy_vae = with_shift(run.load_model(path), SHIFT), run.load_vae(vae)
        self.plain, self.plain_vae = load_dit(path)[0], load_vae(vae)
        self.loaded, self.adapter = adapters.load_comfy_adapter(str(adapter)), load_adapter(adapter, WAN)
        merge_lora(self.plain, self.adapter.lora)
        self.by_comfy = [
            adapters.encode_comfy_identity(self.loaded, self.comfy_vae, film(s), masks(s), None)[0]
            for s in (1, 2)
        ]
        self.by_plain = [
            plain.encode_identity(self.adapter, self.plain_vae, film(s), masks(s))[0] for s in (1, 2)
        ]

    def people(self, case: str) -> plain.PeopleRider:
        asked = CASES[case]
        persons = tuple(
            plain.Person(
                one.tokens(how.get("parts", "both")),
                how.get("strength", 1.0),
                identities.phrase_states(how["phrase"])[0] if "phrase" in how else None,
            )
            for one, how in zip(self.by_plain, asked, strict=False)
        )
        cells = [reach(FrameWindow(), how.get("region"), GRID, WAN_2_1) for how in asked]
        limited = any("region" in how for how in asked)
        nobody = self.adapter.nobody
        return plain.PeopleRider(persons, nobody, reach_words(cells, *GRID) if limited else None)

    def conditioned(self, case: str, model=None, positive=None, negative=None):
        models = [model or self.comfy]
        positive, negative = positive or [[TEXTS["positive"], {}]], negative or [[TEXTS["negative"], {}]]
        for one, how in zip(self.by_comfy, CASES[case], strict=False):
            models, positive, negative = identities.apply_identity(
                models, positive, negative, self.loaded, one, latent=run.empty_latent(), **how
            )
        return models[0], positive, negative


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    return {name: Twin(tmp_path_factory.mktemp(name), name) for name in BACKBONES}


def test_both_hosts_read_the_same_identity(twins):
    twin = twins["t2v"]
    for ours, theirs in zip(twin.by_plain, twin.by_comfy, strict=True):
        assert ours.adapter == theirs.adapter
        assert run.worst(ours.slots, theirs.slots) < 1e-4 and run.worst(ours.anchors, theirs.anchors) < 1e-4
        assert torch.equal(ours.preview, theirs.preview)
    assert run.worst(twin.by_plain[0].slots, twin.by_plain[1].slots) > 1e-3


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("case", CASES)
def test_one_evaluation_agrees(twins, backbone, case):
    twin = twins[backbone]
    latent = torch.randn(1, 16, *GRID, generator=torch.Generator().manual_seed(7))
    padding = None
    if backbone == "i2v":
        padding = plain.grey_padding(twin.plain_vae, 9, 64, 64)
    condition = plain.condition(TEXTS, people=twin.people(case), padding=padding, shift=SHIFT)
    ours = plain.velocity(twin.plain, latent, torch.tensor(SIGMA), condition, CONDITIONED)
    texts = {}
    if backbone == "i2v":  # a grey start, as the plain host has it
        grey = twin.comfy_vae.encode(torch.full((9, 64, 64, 3), 0.5))
        texts = {
            "concat_latent_image": grey,
            "concat_mask": torch.ones(1, 1, *GRID),
            "refvid_blank_image": True,
        }
    positive, negative = ([[TEXTS[name], dict(texts)]] for name in ("positive", "negative"))
    model, positive, negative = twin.conditioned(case, None, positive, negative)
    theirs = run.velocity_at(model, positive, negative, latent, SIGMA)
    assert run.worst(ours, theirs) < 1e-5
    nobody = plain.velocity(twin.plain, latent, torch.tensor(SIGMA), condition, NULL)
    assert run.worst(nobody, run.velocity_at(model, negative, negative, latent, SIGMA)) < 1e-5
    assert run.worst(ours, nobody) > 1e-3


@pytest.mark.parametrize("identity_first", [True, False])
@pytest.mark.parametrize(
    ("case", "recipe"),
    [
        ("one", "saber"),
        ("weak", "saber"),
        ("left and right", "saber"),
        ("left and right", "refalign"),
    ],
)
def test_beside_references_and_in_either_order(twins, case, recipe, identity_first):
    """References of refalign read neither text nor identities."""
    twin = twins["t2v"]
    reference = [make_reference(run.picture(3), LEFT, region=LEFT), make_reference(run.picture(4))]
    latent = torch.randn(1, 16, *GRID, generator=torch.Generator().manual_seed(7))
    encoded = plain.encode_references(twin.plain, twin.plain_vae, reference, recipe_named(recipe), GRID)
    condition = plain.condition(TEXTS, encoded, people=twin.people(case), shift=SHIFT)
    ours = plain.velocity(twin.plain, latent, torch.tensor(SIGMA), condition, CONDITIONED)

    def referenced(model, positive, negative):
        out = apply_references(
            model, None, positive, negative, twin.comfy_vae, run.empty_latent(), reference, recipe
        )
        return out.model, out.positive, out.negative

    given = (twin.comfy, [[TEXTS["positive"], {}]], [[TEXTS["negative"], {}]])
    if identity_first:
        model, positive, negative = referenced(*twin.conditioned(case, *given))
    else:
        model, positive, negative = twin.conditioned(case, *referenced(*given))
    assert run.worst(ours, run.velocity_at(model, positive, negative, latent, SIGMA)) < 1e-5


def test_a_whole_run_with_guidance_agrees(twins):
    twin = twins["t2v"]
    condition = plain.condition(TEXTS, people=twin.people("weak"), shift=SHIFT)
    noise = torch.randn(1, 16, *GRID, generator=torch.Generator().manual_seed(3))
    step = plain.guided_velocity(twin.plain, condition, joint(Scale(4.0)))
    with torch.no_grad():
        ours = sample_euler(step, noise, flow_sigmas(4, SHIFT))
    model, positive, negative = twin.conditioned("weak")
    guider = table_guider(model, positive, negative, joint(Scale(4.0)))
    theirs = run.sample(None, None, None, run.empty_latent(), guider=guider, noise=noise)
    assert run.worst(ours, model.model.process_latent_in(theirs)) < 1e-3
