"""Faults of wiring that no fast test caught once: of the plain host, and of the trainers."""

from plant_fault import Fault

WIRING = (
    Fault(
        "frames-away", "given frames are pushed away from what was given", "hosts/plain/frames.py",
        "straight = (latent[:, :, :frames] - self.given.latent.to(latent))", "straight = (self.given.latent.to(latent) - latent[:, :, :frames])",
        ("plain_frames",),
    ),
    Fault(
        "frames-clock", "given frames keep the video's timestep", "hosts/plain/frames.py",
        "return rows * ~replaced", "return rows",
        ("plain_frames",),
    ),
    Fault(
        "steps-unshifted", "step windows are shares of a schedule without its shift", "hosts/plain/tail.py",
        "flow_sigma(part, how.shift)", "flow_sigma(part, 1.0)",
        ("plain_step_windows",),
    ),
    Fault(
        "guidance-unshifted", "guidance's step windows are shares without the shift", "hosts/plain/sampling.py",
        "guidance.table(share_of(float(sigma), lambda part: flow_sigma(part, condition.shift)))",
        "guidance.table(share_of(float(sigma), lambda part: flow_sigma(part, 1.0)))",
        ("plain_step_windows",),
    ),
    Fault(
        "shift-lost", "a request's shift does not reach what its windows are shares of", "hosts/plain/pipeline.py",
        "        shift=settings.shift,\n", "",
        ("plain_step_windows",),
    ),
    Fault(
        "attention-lost", "the attention that a request names is not asked for", "hosts/plain/pipeline.py",
        "        attention=request.attention,\n", "",
        ("plain_pipeline",),
    ),
    Fault(
        "people-lost", "a request's identities are not read", "hosts/plain/pipeline.py",
        "(encoded, request.people, frames, request.source, *request.riders)", "(encoded, frames, request.source, *request.riders)",
        ("plain_pipeline",),
    ),
    Fault(
        "negative-lost", "the negative prompt is the prompt", "hosts/plain/pipeline.py",
        '"negative": request.negative}', '"negative": request.prompt}',
        ("plain_pipeline",),
    ),
    Fault(
        "seed-lost", "every run begins with one noise", "hosts/plain/pipeline.py",
        "manual_seed(settings.seed)", "manual_seed(0)",
        ("plain_pipeline",),
    ),
    Fault(
        "edit-seed", "semantic tokens begin with one noise", "hosts/plain/pipeline.py",
        "condition.begin(noise, settings.seed)", "condition.begin(noise, 0)",
        ("plain_pipeline",),
    ),
    Fault(
        "edit-negative", "an edit's negative prompt is empty, not the prefix", "hosts/plain/edit_film.py",
        "negative=PREFIX", 'negative=""',
        ("plain_pipeline",),
    ),
    Fault(
        "image-tokens", "a backbone that reads image tokens is given none", "hosts/plain/sampling.py",
        "image_features=dit.no_image(batch)", "image_features=None",
        ("plain_pipeline",),
    ),
    Fault(
        "long-clock", "key pictures of a long video have a clock of their own, whatever is asked",
        "hosts/plain/long_video.py",
        "plan.given(pair, clock)", 'plan.given(pair, "own")',
        ("cli_long::test_a_segment_is_asked_for_between_its_two_keys_by_its_own_prompt_and_clock",),
    ),
    Fault(
        "given-clock", "given frames have a clock of their own, whatever is asked", "core/frames.py",
        "GivenFrames(latent, replaced, placed.clock)", "GivenFrames(latent, replaced)",
        ("plain_pipeline::test_each_part_of_a_request_changes_the_video",),
    ),
    Fault(
        "edit-strength", "the strength of an editing adapter's LoRA is ignored", "hosts/plain/edit_film.py",
        "merge_lora(dit, lora, strength,", "merge_lora(dit, lora, 1.0,",
        ("editing::test_an_editing_adapter_s_lora_counts_by_its_strength",),
    ),
    Fault(
        "anchor-first", "an identity's anchor is the first picture, whichever was chosen",
        "hosts/plain/identities.py",
        "slice(video.anchor, video.anchor + 1)", "slice(0, 1)",
        ("plain_identities",),
    ),
    Fault(
        "padding-lost", "a masked-input backbone is fed zeros, not a grey video", "hosts/plain/pipeline.py",
        "settings.frames, settings.height, settings.width) if masked",
        "settings.frames, settings.height, settings.width) * 0 if masked",
        ("plain_pipeline",),
    ),
    Fault(
        "asked-identity-strength", "--identity-strength is ignored", "cli/identity.py",
        "or IDENTITY_PARTS[0]), strength)", "or IDENTITY_PARTS[0]))",
        ("cli_request",),
    ),
    Fault(
        "asked-identity-lora", "--identity does not bring its adapter's LoRA", "cli/identity.py",
        '    merge_lora(backbone.dit, adapter.lora, what="--adapter")\n', "",
        ("cli_request",),
    ),
    Fault(
        "asked-clock", "--clock is ignored", "cli/frames.py",
        "options.clock or CLOCKS[0]", "CLOCKS[0]",
        ("cli_request",),
    ),
    Fault(
        "asked-guidance-window", "--guidance-window is ignored", "cli/guidance.py",
        'options.guidance_window or "0:1"', '"0:1"',
        ("cli_request",),
    ),
    Fault(
        "asked-sees", "--sees is ignored", "cli/reference.py",
        'by one", str, "sees")', 'by one", str)',
        ("cli_request",),
    ),
    Fault(
        "asked-edit-guidance", "options of guidance are ignored in edits", "cli/edit.py",
        "        guidance=read_guidance(options, settings),\n", "",
        ("cli_request",),
    ),
    Fault(
        "region-lost", "a reference acts everywhere, whatever its region and its frames",
        "hosts/plain/references.py",
        "reach_words(reaches, *grid) if limited else None", "None",
        ("plain_pipeline",),
    ),
    Fault(
        "half-rounded", "a run in half precision rounds its latent at every step", "hosts/plain/sampling.py",
        "guided_velocity(dit, condition, guidance), noise, sigmas",
        "guided_velocity(dit, condition, guidance), noise.to(dit.dtype), sigmas",
        ("plain_pipeline",),
    ),
    Fault(
        "edit-unled", "a window of an edit is not led by the frame before it", "hosts/plain/sampling.py",
        "first = max(0, start - 1)", "first = start",
        ("plain_edit_windows",),
    ),
    Fault(
        "edit-last", "semantic tokens are the last window's, not the mean", "hosts/plain/sampling.py",
        "torch.stack(spare_parts).mean(0)", "spare_parts[-1]",
        ("plain_edit_windows",),
    ),
    Fault(
        "edit-frames", "given frames are not cut to an edit's window", "hosts/plain/frames.py",
        "self.given.over(start, stop)", "self.given.over(0, stop - start)",
        ("plain_edit_windows",),
    ),
    Fault(
        "edit-cells", "where references act is not cut to an edit's window", "hosts/plain/references.py",
        "self.cells[start:stop]", "self.cells[: stop - start]",
        ("plain_edit_windows",),
    ),
    Fault(
        "edit-people", "where identities are read is not cut to an edit's window", "hosts/plain/identities.py",
        "self.cells[start:stop]", "self.cells[: stop - start]",
        ("plain_edit_windows",),
    ),
    Fault(
        "identity-beside", "references beside the video are not counted among who reads",
        "hosts/plain/tail.py",
        "text, video, readers, dit", "text, video, 0, dit",
        ("plain_identities",),
    ),
    Fault(
        "identity-span", "the last token of every identity is not read", "core/visibility.py",
        "index + 1: (stop - size, stop)", "index + 1: (stop - size, stop - 1)",
        ("plain_identities", "visibility"),
    ),
    Fault(
        "identity-bound", "references read identities that are bound to a region", "core/visibility.py",
        "if (cells >> index & 1).all()", "if (cells >> index & 1).any()",
        ("plain_identities", "visibility"),
    ),
    Fault(
        "recall-strength", "references whose keys are kept lose their strength", "hosts/plain/recall.py",
        "bias = None if tail.key_bias is None else F.pad", "bias = None if tail else F.pad",
        ("plain_recall",),
    ),
    Fault(
        "second-toy", "the second toy of a pair is never a reference", "training/base/dit/rows.py",
        "layers[:, turn % footage.subjects]", "layers[:, 0]",
        ("dit_rows",),
    ),
    Fault(
        "loss-weights", "every part of a loss counts 1", "training/engine/loop.py",
        "[weight * value for weight, value in self.parts.values()]", "[value for _, value in self.parts.values()]",
        ("trainer_wiring",),
    ),
    Fault(
        "raw-weights", "files hold the last weights, not the averaged", "training/engine/method.py",
        "averaged = learner.average.module", "averaged = trainee",
        ("trainer_wiring",),
    ),
    Fault(
        "raw-export", "`export` writes the last weights, not the averaged", "training/base/dit/method.py",
        "averaged = cast(DiTTrainee, learner.average.module)", "averaged = trainee",
        ("dit_training::test_the_files_of_a_run_that_has_ended_can_be_written_again",),
    ),
    Fault(
        "still-average", "the average never moves", "training/engine/loop.py",
        "self._average.update()", "pass",
        ("trainer_wiring",),
    ),
    Fault(
        "mask-ablation", "the ablation without the attention mask trains with it", "training/base/dit/method.py",
        "config.recipe, config.attention_mask)", "config.recipe)",
        ("trainer_wiring",),
    ),
    Fault(
        "references-how", "a run's references are cut in the usual way, whatever it says", "training/base/dit/rows.py",
        "turn % 2 == 0 else config.how", "turn % 2 == 0 else type(config.how)()",
        ("dit_rows",),
    ),
    Fault(
        "warm-up", "an adapter learns at its whole rate from the first step", "training/engine/adapter.py",
        "return warm_hold_decay(step, self.steps(config))", "return 1.0",
        ("trainer_wiring",),
    ),
    Fault(
        "cache-words", "encoded clips are read whatever the tokenizer is", "training/engine/encode.py",
        " {sha256(self.text.spiece_model).hexdigest()}", "",
        ("encode",),
    ),
    Fault(
        "cache-source", "encoded clips are read whatever the source is", "training/engine/encode.py",
        "{self._digests} {self.source.name} {numbers}", "{self._digests} {numbers}",
        ("encode",),
    ),
    Fault(
        "one-batch", "every step of a run draws alike", "training/engine/adapter.py",
        "config.seed * self.steps(config) + turn", "config.seed * self.steps(config)",
        ("trainer_wiring",),
    ),
    Fault(
        "one-rank", "a batch's gradients are not averaged over the processes", "training/engine/loop.py",
        "average_gradients(optimiser.parameters, run.ranks)", "None",
        ("loop",),
    ),
    Fault(
        "late-save", "a state is saved before the preview of its step", "training/engine/loop.py",
        "[*callbacks, _Log(run), _Save(run, draws)]", "[_Save(run, draws), *callbacks, _Log(run)]",
        ("loop",),
    ),
    Fault(
        "lora-alpha", "a LoRA's alpha is ignored", "backbones/wan/lora.py",
        'float(parts["alpha"]) / len(down) if', "1.0 if",
        ("identity",),
    ),
    Fault(
        "lora-rank", "a LoRA's alpha is not divided by its rank", "backbones/wan/lora.py",
        'float(parts["alpha"]) / len(down) if', 'float(parts["alpha"]) if',
        ("identity",),
    ),
    Fault(
        "rows-seen", "rows of a batch see each other's reference tokens", "hosts/plain/tail.py",
        "masked_fill(~seen, -torch.inf)", "masked_fill(~seen.any(0), -torch.inf)",
        ("plain_rows",),
    ),
    Fault(
        "rows-people", "rows of a batch read tokens of people that are another row's",
        "hosts/plain/identities.py",
        "masked_fill(~torch.cat(seen, dim=1), ", "masked_fill(~torch.cat(seen, dim=1).any(0), ",
        ("plain_rows",),
    ),
    Fault(
        "rows-levels", "noisy references have the timestep of clean ones", "hosts/plain/tail.py",
        "whole.level * clock", "whole.level * 0",
        ("plain_rows",),
    ),
    Fault(
        "rows-padding", "the padding of a text counts once, not as often as it was folded", "hosts/plain/sampling.py",
        "context_bias=text.bias", "context_bias=None",
        ("plain_rows",),
    ),
    Fault(
        "riders-cells", "a source behind references in regions acts in no cell", "core/reach.py",
        "return everywhere(one, range(count, count + more))", "return one",
        ("plain_tail",),
    ),
)  # fmt: skip
