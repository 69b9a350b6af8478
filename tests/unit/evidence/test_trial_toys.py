"""Toys of trials: drawn by seeds that no training has."""

import pytest
import torch
from torch import Generator

from refvid.core.editing import edit_prompt
from refvid.core.slots import SlotsConfig
from refvid.demo import casting, edits
from refvid.evidence.trials.clips import UNSEEN_SEED
from refvid.evidence.trials.edits import LEAST_CHANGE, EditTrial, _distance
from refvid.evidence.trials.identity import IdentityTrial
from refvid.evidence.trials.references import Trial
from refvid.evidence.trials.views import ViewTrial
from refvid.evidence.trials.words import WordTrial
from refvid.hosts.plain.pipeline import Settings

TRIALS = {
    0: lambda: Trial(4, 5, 32),
    1: lambda: IdentityTrial(4, Settings(width=32, height=32, frames=5), SlotsConfig(16, 48, size=32)),
    3: lambda: WordTrial(4, 5, 32).trial,
    4: lambda: ViewTrial(4, 5, 32),
}


@pytest.mark.parametrize("turn", TRIALS)
def test_toys_of_a_trial_are_of_its_own_unseen_seed(turn):
    drawn = casting.sample_identities(4, Generator().manual_seed(UNSEEN_SEED + turn))
    assert torch.equal(TRIALS[turn]().toys.primary, drawn.primary)


@pytest.mark.parametrize("kind", edits.EDIT_KINDS)
def test_edits_of_a_kind_are_of_its_own_unseen_seed(kind):
    generator = Generator().manual_seed(UNSEEN_SEED + 10 + edits.EDIT_KINDS.index(kind))
    drawn = edits.sample_edits(kind, 8, generator, 5, 32)
    seen = _distance(drawn.source, drawn.target, drawn.region) >= LEAST_CHANGE
    said = [edit_prompt(one) for one, shown in zip(drawn.instructions, seen.tolist(), strict=True) if shown]
    assert EditTrial(kind, 2, 5, 32).prompts == said[:2]
