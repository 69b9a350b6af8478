"""Faults that fast tests have to catch. Where code moves, `file` follows it; where it is written anew, `old` and `new`."""

from dataclasses import dataclass

UNIT = "tests/unit/test_"


@dataclass(frozen=True)
class Fault:
    """What is replaced in a file, what that breaks, and the tests in tests/unit that have to fail of it: by the ends of
    their names, with or without a function."""

    id: str
    breaks: str
    file: str
    old: str
    new: str
    by: tuple[str, ...]

    @property
    def tests(self) -> tuple[str, ...]:
        """As pytest takes them."""
        ends = (name.partition("::") for name in self.by)
        return tuple(f"{UNIT}{file}.py{colons}{test}" for file, colons, test in ends)


OBVIOUS = Fault(
    "obvious", "Euler's steps go nowhere", "wan/sampler.py",
    "latent = latent + (", "latent = latent + 0 * (", ("sampler",),
)  # fmt: skip

# Wiring that no fast test held before: of the plain host, and of the trainers.
WIRING = (
    Fault(
        "frames-away", "given frames are pushed away from what was given", "hosts/plain.py",
        "straight = (latent[:, :, :frames] - given.latent.to(latent))",
        "straight = (given.latent.to(latent) - latent[:, :, :frames])",
        ("plain_frames",),
    ),
    Fault(
        "frames-clock", "given frames keep the video's timestep", "hosts/plain.py",
        "return levels * ~given.replaced.to(sigma.device)", "return levels",
        ("plain_frames",),
    ),
    Fault(
        "steps-unshifted", "step windows are shares of a schedule without its shift", "hosts/plain.py",
        "share_of(float(sigma.max()), lambda part: flow_sigma(part, condition.shift))",
        "share_of(float(sigma.max()), lambda part: flow_sigma(part, 1.0))",
        ("plain_windows",),
    ),
    Fault(
        "guidance-unshifted", "guidance's step windows are shares without the shift", "hosts/plain.py",
        "guidance.table(share_of(float(sigma), lambda part: flow_sigma(part, condition.shift)))",
        "guidance.table(share_of(float(sigma), lambda part: flow_sigma(part, 1.0)))",
        ("plain_windows",),
    ),
    Fault(
        "shift-lost", "a request's shift does not reach what its windows are shares of", "hosts/pipeline.py",
        "        shift=settings.shift,\n", "",
        ("plain_windows",),
    ),
    Fault(
        "edit-unled", "a window of an edit is not led by the frame before it", "hosts/plain_edit.py",
        "first = max(0, start - 1)", "first = start",
        ("plain_edit",),
    ),
    Fault(
        "edit-last", "semantic tokens are the last window's, not the mean", "hosts/plain_edit.py",
        "torch.stack(said).mean(0)", "said[-1]",
        ("plain_edit",),
    ),
    Fault(
        "edit-frames", "given frames are not cut to an edit's window", "hosts/plain.py",
        "Given(frames.latent[:, :, part], frames.replaced[part], frames.clock)",
        "Given(frames.latent[:, :, : stop - start], frames.replaced[: stop - start], frames.clock)",
        ("plain_edit",),
    ),
    Fault(
        "edit-cells", "where references act is not cut to an edit's window", "hosts/plain.py",
        "references.cells[part]", "references.cells[: stop - start]",
        ("plain_edit",),
    ),
    Fault(
        "edit-people", "where identities are read is not cut to an edit's window", "hosts/plain.py",
        "people.cells[part]", "people.cells[: stop - start]",
        ("plain_edit",),
    ),
    Fault(
        "identity-beside", "references beside the video are not counted among who reads", "hosts/plain_identity.py",
        "text_groups(sizes, people.cells, text, video, beside, ", "text_groups(sizes, people.cells, text, video, 0, ",
        ("plain_identity",),
    ),
    Fault(
        "identity-span", "the last token of every identity is not read", "core/visibility.py",
        "index + 1: (stop - size, stop)", "index + 1: (stop - size, stop - 1)",
        ("plain_identity", "visibility"),
    ),
    Fault(
        "identity-bound", "references read identities that are bound to a region", "core/visibility.py",
        "if (cells >> index & 1).all()", "if (cells >> index & 1).any()",
        ("plain_identity", "visibility"),
    ),
    Fault(
        "recall-strength", "references whose keys are kept lose their strength", "hosts/plain_recall.py",
        "bias = None if tail.key_bias is None else F.pad", "bias = None if tail else F.pad",
        ("plain_recall",),
    ),
    Fault(
        "second-toy", "the second toy of a pair is never a reference", "training/data.py",
        "layers[:, turn % len(cast)]", "layers[:, 0]",
        ("training_data",),
    ),
    Fault(
        "loss-weights", "every part of an adapter's loss counts 1", "training/adapter.py",
        "[weight * value for weight, value in parts.values()]", "[value for _, value in parts.values()]",
        ("trainer_wiring",),
    ),
    Fault(
        "raw-sama", "SAMA's file holds the last weights, not the averaged", "training/sama.py",
        "_export(cast(SamaTrainee, optimiser.average.module), config", "_export(trainee, config",
        ("trainer_wiring",),
    ),
    Fault(
        "raw-slots", "Slot-ID's file holds the last weights, not the averaged", "training/slot_id.py",
        "learned = cast(SlotTrainee, optimiser.average.module)", "learned = trainee",
        ("trainer_wiring",),
    ),
    Fault(
        "raw-videomaker", "VideoMaker's file holds the last weights, not the averaged", "training/videomaker.py",
        "_export(optimiser.average.module, config", "_export(lora, config",
        ("trainer_wiring",),
    ),
    Fault(
        "raw-dit", "a trained DiT's files hold the last weights, not the averaged", "training/dit.py",
        "    if ranks.first:\n        export(cast(Trainee, optimiser.average.module), ",
        "    if ranks.first:\n        export(trainee, ",
        ("trainer_wiring",),
    ),
    Fault(
        "raw-vae", "a trained VAE's file holds the last weights, not the averaged", "training/vae.py",
        "vae.load_state_dict(optimiser.average.module.state_dict())", "vae.load_state_dict(vae.state_dict())",
        ("trainer_wiring",),
    ),
    Fault(
        "lora-alpha", "a LoRA's alpha is ignored", "wan/lora.py",
        'float(parts["alpha"]) / len(down) if', "1.0 if",
        ("identity",),
    ),
    Fault(
        "lora-rank", "a LoRA's alpha is not divided by its rank", "wan/lora.py",
        'float(parts["alpha"]) / len(down) if', 'float(parts["alpha"]) if',
        ("identity",),
    ),
)  # fmt: skip

# Held by fast tests from the start.
HELD = (
    Fault(
        "rope-split", "a head's features are split the other way round over frame, row and column",
        "core/positions.py",
        "parts = (head_size - 2 * third, third, third)", "parts = (third, third, head_size - 2 * third)",
        ("positions",),
    ),
    Fault(
        "reference-frame", "all references stand at frame F", "core/recipes.py",
        "(video_frames + index, 0)", "(video_frames, 0)",
        ("positions", "recipes"),
    ),
    Fault(
        "soft-mask", "a soft mask adds shares to logits, not their logarithms", "core/references.py",
        "token_cover(mask, stride)[keep].log()", "token_cover(mask, stride)[keep]",
        ("controls", "references"),
    ),
    Fault(
        "centring", "a fitted picture stands in the corner", "core/references.py",
        "top, left = (height - rows) // 2, (width - columns) // 2", "top, left = 0, 0",
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
        "(wanted - alpha[:, :, None] - beta[:, None]) / ctx.epsilon", "(wanted - alpha[:, :, None]) / ctx.epsilon",
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
        "tail-clock", "a tail's own timestep is ignored", "wan/dit.py",
        "noisiest if tail.clock is None else tail.clock", "noisiest",
        ("wan_dit",),
    ),
    Fault(
        "noisiest-clock", "a tail takes the cleanest frame's timestep", "wan/dit.py",
        "timestep.amax(dim=1)", "timestep.amin(dim=1)",
        ("wan_dit",),
    ),
    Fault(
        "causal-memory", "the VAE remembers the last chunk alone", "wan/vae.py",
        "past[self] = joined[:, :, -remembered:]", "past[self] = x[:, :, -remembered:]",
        ("wan_vae",),
    ),
    Fault(
        "folded-padding", "folded padding counts once", "wan/text.py",
        ".clamp_min(0).float().log()", ".clamp(0, 1).float().log()",
        ("text",),
    ),
    Fault(
        "null-latent", "the null pass of a zero recipe sees the references", "hosts/plain.py",
        "torch.zeros_like(one) for one in references.inputs", "one for one in references.inputs",
        ("null_pass",),
    ),
    Fault(
        "target-sign", "training learns the velocity backwards", "training/objective.py",
        "(velocity.float() - (batch.noise - batch.latent))", "(velocity.float() - (batch.latent - batch.noise))",
        ("training",),
    ),
    Fault(
        "replaced-level", "in training replaced frames have the video's noise and timestep", "training/objective.py",
        "batch.sigma[:, None] * ~batch.replaced", "batch.sigma[:, None] * (batch.replaced | True)",
        ("training",),
    ),
    Fault(
        "same-photograph", "a photograph is taken in its clip's scene", "training/photograph_data.py",
        "world.render(toys, world.other_scenes(scenes, generator), 1, size)",
        "world.render(toys, scenes, 1, size)",
        ("photograph_data",),
    ),
    Fault(
        "semantic-noise", "the shares of semantic tokens and their noise are swapped", "training/sama.py",
        "(1 - level[..., 0, 0]) * meant + level[..., 0, 0] * batch.semantic_noise",
        "level[..., 0, 0] * meant + (1 - level[..., 0, 0]) * batch.semantic_noise",
        ("sama_training::test_both_losses_are_those_of_the_published_sequence",),
    ),
    Fault(
        "recognition-clock", "recognition is asked at the video's timestep", "training/videomaker.py",
        "_recognition(dit, after, little if own else batch.sigma, batch)",
        "_recognition(dit, after, batch.sigma, batch)",
        ("videomaker_training",),
    ),
    Fault(
        "gentle-rate", "what runs once a picture learns at Muon's rate", "training/optimise.py",
        '{"params": slow, "share": GENTLE}', '{"params": slow, "share": 1.0}',
        ("slot_training::test_what_runs_once_a_picture_learns_gently",),
    ),
    Fault(
        "summed-gradients", "gradients of several processes are summed", "training/parallel.py",
        "mean.view_as(gradient) / ranks.count", "mean.view_as(gradient)",
        ("parallel",),
    ),
)  # fmt: skip

FAULTS = WIRING + HELD
