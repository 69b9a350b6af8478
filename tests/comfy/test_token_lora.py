"""A LoRA on reference tokens in ComfyUI: Stand-In's published forward, parity of hosts, and what may stand
beside it."""

from dataclasses import replace

import comfy.sd
import pytest
import refvid_in_process as run
import refvid_riders as plain
import refvid_stand_in as published
import refvid_tiny as tiny
import torch
from torch import Tensor

from refvid.backbones.wan.dit import WanDiT
from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.backbones.wan.lora import merge_lora
from refvid.backbones.wan.sampler import flow_sigmas, sample_euler
from refvid.core.controls import Controls
from refvid.core.guidance import Scale, joint
from refvid.core.layout import Layout
from refvid.core.recipes import RECIPES, recipe_named
from refvid.core.references import make_reference
from refvid.core.token_lora import TokenChange, TokenLora, read_token_lora
from refvid.hosts.comfy import token_lora, wire
from refvid.hosts.comfy.files import file_recipe
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.references import apply_references

pytestmark = pytest.mark.comfy
SIZES = tiny.config()
STATE, ADAPTER = tiny.dit_state(SIZES), published.adapter_state(SIZES)
ROWS, COLUMNS, FRAMES, SIGMA = 6, 8, 2, 0.6
EXACT = 1e-6


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(RECIPES, "stand_in", published.small)


@pytest.fixture(scope="module")
def files(folder):
    silent = published.without_effect(ADAPTER)
    kijai = {f"diffusion_model.{key}": value for key, value in ADAPTER.items()}
    return {
        "adapter": published.save_adapter(folder, kijai),
        "silent": published.save_adapter(folder, silent, "silent.safetensors"),
        "dit": tiny.save_dit(folder, "base.safetensors", SIZES, STATE),
    }


@pytest.fixture(scope="module")
def base(files):
    return run.load_model(files["dit"])


@pytest.fixture(scope="module")
def adapted(base, files):
    return token_lora.load_reference_adapter(base, str(files["adapter"]))


def latent(frames: int = FRAMES, batch: int = 1):
    return run.empty_latent(frames, ROWS, COLUMNS, batch=batch)


def reference(controls: Controls | None = None):
    return make_reference(run.picture(3, 40, 30), None, controls or Controls())


def applied(model, vae, controls: Controls | None = None, recipe: str = "auto", frames: int = FRAMES, **how):
    words = ([[run.text(seed), {}]] for seed in (1, 2))
    return apply_references(model, None, *words, vae, latent(frames), [reference(controls)], recipe, **how)


def made(out, **how) -> Tensor:
    return run.sample(out.model, out.positive, out.negative, how.pop("given", latent()), **how)


def own_forwards(model) -> int:
    """Number of layers whose forward is not that of their class."""
    return sum("forward" in vars(layer) for layer in model.model.diffusion_model.modules())


def test_it_is_the_published_forward(base, adapted, vae):
    out = applied(adapted, vae)
    noisy = torch.randn(1, 16, FRAMES, ROWS, COLUMNS, generator=torch.Generator().manual_seed(9))
    oracle = published.Published(STATE, ADAPTER, SIZES.heads, SIZES.layers)
    given = wire_latent(out, base)
    wanted = oracle(noisy[0].double(), given[0].double(), run.text(1)[0], 1000 * SIGMA)
    beside = adapted.get_additional_models_with_key(wire.REFERENCE_LORA)[0].model
    with run.in_float64(base, beside) as seen:
        run.velocity_at(out.model, out.positive, out.negative, noisy, SIGMA)
    assert len(seen) == 1 and seen[0].dtype == torch.float64
    assert run.worst(seen[0][0], wanted) < EXACT


def wire_latent(out, model) -> Tensor:
    """The reference's latent as the model sees it."""
    (latents,) = (value for name, value in out.positive[0][1].items() if name.endswith(".latents"))
    return model.model.process_latent_in(latents[0])


@pytest.mark.parametrize("guided", [False, True])
def test_a_whole_run_equals_the_plain_host(adapted, files, vae, guided):
    """Core's sampler keeps the reference in its negative pass, the guider's null pass has none."""
    out = applied(adapted, vae)
    guider = table_guider(out.model, out.positive, out.negative, joint(Scale(4.0))) if guided else None
    dit, host_vae = load_dit(files["dit"])[0], load_vae(files["dit"].with_name("vae.safetensors"))
    sizes, state, recipe = read_token_lora(files["adapter"], SIZES.width, SIZES.layers, "adapter")
    lora = TokenLora(sizes).requires_grad_(False)
    lora.load_state_dict(state)
    assert recipe == file_recipe(adapted) == "stand_in"
    grid = (FRAMES, ROWS, COLUMNS)
    given = plain.encode_references(dit, host_vae, [reference()], recipe_named(recipe), grid, lora)
    shift = adapted.get_model_object("model_sampling").shift
    texts = {"positive": run.text(1), "negative": run.text(2)}
    velocity = plain.guided_velocity(dit, plain.condition(texts, given, shift=shift), joint(Scale(4.0)))
    if not guided:
        bare = plain.velocity

        def velocity(x, sigma):
            both = [
                bare(dit, x, sigma, plain.condition({"positive": run.text(seed)}, given), plain_pass())
                for seed in (1, 2)
            ]
            return both[1] + 4.0 * (both[0] - both[1])

    import comfy.sample

    noise = comfy.sample.prepare_noise(latent()["samples"], 5)
    wanted = sample_euler(velocity, noise, flow_sigmas(4, shift))
    wanted = adapted.model.process_latent_out(wanted)
    assert run.worst(made(out, guider=guider), wanted) < 1e-3


def plain_pass():
    from refvid.core.guidance import CONDITIONED

    return CONDITIONED


def test_a_lora_whose_up_is_zero_is_none_at_all_to_the_last_bit(base, files, vae, monkeypatch):
    silent = made(applied(token_lora.load_reference_adapter(base, str(files["silent"])), vae))
    monkeypatch.setitem(RECIPES, "stand_in", lambda: replace(published.small(), token_lora=False))
    assert torch.equal(silent, made(applied(base, vae, recipe="stand_in")))


def test_without_a_reference_that_acts_the_model_is_untouched_to_the_last_bit(base, adapted, vae):
    words = [[[run.text(seed), {}]] for seed in (1, 2)]
    bare = run.sample(base, *words, latent())
    assert torch.equal(run.sample(adapted, *words, latent()), bare)
    assert torch.equal(made(applied(adapted, vae, Controls(0.0))), bare)
    assert run.worst(made(applied(adapted, vae)), bare) > 1e-2


@pytest.mark.parametrize("controls", [Controls(), Controls(0.5)])
def test_kept_keys_and_values_make_what_every_step_anew_makes(adapted, vae, controls, monkeypatch):
    """They are worked out once in a run: three changes for every block."""
    counts, forward = [], TokenChange.forward
    monkeypatch.setattr(TokenChange, "forward", lambda *given: counts.append(given[3]) or forward(*given))
    kept = made(applied(adapted, vae, controls))
    assert len(counts) == 3 * SIZES.layers and set(counts) == {12}
    with monkeypatch.context() as patch:
        patch.setattr(Layout, "constant", False)
        anew = made(applied(adapted, vae, controls))
    assert len(counts) == 3 * SIZES.layers * 5 and run.worst(kept, anew) < 1e-5


def test_nothing_stays_wrapped_after_a_run_nor_after_one_that_was_stopped(adapted, vae):
    out = applied(adapted, vae)

    def stopped(args, extra):
        assert own_forwards(adapted) == 3 * SIZES.layers
        raise InterruptedError

    made(out)
    assert own_forwards(adapted) == 0
    stopping = out.model.clone()
    inside = stopping.model_options["transformer_options"]["patches_replace"]["dit"]
    inside[("double_block", 1)].previous = stopped
    with pytest.raises(InterruptedError):
        made(replace(out, model=stopping))
    inside[("double_block", 1)].previous = None
    assert own_forwards(adapted) == 0


def test_two_models_of_one_base_do_not_touch_each_other(base, adapted, files, vae):
    wanted = made(applied(adapted, vae))
    silent = token_lora.load_reference_adapter(base, str(files["silent"]))
    words = [[[run.text(seed), {}]] for seed in (1, 2)]
    bare = run.sample(base, *words, latent())
    other = made(applied(silent, vae))
    assert torch.equal(run.sample(base, *words, latent()), bare)
    assert torch.equal(made(applied(adapted, vae)), wanted)
    again = token_lora.load_reference_adapter(silent, str(files["adapter"]))
    assert torch.equal(made(applied(again, vae)), wanted) and run.worst(wanted, other) > 1e-3


def test_a_batch_of_two_is_two_runs(adapted, vae):
    import comfy.sample

    out, noise = applied(adapted, vae), comfy.sample.prepare_noise(latent(batch=2)["samples"], 5)
    both = made(out, given=latent(batch=2), noise=noise)
    for row in range(2):
        assert run.worst(both[row : row + 1], made(out, noise=noise[row : row + 1])) < 1e-4


def lora() -> dict[str, Tensor]:
    torch.manual_seed(4)
    return tiny.lora_of(SIZES, "self_attn")


def cores_lora(model):
    return comfy.sd.load_lora_for_models(model, None, lora(), 1.0, 0.0)[0]


def test_cores_lora_on_the_same_layers_before_or_after_is_one_on_the_base(base, adapted, files, vae, folder):
    wanted = made(applied(token_lora.load_reference_adapter(cores_lora(base), str(files["adapter"])), vae))
    assert torch.equal(made(applied(cores_lora(adapted), vae)), wanted)
    assert run.worst(made(applied(adapted, vae)), wanted) > 1e-3
    merged = WanDiT(SIZES)
    merged.load_state_dict(STATE)
    merge_lora(merged, lora())
    path = tiny.save_dit(folder, "merged.safetensors", SIZES, dict(merged.state_dict()))
    alone = token_lora.load_reference_adapter(run.load_model(path), str(files["adapter"]))
    assert run.worst(made(applied(alone, vae)), wanted) < 1e-4


def test_a_forward_that_another_pack_put_on_a_layer_runs_and_stays(adapted, vae):
    """As core's LoRA that runs beside a layer instead of in its weights."""
    layer = adapted.model.diffusion_model.blocks[1].self_attn.k
    forward, calls = layer.forward, []
    layer.forward = other = lambda x: calls.append(x.shape[1]) or forward(x) * 1.5
    try:
        doubled = made(applied(adapted, vae))
        assert vars(layer)["forward"] is other and calls[0] == calls[1] + 12
    finally:
        del layer.forward
    assert run.worst(made(applied(adapted, vae)), doubled) > 1e-3


@pytest.mark.parametrize("first", [True, False])
def test_another_packs_block_patch_before_or_after_changes_nothing(base, adapted, files, vae, first):
    def again(args, extra):
        return extra["original_block"](args)

    wanted, model = made(applied(adapted, vae)), adapted.clone()
    if first:
        for index in range(SIZES.layers):
            model.set_model_patch_replace(again, "dit", "double_block", index)
        out = applied(model, vae)
    else:
        out = applied(model, vae)
        patches = out.model.model_options["transformer_options"]["patches_replace"]["dit"]
        for index in range(SIZES.layers):
            ours = patches[("double_block", index)]
            out.model.set_model_patch_replace(
                lambda args, extra, ours=ours: ours(args, extra), "dit", "double_block", index
            )
    assert torch.equal(made(out), wanted)


def test_a_model_without_the_adapter_is_refused_at_apply_by_its_input(base, adapted, vae):
    with pytest.raises(
        ValueError, match=r"recipe is stand_in, .* put one on model with Load Reference Adapter"
    ):
        applied(base, vae, recipe="stand_in")
    words = ([[run.text(seed), {}]] for seed in (1, 2))
    with pytest.raises(ValueError, match="put one on low_noise_model with"):
        apply_references(adapted, base, *words, vae, latent(), [reference()], "auto")


def test_a_model_that_lost_the_adapter_is_refused_where_it_runs(adapted, vae):
    out = applied(adapted, vae)
    bare = out.model.clone()
    bare.remove_additional_models(wire.REFERENCE_LORA)
    with pytest.raises(ValueError, match="the model has none"):
        made(replace(out, model=bare))


def test_the_adapter_beside_another_recipe_does_nothing_and_is_said(base, adapted, vae, caplog):
    got = made(applied(adapted, vae, recipe="phantom"))
    assert "recipe is phantom, in which the model's LoRA on reference tokens does nothing" in caplog.text
    assert torch.equal(got, made(applied(base, vae, recipe="phantom")))


def test_a_file_of_another_width_is_refused_by_the_input(folder, base):
    wide = published.save_adapter(folder, published.adapter_state(tiny.config(layers=3)), "deep.safetensors")
    with pytest.raises(ValueError, match=r"low: deep.safetensors was trained for a Wan of width 96 with 3"):
        token_lora.load_reference_adapter(base, str(wide), "low")
