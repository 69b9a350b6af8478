"""A LoRA on reference tokens without ComfyUI: Stand-In's published forward, and what it leaves as it is."""

from dataclasses import replace

import pytest
import refvid_stand_in as published
import refvid_tiny as tiny
import torch
from refvid_plain import condition, encode_references, guided_velocity, velocity
from torch import Tensor

from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.core.controls import Controls, StepWindow
from refvid.core.guidance import CONDITIONED, NULL, Guidance, Scale
from refvid.core.layout import Layout
from refvid.core.recipes import RECIPES, recipe_named
from refvid.core.references import make_reference
from refvid.core.token_lora import TokenLora
from refvid.hosts.plain import pipeline

SIZES = tiny.config()
GRID, SIGMA = (2, 6, 8), 0.6
STATE = tiny.dit_state(SIZES)
ADAPTER = published.adapter_state(SIZES)
EXACT = 1e-6


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(RECIPES, "stand_in", published.small)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    dit = load_dit(tiny.save_dit(folder, "dit.safetensors", SIZES, STATE))[0].double()
    return dit, load_vae(tiny.save_vae(folder, width=2))


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def lora_of(state: dict[str, Tensor] = ADAPTER) -> TokenLora:
    return published.lora_of(SIZES, state).double()


def asked(models, lora: TokenLora | None, controls: Controls | None = None, recipe: str = "stand_in"):
    dit, vae = models
    picture = torch.rand(40, 30, 3, generator=torch.Generator().manual_seed(3))
    given = [make_reference(picture, None, controls or Controls())]
    found = encode_references(dit, vae, given, recipe_named(recipe), GRID, lora)
    texts = {"positive": drawn(1, 1, 6, tiny.TEXT_WIDTH), "negative": drawn(2, 1, 4, tiny.TEXT_WIDTH)}
    return condition(texts, found)


def at(models, given, entry=CONDITIONED, kept=None, sigma: float = SIGMA) -> Tensor:
    return velocity(models[0], drawn(5, 1, 16, *GRID), torch.tensor(sigma).double(), given, entry, kept)


def worst(one: Tensor, other: Tensor) -> float:
    assert one.shape == other.shape and one.dtype == other.dtype == torch.float64
    return float((one - other).abs().max())


def test_it_is_the_published_forward(models):
    given = asked(models, lora_of())
    oracle = published.Published(STATE, ADAPTER, SIZES.heads, SIZES.layers)
    seen, text = given.riders[0].inputs[0].double(), given.texts["positive"].states[0]
    wanted = oracle(drawn(5, 1, 16, *GRID)[0], seen[0], text, 1000 * SIGMA)
    assert worst(at(models, given)[0], wanted) < EXACT
    silent = at(models, asked(models, lora_of(published.without_effect(ADAPTER))))
    assert worst(silent[0], wanted) > 1e-3


def test_a_lora_whose_up_is_zero_is_none_at_all_to_the_last_bit(models, monkeypatch):
    silent = at(models, asked(models, lora_of(published.without_effect(ADAPTER))))
    monkeypatch.setitem(RECIPES, "stand_in", lambda: replace(published.small(), token_lora=False))
    assert torch.equal(silent, at(models, asked(models, None)))


def test_a_pass_without_the_reference_is_the_plain_model(models):
    given = asked(models, lora_of())
    bare = condition({name: text.states for name, text in given.texts.items()})
    assert torch.equal(at(models, given, NULL), at(models, bare, NULL))
    assert worst(at(models, given), at(models, bare)) > 1e-3


def test_removal_equals_a_bias_of_minus_infinity(models):
    """The strength goes to 0: the video is what it is without references."""
    bare = condition({name: text.states for name, text in asked(models, lora_of()).texts.items()})
    faint = asked(models, lora_of(), Controls(strength=1e-12))
    assert worst(at(models, faint), at(models, bare)) < EXACT


def test_queries_keys_and_values_of_the_video_are_those_without_a_reference(models):
    dit, taken = models[0], []
    hooks = [
        getattr(dit.blocks[0].self_attn, norm).register_forward_hook(
            lambda _, given, out: taken.append(given[0])
        )
        for norm in ("norm_q", "norm_k")
    ]
    given = asked(models, lora_of())
    bare = condition({name: text.states for name, text in given.texts.items()})
    silent = asked(models, lora_of(published.without_effect(ADAPTER)))
    for one in (given, bare, silent):
        at(models, one)
    for hook in hooks:
        hook.remove()
    length = taken[2].shape[1]
    for which in range(2):
        made, alone, unchanged = taken[which], taken[2 + which], taken[4 + which]
        assert torch.equal(made[:, :length], unchanged[:, :length])
        assert worst(made[:, :length], alone) < 1e-12  # other sizes of products round otherwise
        assert worst(made[:, length:], unchanged[:, length:]) > 1e-3


@pytest.mark.parametrize("controls", [Controls(), Controls(0.5), Controls(steps=StepWindow(0.0, 0.6))])
def test_kept_keys_and_values_make_what_every_step_anew_makes(models, controls, monkeypatch):
    given, levels = asked(models, lora_of(), controls), [torch.tensor(s).double() for s in (0.9, 0.5, 0.2)]
    calls = []
    monkeypatch.setattr(
        TokenLora, "blocks", property(lambda self: calls.append(1) or self._modules["blocks"]), raising=False
    )
    made = {}
    for keep in (True, False):
        with monkeypatch.context() as patch:
            if not keep:
                patch.setattr(Layout, "constant", False)
            run = guided_velocity(models[0], given, Guidance(Scale(1.0), Scale(3.0)))
            made[keep] = [run(drawn(5, 1, 16, *GRID), level) for level in levels]
            calls.append(keep)
    for one, other in zip(made[True], made[False], strict=True):
        assert worst(one, other) < 1e-12
    assert calls.index(True) < len(calls) - calls.index(True) - 2


def test_two_rows_are_each_what_they_are_alone(models):
    given = asked(models, lora_of())
    states = drawn(5, 2, 16, *GRID)
    sigma = torch.tensor(SIGMA).double()
    both = velocity(models[0], states, sigma, given, CONDITIONED)
    for row in range(2):
        alone = velocity(models[0], states[row : row + 1], sigma, given, CONDITIONED)
        assert worst(both[row : row + 1], alone) < 1e-10


def test_the_recipe_without_its_lora_is_refused_by_the_option(models):
    with pytest.raises(ValueError, match=r"recipe is stand_in, .* give it to --reference-adapter"):
        asked(models, None)


def test_a_lora_beside_another_recipe_does_nothing_and_is_said(models, caplog):
    made = at(models, asked(models, lora_of(), recipe="phantom"))
    assert "does nothing: choose stand_in" in caplog.text
    assert torch.equal(made, at(models, asked(models, None, recipe="phantom")))


def test_a_pipeline_takes_it_from_its_file_with_the_recipe(tmp_path):
    dit = tiny.save_dit(tmp_path, "dit.safetensors", SIZES, STATE, recipe="phantom")
    vae, text = tiny.save_vae(tmp_path, width=2), tiny.save_text_encoder(tmp_path)
    bare = pipeline.load_pipeline(dit, vae, text)
    path = published.save_adapter(tmp_path, ADAPTER)
    model = pipeline.with_reference_adapter(bare, path, "--reference-adapter")
    assert (bare.recipe, model.recipe) == ("phantom", "stand_in") and model.token_lora is not None
    settings = pipeline.Settings(width=64, height=48, frames=5, steps=2, scale=3.0, seed=1)
    reference = make_reference(torch.rand(40, 30, 3, generator=torch.Generator().manual_seed(3)))
    request = pipeline.Request("a ball", settings, (reference,))
    given = pipeline._condition(model, request)[0]
    assert given.riders[0].lora is model.token_lora
    made = pipeline.generate(model, request)
    silent = published.save_adapter(tmp_path, published.without_effect(ADAPTER), "silent.safetensors")
    other = pipeline.generate(pipeline.with_reference_adapter(bare, silent, "--reference-adapter"), request)
    assert made.isfinite().all() and (made - other).abs().max() > 1e-3
