"""VideoMaker's recipe: a clean frame behind the video, as core's own forward would have it."""

from dataclasses import replace

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from refvid_in_process import empty_latent, picture, sample, text, worst

from refvid.backbones.wan.geometry import WAN_2_1
from refvid.core.controls import Controls, FrameWindow, StepWindow
from refvid.core.guidance import Guidance, Scale, joint
from refvid.core.layout import Layout, Stream
from refvid.core.recipes import recipe_named
from refvid.core.references import make_reference
from refvid.hosts.comfy import recall, wire
from refvid.hosts.comfy.guiders import table_guider
from refvid.hosts.comfy.references import References, apply_references

pytestmark = pytest.mark.comfy
FRAMES = 3


def applied(model, vae, recipe: str = "videomaker", strength: float = 1.0, **how):
    words = ([[text(seed), {}]] for seed in (1, 2))
    reference = make_reference(picture(3), None, Controls(strength))
    return apply_references(model, None, *words, vae, empty_latent(), [reference], recipe, **how)


def seen_by_the_model(out, guider=None) -> tuple[torch.Tensor, list[dict]]:
    """One step, and what every evaluation was given and gave."""
    model, calls = out.model.clone(), []

    def listen(executor, x, timestep, context, *args, **kwargs):
        made = executor(x, timestep, context, *args, **kwargs)
        given = {"x": x, "timestep": timestep, "context": context, "made": made, **kwargs}
        calls.append(
            {name: value.clone() if torch.is_tensor(value) else value for name, value in given.items()}
        )
        return made

    wrappers = model.wrappers[WrappersMP.DIFFUSION_MODEL]
    model.wrappers[WrappersMP.DIFFUSION_MODEL] = {"listen": [listen], **wrappers}  # around ours
    if guider is None:
        return sample(model, out.positive, out.negative, empty_latent(), steps=1), calls
    guided = table_guider(model, out.positive, out.negative, guider)
    return sample(model, None, None, empty_latent(), guider=guided, steps=1), calls


@pytest.mark.parametrize(("recipe", "clean"), [("videomaker", True), ("videomaker_shared", False)])
def test_it_is_cores_forward_on_one_frame_more_with_a_timestep_of_its_own(t2v, vae, recipe, clean):
    """The reference as frame F of the latent, at timestep 0 or the video's; the video's frames of the
    result."""
    _, calls = seen_by_the_model(applied(t2v, vae, recipe))
    module = t2v.model.diffusion_model
    for call in calls:
        batch = len(call["x"])
        given = call[wire.key(References, "inputs")][0].expand(batch, -1, -1, -1, -1)
        clock = call["timestep"][:, None].expand(batch, FRAMES + 1).clone()
        clock[:, FRAMES] *= not clean
        longer = torch.cat([call["x"], given], dim=2)
        with torch.no_grad():
            core = module(longer, clock, call["context"], transformer_options={"rope_options": {}})
        assert worst(core[:, :, :FRAMES], call["made"]) < 1e-4
    assert calls


def test_the_null_pass_of_every_guider_has_a_zero_reference_and_the_others_the_reference(t2v, vae):
    out = applied(t2v, vae)
    for guidance in (joint(Scale(4.0)), Guidance(Scale(2.0), Scale(4.0)), None):
        _, calls = seen_by_the_model(out, guidance)
        shown = [
            bool(row.abs().max() > 0) for call in calls for row in call[wire.key(References, "inputs")][0]
        ]
        assert sorted(shown) == [False, *[True] * (len(shown) - 1)] and len(shown) >= 2


def test_the_widget_chooses_the_null_pass_of_other_samplers(t2v, vae):
    made = {
        null: sample(*_parts(applied(t2v, vae, null_pass=null)), empty_latent(), cfg=4.0)
        for null in ("recipe", "zero", "keep", "drop")
    }
    assert torch.equal(made["recipe"], made["zero"])
    assert worst(made["zero"], made["keep"]) > 1e-3 < worst(made["zero"], made["drop"])


def test_strength_0_is_the_model_untouched_and_a_second_reference_is_refused(t2v, vae):
    bare = sample(t2v, [[text(1), {}]], [[text(2), {}]], empty_latent(), cfg=4.0)
    assert torch.equal(sample(*_parts(applied(t2v, vae, strength=0.0)), empty_latent(), cfg=4.0), bare)
    assert worst(sample(*_parts(applied(t2v, vae)), empty_latent(), cfg=4.0), bare) > 1e-3
    words = ([[text(seed), {}]] for seed in (1, 2))
    two = [make_reference(picture(seed)) for seed in (3, 4)]
    with pytest.raises(ValueError, match="references: 2 pictures came"):
        apply_references(t2v, None, *words, vae, empty_latent(), two, "videomaker")


def _parts(out):
    return out.model, out.positive, out.negative


def recalled(model, vae, recipe, monkeypatch, keep: bool, cfg: float = 4.0, **how):
    """A run of a reference that reads only itself, and the tokens that every block was handed at each
    step."""
    seen = []

    def watch(args, extra):
        seen.append(args["img"].shape[1])
        return extra["original_block"](args)

    bare = model.clone()
    for index in range(len(bare.model.diffusion_model.blocks)):
        bare.set_model_patch_replace(watch, "dit", "double_block", index)
    words = ([[text(seed), {}]] for seed in (1, 2))
    asked = Controls(sees="itself", **how)
    given = [make_reference(picture(3), None, asked)]
    out = apply_references(bare, None, *words, vae, empty_latent(), given, recipe)
    with monkeypatch.context() as patch:
        if not keep:
            patch.setattr(Layout, "constant", False)
        return sample(*_parts(out), empty_latent(), cfg=cfg), seen


@pytest.mark.parametrize("recipe", ["videomaker", "videomaker_no_text"])
@pytest.mark.parametrize("how", [{}, {"strength": 0.4}, {"steps": StepWindow(0.0, 0.6)}])
def test_later_steps_need_no_reference_tokens_and_make_the_same(t2v, vae, recipe, how, monkeypatch):
    made, seen = recalled(t2v, vae, recipe, monkeypatch, keep=True, **how)
    wanted, every = recalled(t2v, vae, recipe, monkeypatch, keep=False, **how)
    video, joined = min(seen), max(seen)
    layers = len(t2v.model.diffusion_model.blocks)
    assert joined > video and seen == [joined] * layers + [video] * (len(seen) - layers)
    assert every.count(joined) > layers and len(every) == len(seen)
    assert worst(made, wanted) < 1e-5


def test_a_reference_of_some_frames_keeps_nothing_and_stays_with_its_frames(t2v, vae, monkeypatch):
    made, seen = recalled(t2v, vae, "videomaker", monkeypatch, keep=True, frames=FrameWindow(0, 0))
    wanted, every = recalled(t2v, vae, "videomaker", monkeypatch, keep=False, frames=FrameWindow(0, 0))
    assert torch.equal(made, wanted) and seen == every
    assert worst(made, recalled(t2v, vae, "videomaker", monkeypatch, keep=True)[0]) > 1e-3


def test_kept_keys_and_values_equal_those_of_every_later_step_to_the_last_bit(t2v, vae, monkeypatch):
    taken = []

    def attend(self, run, previous, query, key, value, args, kwargs):
        last = slice(key.shape[1] - self.count, None)
        taken.append((self.block, key[:, last].clone(), value[:, last].clone()))
        return self.rule.attend(run, previous, query, key, value, args, kwargs)

    monkeypatch.setattr(recall.Recording, "attend", attend)  # keeps nothing: every step works them out
    recalled(t2v, vae, "videomaker", monkeypatch, keep=True)
    layers = len(t2v.model.diffusion_model.blocks)
    first = {block: (key, value) for block, key, value in taken[:layers]}
    assert len(taken) == 4 * layers
    for block, key, value in taken[layers:]:
        assert torch.equal(key, first[block][0]) and torch.equal(value, first[block][1])


@pytest.mark.parametrize("sees", ["all", "frames"])
def test_references_that_read_the_video_are_worked_out_at_every_step(sees):
    stream = Stream(2, 2, 4, Controls(sees=sees))
    assert not Layout(recipe_named("videomaker"), (stream,), WAN_2_1).constant
    alone = replace(stream, controls=Controls(sees="itself"))
    assert Layout(recipe_named("videomaker"), (alone,), WAN_2_1).constant
    assert not Layout(recipe_named("videomaker_shared"), (alone,), WAN_2_1).constant


def test_a_reference_that_reads_no_text_says_the_same_whatever_the_prompt(t2v, vae, monkeypatch):
    """Its keys in the last block, under two prompts; with text they differ."""
    for recipe, alike in (("videomaker_no_text", True), ("videomaker", False)):
        kept = []
        real = recall.Recording.attend

        def attend(self, *given, kept=kept, real=real):
            out = real(self, *given)
            kept.append(self.kept.blocks[self.block][0])
            return out

        with monkeypatch.context() as patch:
            patch.setattr(recall.Recording, "attend", attend)
            for seed in (1, 7):
                given = [make_reference(picture(3), None, Controls(sees="itself"))]
                words = [[text(seed), {}]]
                out = apply_references(t2v, None, words, [[text(2), {}]], vae, empty_latent(), given, recipe)
                sample(*_parts(out), empty_latent(), cfg=1.0, steps=1)
        layers = len(kept) // 2
        assert torch.equal(kept[layers - 1], kept[-1]) == alike
