"""Faults that fast tests caught from the start."""

from plant_fault import Fault

HELD = (
    Fault(
        "rope-split", "a head's features are split the other way round over frame, row and column",
        "core/geometry.py",
        "return head_size - rows - columns, rows, columns", "return rows, columns, head_size - rows - columns",
        ("positions",),
    ),
    Fault(
        "reference-frame", "all references stand at frame F", "core/recipe.py",
        '"after": frames + index', '"after": frames',
        ("positions", "recipes"),
    ),
    Fault(
        "soft-mask", "a soft mask adds shares to logits, not their logarithms", "core/references.py",
        "token_cover(mask, stride)[keep].log()", "token_cover(mask, stride)[keep]",
        ("controls", "references"),
    ),
    Fault(
        "centring", "a fitted picture stands in the corner", "core/fit.py",
        "top, left = (size[0] - values.shape[-2]) // 2, (size[1] - values.shape[-1]) // 2", "top, left = 0, 0",
        ("references",),
    ),
    Fault(
        "renorm-frames", "renorm per frame is over the clip", "core/guidance.py",
        "over = (1, 3, 4) if per_frame", "over = (1, 2, 3, 4) if per_frame",
        ("guidance",),
    ),
    Fault(
        "recurrent-unit", "the recurrent unit keeps what it should renew", "core/slots.py",
        "(1 - share) * fresh + share * state", "share * fresh + (1 - share) * state",
        ("slots",),
    ),
    Fault(
        "unseen-frame", "a frame that shows no subject changes the slots", "core/slots.py",
        "return torch.where(shows[..., None], slots, before), plan", "return slots, plan",
        ("slots",),
    ),
    Fault(
        "transport-gradient", "the gradient of transport forgets the columns' sums", "core/transport.py",
        "(wanted - alpha[:, :, None] - beta[:, None]) / ctx.epsilon",
        "(wanted - alpha[:, :, None]) / ctx.epsilon",
        ("transport",),
    ),
    Fault(
        "grouped-weights", "in groups references' keys have no weight", "kernels/grouped.py",
        "if key_bias is not None and groups.sees_references(part) else None", "if False else None",
        ("visibility",),
    ),
    Fault(
        "grouped-mean", "who reads frame by frame takes the first frame, not the mean", "kernels/grouped.py",
        "several.mean(place + 1)", "several.select(place + 1, 0)",
        ("visibility",),
    ),
    Fault(
        "tail-clock", "a tail's own timestep is ignored", "backbones/wan/dit.py",
        "noisiest if tail.clock is None else tail.clock", "noisiest",
        ("wan_dit",),
    ),
    Fault(
        "noisiest-clock", "a tail takes the cleanest frame's timestep", "backbones/wan/dit.py",
        "timestep.amax(dim=1)", "timestep.amin(dim=1)",
        ("wan_dit",),
    ),
    Fault(
        "causal-memory", "the VAE remembers the last chunk alone", "backbones/wan/vae_layers.py",
        "past[self] = joined[:, :, -remembered:]", "past[self] = x[:, :, -remembered:]",
        ("wan_vae",),
    ),
    Fault(
        "first-copies", "the Wan 2.2 VAE's shortcut makes several pictures of the first frame", "backbones/wan/vae22.py",
        "first, past[self] = self not in past, None", "first, past[self] = False, None",
        ("wan_vae22",),
    ),
    Fault(
        "cell-order", "means of a cell are over its places, then its channels", "backbones/wan/vae22.py",
        "-> b (c p q r) f h w", "-> b (p q r c) f h w",
        ("wan_vae22",),
    ),
    Fault(
        "pixel-order", "pixels are folded by rows, then by columns", "backbones/wan/vae.py",
        '"b c f (h q) (w r) -> b (c r q) f h w"', '"b c f (h q) (w r) -> b (c q r) f h w"',
        ("wan_vae22",),
    ),
    Fault(
        "frame-clocks", "timesteps of frames are dealt over their tokens in turn", "backbones/wan/dit.py",
        "t.repeat_interleave(length // frames, dim=1)", "t.repeat(1, length // frames, *[1] * (t.ndim - 2))",
        ("wan_dit",),
    ),
    Fault(
        "other-latents", "a VAE of other latents than the DiT's is taken", "hosts/plain/pipeline.py",
        "needed=model.geometry, ", "",
        ("cli::test_bad_input_ends_in_one_line_and_code_two",),
    ),
    Fault(
        "folded-padding", "folded padding counts once", "backbones/wan/text.py",
        ".clamp_min(0).float().log()", ".clamp(0, 1).float().log()",
        ("wan_text",),
    ),
    Fault(
        "null-latent", "the null pass of a zero recipe sees the references", "hosts/plain/references.py",
        "[torch.zeros_like(one) for one in self.inputs]", "[one for one in self.inputs]",
        ("plain_null_pass",),
    ),
    Fault(
        "target-sign", "training learns the velocity backwards", "training/base/dit/losses.py",
        "(predicted.float() - (batch.noise - batch.latent))", "(predicted.float() - (batch.latent - batch.noise))",
        ("dit_training",),
    ),
    Fault(
        "replaced-level", "in training replaced frames have the video's noise and timestep",
        "training/base/dit/losses.py",
        "if bool(batch.replaced.any()):", "if False:",
        ("dit_training",),
    ),
    Fault(
        "same-scene", "the same identity elsewhere is in its clip's scene", "demo/source.py",
        "world.render(shown, casting.other_scenes(scenes, generator), frames, size)",
        "world.render(shown, scenes, frames, size)",
        ("videomaker_rows", "source"),
    ),
    Fault(
        "same-meeting", "a reference video is that of the first in the clip", "training/methods/slot_id/rows.py",
        "footage.elsewhere(subject, slots.size", "footage.elsewhere(0, slots.size",
        ("slot_training::test_each_of_a_pair_has_a_video_and_a_name_of_its_own",),
    ),
    Fault(
        "semantic-noise", "the shares of semantic tokens and their noise are swapped", "training/methods/sama/losses.py",
        "(1 - level[..., 0, 0]) * semantic + level[..., 0, 0] * batch.semantic_noise",
        "level[..., 0, 0] * semantic + (1 - level[..., 0, 0]) * batch.semantic_noise",
        ("sama_training::test_both_losses_are_those_of_the_published_sequence",),
    ),
    Fault(
        "recognition-clock", "recognition is asked at the video's timestep", "training/methods/videomaker/losses.py",
        "_recognition(dit, after, little if own else batch.sigma, batch)",
        "_recognition(dit, after, batch.sigma, batch)",
        ("videomaker_training",),
    ),
    Fault(
        "gentle-rate", "what runs once a picture learns at Muon's rate", "training/engine/optimise.py",
        '{"params": slow, "share": GENTLE}', '{"params": slow, "share": 1.0}',
        ("slot_training::test_what_runs_once_a_picture_learns_gently",),
    ),
    Fault(
        "summed-gradients", "gradients of several processes are summed", "core/ranks.py",
        "mean.view_as(gradient) / ranks.count", "mean.view_as(gradient)",
        ("parallel",),
    ),
    Fault(
        "empty-places", "places without a picture are left out", "core/recipe.py",
        "(self.reference_places or 0) - count) if count", "0 - count) if count",
        ("plain_published_references",),
    ),
    Fault(
        "beyond-columns", "a reference overlaps the video's last column", "core/recipe.py",
        "column = width if self.columns", "column = width - 1 if self.columns",
        ("plain_published_references",),
    ),
    Fault(
        "refalign-text", "RefAlign's references read the prompt", "core/published_recipes.py",
        'source="gudaochangsheng/RefAlign", reads_text=False',
        'source="gudaochangsheng/RefAlign", reads_text=True',
        ("plain_published_references",),
    ),
    Fault(
        "concat-ground", "Concat-ID's face stands on white", "core/published_recipes.py",
        '"concat_id", "ML-GSAI/Concat-ID", "video", 0.0', '"concat_id", "ML-GSAI/Concat-ID", "video", WHITE',
        ("plain_published_references",),
    ),
)  # fmt: skip
