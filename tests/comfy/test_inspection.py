"""Inspect References against what then really runs."""

import pytest
import refvid_tiny as tiny
import torch
from refvid_in_process import empty_latent, picture, text, velocity_at
from refvid_stand_in import adapter_state, save_adapter

from refvid.core.controls import Controls, StepWindow
from refvid.core.inspection import inspection_report
from refvid.core.references import make_reference
from refvid.drawing.inspection import draw_inspection
from refvid.hosts.comfy import wire
from refvid.hosts.comfy.families import wan
from refvid.hosts.comfy.inspection import inspect_comfy_references
from refvid.hosts.comfy.references import AttachedReferences, apply_references
from refvid.hosts.comfy.token_lora import load_reference_adapter

pytestmark = pytest.mark.comfy
TEXTS = [[text(1), {}]], [[text(2), {}]]
LEFT = torch.zeros(64, 64).index_fill(1, torch.arange(32), 1.0)
NOISE = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(9))


def applied(model, vae, *references, recipe="saber", **options):
    return apply_references(model, None, *TEXTS, vae, empty_latent(), list(references), recipe, **options)


def inspected(out, vae=None):
    return inspect_comfy_references(out.model, out.positive, empty_latent(), vae)


def tokens_at(out, sigma: float) -> int:
    """Tokens that the first block really gets."""
    seen, model = [], out.model.clone()

    def watch(kernel, query, *args, **kwargs):
        seen.append(query.shape[1])
        return kernel(query, *args, **kwargs)

    model.model_options["transformer_options"]["optimized_attention_override"] = watch
    velocity_at(model, out.positive, out.negative, NOISE, sigma)
    return seen[0]


def test_added_tokens_are_those_that_run_at_every_part_of_the_schedule(t2v, vae):
    late = make_reference(picture(4), None, Controls(steps=StepWindow(0.5)))
    out = applied(t2v, vae, make_reference(picture(3), LEFT), late)
    inspection, _ = inspected(out)
    sampling = out.model.get_model_object("model_sampling")
    for share in (0.1, 0.9):
        assert inspection.video_tokens + inspection.added[round(100 * share)] == tokens_at(
            out, float(sampling.percent_to_sigma(share))
        )
    assert inspection.added.unique().tolist() == [8, 24]


def test_expected_memory_is_core_s_own_and_grows_in_proportion_to_the_tokens(t2v, vae):
    grown = []
    for count, kept in ((1, 8), (2, 16), (4, 32)):
        out = applied(t2v, vae, *(make_reference(picture(k), LEFT) for k in range(count)))
        most, least = inspected(out)[0].memory
        assert inspected(out)[0].layout.kept == kept
        assert least == t2v.model.memory_required([2, 16, 3, 8, 8])
        grown.append(most - least)
    assert grown[1] == pytest.approx(2 * grown[0]) and grown[2] == pytest.approx(4 * grown[0])
    # 48 tokens of video need `least`: a token of a reference needs as much as one of the video.
    assert grown[0] == pytest.approx(least * 8 / 48)


def test_pictures_are_the_references_as_the_vae_gives_them_back_or_their_masks(t2v, vae):
    out = applied(t2v, vae, make_reference(picture(3), LEFT))
    (mask,) = inspected(out)[1]
    assert torch.equal(mask[..., 0], LEFT)
    (shown,) = inspected(out, vae)[1]
    assert shown.shape == (64, 64, 3)
    torch.testing.assert_close(
        shown,
        vae.decode(out.positive[0][1][wire.key(AttachedReferences, "latents")][0]).reshape(-1, 64, 64, 3)[0],
    )


def test_the_path_is_that_of_the_attention_the_model_holds(t2v, vae):
    strong = make_reference(picture(3), None, Controls(0.5))
    assert "attention: bias" in inspection_report(inspected(applied(t2v, vae, strong))[0])
    assert "attention: removal" in inspection_report(
        inspected(applied(t2v, vae, make_reference(picture(3))))[0]
    )
    assert "attention: eager" in inspection_report(inspected(applied(t2v, vae, strong, attention="eager"))[0])

    def deaf(kernel, *args, **kwargs):
        return kernel(*args, **{**kwargs, "mask": None})

    model = t2v.clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = deaf
    said = inspection_report(inspected(applied(model, vae, strong))[0])
    assert "attention: sdpa" in said and "deaf drops masks" in said


def test_a_focus_is_told(t2v, vae):
    focused = make_reference(picture(3), None, Controls(focus=8.0))
    assert "focus 8 from 20% of the schedule" in inspection_report(inspected(applied(t2v, vae, focused))[0])


def test_a_model_without_the_adapter_that_a_run_would_need_is_refused(t2v, vae, folder):
    path = save_adapter(folder, adapter_state(tiny.config()))
    given = [make_reference(picture(3))]
    out, other = (
        apply_references(model, None, *TEXTS, vae, empty_latent(), given, recipe)
        for model, recipe in ((load_reference_adapter(t2v, str(path)), "stand_in"), (t2v, "phantom"))
    )
    assert inspected(out)[0].layout.kept == 32 * 32
    with pytest.raises(ValueError, match=r"recipe is stand_in, .* and the model has none"):
        inspect_comfy_references(other.model, out.positive, empty_latent())


def test_a_conditioning_without_references_is_refused(t2v, vae):
    out = applied(t2v, vae, make_reference(picture(3)))
    with pytest.raises(ValueError, match="positive carries no references"):
        inspect_comfy_references(out.model, TEXTS[0], empty_latent())
    source = {"refvid_source": NOISE, "refvid_source_recipe": "sama"}
    edited = [[words, {**options, **source}] for words, options in out.positive]
    with pytest.raises(ValueError, match="positive carries a source video to edit"):
        inspect_comfy_references(out.model, edited, empty_latent())


@pytest.mark.parametrize("sight", [False, True])
def test_empty_places_are_shown_as_such_and_counted(t2v, vae, sight):
    out = applied(t2v, vae, make_reference(picture(3)), recipe="skyreels_v3")
    inspection, pictures = inspected(out, vae if sight else None)
    assert [stream.role for stream in inspection.layout.streams] == ["picture", *["empty"] * 3]
    said = inspection_report(inspection)
    assert "reference 1: 16 of 16 tokens" in said and "empty place 4: 16 of 16 tokens" in said
    assert inspection.video_tokens + 64 == tokens_at(out, 0.5)
    assert len(pictures) == 4 and pictures[0].any() and not torch.stack(pictures[1:]).any()
    assert draw_inspection(inspection, pictures).ndim == 3


def test_empty_places_are_filled_anew_from_a_conditioning_that_was_saved(t2v, vae):
    """It carries the pictures alone."""
    out = applied(t2v, vae, make_reference(picture(3)), recipe="skyreels_v3")
    ((_, options),) = out.positive
    attached = wire.read(AttachedReferences, options)
    assert attached is not None and len(attached.latents) == len(attached.masks) == 1
    assert attached.arranged(wan.geometry(t2v)).layout.kept == 64


def test_a_comfyui_that_shifts_no_rotations_is_refused_by_name(t2v, vae, monkeypatch):
    """An older one, whose rope_encode reads no rope_options."""
    kind = type(t2v.model.diffusion_model)
    made = kind.rope_encode

    def without(self, *given, transformer_options=None, **more):
        return made(self, *given, transformer_options={}, **more)

    monkeypatch.setattr(kind, "rope_encode", without)
    applied(t2v, vae, make_reference(picture(3)), recipe="phantom")
    with pytest.raises(ValueError, match=r"cannot do \(its rope_encode reads no rope_options\)"):
        applied(t2v, vae, make_reference(picture(3)), recipe="kaleido")
