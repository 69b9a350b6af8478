"""The attention layouts of SAMA and VideoMaker in float64, on both hosts, against forwards that know nothing
of ours."""

import copy

import pytest
import refvid_in_process as run
import refvid_riders as plain
import refvid_tiny as tiny
import torch
from refvid_sama import FRAMES, SIDE, Editor, published
from torch import Tensor

from refvid.backbones.wan.loading import load_dit, load_vae
from refvid.core.controls import Controls
from refvid.core.guidance import CONDITIONED
from refvid.core.recipes import recipe_named
from refvid.core.references import make_reference
from refvid.core.semantic import as_frames, as_tokens
from refvid.hosts.comfy.references import apply_references
from refvid.hosts.comfy.source.modules import modules_of

pytestmark = pytest.mark.comfy
COUNT, FEATURES, SIGMA = 65, 24, 0.6
EXACT = 1e-6


def noisy() -> Tensor:
    return torch.randn(1, 16, FRAMES, SIDE, SIDE, generator=torch.Generator().manual_seed(9))


def at(sigma: float) -> Tensor:
    return torch.tensor(sigma, dtype=torch.float64)


def test_sama_equals_its_released_forward(tmp_path):
    """Source, semantic tokens and video in one sequence; what ComfyUI and the plain host say of video and
    semantic tokens."""
    editor, video = Editor.make(tmp_path), noisy()
    state = torch.randn(1, COUNT, FEATURES, generator=torch.Generator().manual_seed(8))
    joined = torch.cat([video, as_frames(state, tuple(video.shape))], dim=2)
    (seen,) = (one.latent for one in editor.condition().riders)
    wanted, said = published(editor.dit, editor.modules, video, state, seen, run.text(1), 1000 * SIGMA)
    with run.in_float64(editor.comfy, modules_of(editor.comfy)) as made:
        run.velocity_at(editor.installed(), *editor.words(), joined, SIGMA, FRAMES)
    double = editor.in_float64()
    made.append(plain.velocity(double.dit, joined.double(), at(SIGMA), double.condition(), CONDITIONED))
    assert len(made) == 2 and made[0].dtype == made[1].dtype == torch.float64
    for one in made:
        assert run.worst(one[:, :, :FRAMES], wanted) < EXACT
        assert run.worst(as_tokens(one[:, :, FRAMES:], COUNT, FEATURES), said) < EXACT


def test_the_in_context_recipe_equals_that_forward_without_types_and_semantic_tokens(tmp_path):
    editor, video = Editor.make(tmp_path), noisy()
    untyped = copy.deepcopy(editor.modules)
    untyped.segment_embedding.weight.zero_()
    (source,) = editor.condition("in_context").riders
    seen, nothing = source.latent, torch.zeros(1, 0, FEATURES)
    wanted, _ = published(editor.dit, untyped, video, nothing, seen, run.text(1), 1000 * SIGMA)
    with run.in_float64(editor.comfy) as made:
        run.velocity_at(editor.installed(), *editor.words("in_context"), video, SIGMA)
    double = editor.in_float64()
    condition = double.condition("in_context")
    made.append(plain.velocity(double.dit, video.double(), at(SIGMA), condition, CONDITIONED))
    assert len(made) == 2
    for one in made:
        assert run.worst(one, wanted) < EXACT


def looped(sees: str, own: int, frames: int):
    """Attention for core's forward on one frame more, its last `own` tokens a reference that reads
    everything, itself, or every frame in a softmax of its own, of which it takes the mean; written as the
    sentence says it."""

    def read(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1) @ value

    def override(func, query, key, value, heads, *args, **kwargs):
        if query.shape[1] != key.shape[1]:
            return func(query, key, value, heads, *args, **kwargs)  # the text
        query, key, value = (one.unflatten(2, (heads, -1)).movedim(2, 1) for one in (query, key, value))
        length = query.shape[2] - own
        mine, each = torch.arange(length, length + own), length // frames
        turns = {
            "all": [torch.arange(length + own)],
            "itself": [mine],
            "frames": [torch.cat([torch.arange(k * each, (k + 1) * each), mine]) for k in range(frames)],
        }
        video = read(query[:, :, :length], key, value)
        every = [read(query[:, :, mine], key[:, :, seen], value[:, :, seen]) for seen in turns[sees]]
        return torch.cat([video, torch.stack(every).mean(0)], dim=2).movedim(1, 2).flatten(2)

    return override


@pytest.mark.parametrize("sees", ["all", "frames", "itself"])
@pytest.mark.parametrize("recipe", ["videomaker", "videomaker_shared"])
def test_videomaker_equals_cores_forward_on_one_frame_more(tmp_path, recipe, sees):
    sizes = tiny.config()
    path, vae = (
        tiny.save_dit(tmp_path, "t2v.safetensors", sizes, tiny.dit_state(sizes)),
        tiny.save_vae(tmp_path),
    )
    model, words = run.load_model(path), ([[run.text(seed), {}]] for seed in (1, 2))
    references = [make_reference(run.picture(3), None, Controls(sees=sees))]
    out = apply_references(model, None, *words, run.load_vae(vae), run.empty_latent(), references, recipe)
    host, video = load_dit(path)[0].double(), noisy()
    encoded = plain.encode_references(
        host, load_vae(vae), references, recipe_named(recipe), (FRAMES, SIDE, SIDE)
    )
    assert encoded is not None
    condition = plain.condition({"positive": run.text(1).double()}, encoded)
    ours = plain.velocity(host, video.double(), at(SIGMA), condition, CONDITIONED)
    picture = encoded.inputs[0].double()
    clock = torch.full((1, FRAMES + 1), 1000 * SIGMA, dtype=torch.float64)
    clock[:, FRAMES] *= recipe_named(recipe).clock != "own"
    with run.in_float64(model) as made, torch.no_grad():
        run.velocity_at(out.model, out.positive, out.negative, video, SIGMA)
        options = {"optimized_attention_override": looped(sees, SIDE * SIDE // 4, FRAMES)}
        longer = torch.cat([video.double(), picture], dim=2)
        model.model.diffusion_model(longer, clock, run.text(1).double(), transformer_options=options)
    got, wanted = made[0], made[1][:, :, :FRAMES]
    assert len(made) == 2 and got.dtype == wanted.dtype == torch.float64
    assert run.worst(ours, wanted) < EXACT and run.worst(got, wanted) < EXACT
