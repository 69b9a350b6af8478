"""A LoRA on reference tokens in a compiled model: the same numbers, one graph for all steps, and no graph
that is taken for another adapter's."""

from dataclasses import replace

import pytest
import refvid_in_process as run
import refvid_stand_in as published
import refvid_tiny as tiny
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

from refvid.core.recipes import RECIPES
from refvid.core.references import make_reference
from refvid.hosts.comfy.references import apply_references
from refvid.hosts.comfy.token_lora import load_reference_adapter

pytestmark = pytest.mark.comfy
SIZES = tiny.config(layers=1)
GUARDS = {"guard_filter_fn": skip_torch_compile_dict}  # as core's node has them
WHOLE, BLOCKS = ["diffusion_model"], ["diffusion_model.blocks.0"]
OTHERS = ((WHOLE, True), (BLOCKS, False), (BLOCKS, True))


@pytest.mark.parametrize(
    ("keys", "before"),
    [(WHOLE, False), *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)],
)
def test_a_compiled_model_makes_the_same(folder, vae, keys, before, monkeypatch):
    """By core's way to compile, whole or by blocks; put on after Apply References, or before."""
    monkeypatch.setitem(RECIPES, "stand_in", published.small)
    base = run.load_model(tiny.save_dit(folder, "one.safetensors", SIZES, tiny.dit_state(SIZES)))
    state = published.adapter_state(SIZES)
    adapter = published.save_adapter(folder, state, "one_adapter.safetensors")
    silent = published.save_adapter(folder, published.without_effect(state), "one_silent.safetensors")
    graphs = []
    torch._dynamo.reset()

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def compiled(model):
        model = model.clone()
        set_torch_compile_wrapper(model, backend=backend, fullgraph=True, options=GUARDS, keys=keys)
        return model

    def applied(model):
        words = ([[run.text(seed), {}]] for seed in (1, 2))
        given = [make_reference(run.picture(3, 40, 30))]
        latent = run.empty_latent(2, 6, 8)
        return apply_references(model, None, *words, vae, latent, given, "stand_in")

    def both(model):
        out = applied(model)
        fast = applied(compiled(model)) if before else replace(out, model=compiled(out.model))
        return [
            run.sample(one.model, one.positive, one.negative, run.empty_latent(2, 6, 8), steps=3)
            for one in (out, fast)
        ]

    other, got = both(load_reference_adapter(base, str(silent)))
    assert run.worst(got, other) < 1e-4
    # Whole, the reference travels at every step. By blocks it is kept, and later steps are shorter.
    assert len(graphs) == (1 if keys == WHOLE else 2)
    wanted, got = both(load_reference_adapter(base, str(adapter)))
    assert run.worst(got, wanted) < 1e-4 < run.worst(other, wanted)
    monkeypatch.setitem(RECIPES, "stand_in", lambda: replace(published.small(), token_lora=False))
    plainly, got = both(base)
    assert run.worst(got, plainly) < 1e-4 and torch.equal(plainly, other)
