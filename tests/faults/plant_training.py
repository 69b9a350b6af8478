"""Faults of the training engine: batches of a step, optimisers, noise, failures, states."""

from plant_fault import Fault

TRAINING = (
    Fault(
        "sum-of-batches", "a step's gradient is the sum over its batches", "training/engine/loop.py",
        "(losses.total() / run.pace.accumulate)", "losses.total()",
        ("loop",),
    ),
    Fault(
        "one-turn", "every batch of a step is the same one", "training/engine/loop.py",
        "run.seed(draws, turn)", "run.seed(draws, step)",
        ("loop::test_gradients_are_the_mean_over_the_batches_of_a_step",),
    ),
    Fault(
        "late-stop", "the optimiser steps on a gradient that is not finite", "training/engine/optimisers.py",
        "if math.isfinite(norm):", "if norm != 7:",
        ("optimisers", "failures"),
    ),
    Fault(
        "late-muon", "Muon steps on a gradient that is not finite", "training/engine/optimise.py",
        "if math.isfinite(norm):", "if norm != 7:",
        ("optimisers",),
    ),
    Fault(
        "unpoisoned", "a loss of one process that is not finite is not told to the others",
        "training/engine/loop.py",
        "        poison(optimiser.parameters)", "        pass",
        ("failures",),
    ),
    Fault(
        "generator-after", "the state of a run that stops has the generator as the step left it",
        "training/engine/failures.py",
        "self._generator.set_state(self._before)", "pass",
        ("failures",),
    ),
    Fault(
        "state-not-kept", "a run that stops keeps no state", "training/engine/failures.py",
        "if save and self._state.kept != self._done:", "if False:",
        ("failures",),
    ),
    Fault(
        "every-row", "every clip of a bad batch is named, not the one", "training/engine/failures.py",
        "for place in bad or range(count)", "for place in range(count)",
        ("failures",),
    ),
    Fault(
        "skip-averages", "the average moves at a step that is left out", "training/engine/loop.py",
        "        if losses:\n            self._average.update()", "        self._average.update()",
        ("failures",),
    ),
    Fault(
        "moved-and-kept", "where memory ends after the weights moved, a state of before is said",
        "training/engine/loop.py",
        'device, save=False)', 'device, save=True)',
        ("failures",),
    ),
    Fault(
        "numbers-lost", "an optimizer's own numbers begin anew where a run goes on", "training/engine/learner.py",
        '"param_groups": groups}', '"param_groups": ours}',
        ("optimisers",),
    ),
    Fault(
        "types-lost", "an optimizer's tensors take the type of their parameter", "training/engine/learner.py",
        "inner.state[key] = _as_saved(saved, inner.state[key])", "pass",
        ("optimisers",),
    ),
    Fault(
        "tuples-lost", "tuples of an optimizer come back as lists", "training/engine/flat.py",
        'return tuple(parts) if kind == "tuple" else parts', "return parts",
        ("optimisers",),
    ),
    Fault(
        "cut-not-conditioned", "levels beyond a range are cut to its ends", "training/engine/noise.py",
        "if (self.low, self.high) != (0, 1):", "if False:",
        ("noise",),
    ),
    Fault(
        "far-tail", "levels far in the upper tail fall together", "training/engine/noise.py",
        "sign = -1.0 if low > 0 else 1.0", "sign = 1.0",
        ("noise",),
    ),
    Fault(
        "range-before-shift", "low and high are levels before the shift", "training/engine/noise.py",
        "clock = level / (self.shift - (self.shift - 1) * level)", "clock = level",
        ("noise",),
    ),
    Fault(
        "cosine-from-0", "the cosine begins at the run's start, not after the warm-up",
        "training/engine/optimisers.py",
        "progress = (step - settings.warmup)", "progress = step",
        ("optimisers",),
    ),
    Fault(
        "late-warm-up", "the first step has no rate", "training/engine/optimisers.py",
        "(step + 1) / max(settings.warmup, 1)", "step / max(settings.warmup, 1)",
        ("optimisers",),
    ),
    Fault(
        "decay-ignored", "weight decay is left out without a word", "training/engine/optimisers.py",
        "    if settings.weight_decay:\n", "    if False:\n",
        ("optimisers",),
    ),
    Fault(
        "any-source", "a run goes on with other clips", "training/engine/method.py",
        ', "data": setting.source.name}', "}",
        ("going_on",),
    ),
    Fault(
        "old-refused", "a state that does not say its clips is refused", "training/engine/state.py",
        "[key for key in here if key in there] if not field", "here if not field",
        ("going_on",),
    ),
    Fault(
        "steps-fixed", "steps of a constant rate may not be raised", "training/engine/optimisers.py",
        'if settings.schedule == "constant":', 'if settings.schedule == "never":',
        ("going_on",),
    ),
    Fault(
        "often-anyway", "states are kept by the clock, whatever the method says", "training/engine/loop.py",
        "_Every(run.steps, run.pace.save_seconds)", "_Every(run.steps)",
        ("loop",),
    ),
)  # fmt: skip
