"""Text: padding is nothing, and a prompt does not depend on its neighbours."""

import pytest
import torch
from refvid_world import text_encoder

from refvid.backbones.wan.text import fold_padding
from refvid.demo import captions
from refvid.training.base.text import take_over

SHORT, LONG = "a toy", "a ring moving right on dark background"


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return text_encoder(32)


def test_states_are_zero_after_the_last_token_and_nowhere_before(encoder):
    tokens = encoder.tokenize([SHORT])
    context = encoder.encode([SHORT])
    assert context.shape == (1, 512, 32)
    assert tokens.shape[1] == len(SHORT.split()) + 1  # </s>
    assert context[0, tokens.shape[1] :].eq(0).all()
    assert context[0, : tokens.shape[1]].abs().amax(1).gt(0).all()


def test_prompts_of_other_lengths_in_a_batch_do_not_change_each_other(encoder):
    together = encoder.encode([SHORT, LONG, ""])
    for row, prompt in enumerate((SHORT, LONG, "")):
        # Longer rows sum over more (masked) keys: fp32 rounding only.
        torch.testing.assert_close(together[row], encoder.encode([prompt])[0], rtol=0, atol=1e-5)
    assert (together[0] - together[1]).abs().max() > 1e-2


def test_an_empty_prompt_is_its_end_token_alone(encoder):
    assert encoder.tokenize([""]).tolist() == [[1]]
    assert encoder.encode([""])[0].abs().amax(1).gt(0).tolist() == [True] + [False] * 511


def test_shorter_rows_end_with_the_end_token_and_zeros(encoder):
    short, long = encoder.tokenize([SHORT, LONG]).tolist()
    length = len(SHORT.split()) + 1
    assert short[length - 1 :] == [1] + [0] * (len(long) - length)
    assert long[-1] == 1
    assert 0 not in long and 1 not in long[:-1]


def test_the_case_of_letters_does_not_matter(encoder):
    assert torch.equal(encoder.encode([LONG.title()]), encoder.encode([LONG]))
    assert encoder.unknown_words(LONG.upper()) == []


def test_every_word_of_the_world_has_a_piece_and_others_are_named(encoder):
    words = captions.vocabulary()
    assert encoder.unknown_words(" ".join(words)) == []
    assert len({tuple(row) for row in encoder.tokenize(words).tolist()}) == len(words)
    assert encoder.unknown_words("a zebra moving Fast right") == ["zebra", "Fast"]


def test_folding_counts_the_padding_once_for_each_of_its_places(encoder):
    tokens = encoder.tokenize([SHORT, LONG])
    context, bias = fold_padding(encoder.states(tokens), tokens)
    counts = bias.exp()
    words = tokens.ne(0)
    assert torch.equal(counts[:, :-1] == 1, words)
    assert torch.equal(counts[:, :-1] == 0, ~words)
    torch.testing.assert_close(counts.sum(1), torch.full((2,), 512.0), rtol=1e-6, atol=0)
    assert context[:, -1].eq(0).all()


def test_a_prompt_of_all_512_tokens_folds_without_padding():
    tokens, states = torch.ones(1, 512, dtype=torch.long), torch.ones(1, 512, 4)
    _, bias = fold_padding(states, tokens)
    assert bias[0, :-1].eq(0).all()
    assert bias[0, -1] == float("-inf")


def test_a_prompt_longer_than_512_tokens_folds_without_padding():
    tokens, states = torch.ones(1, 600, dtype=torch.long), torch.ones(1, 600, 4)
    _, bias = fold_padding(states, tokens)
    assert bias[0, -1] == float("-inf")


def test_a_text_encoder_takes_over_the_words_that_both_know(monkeypatch):
    words = captions.vocabulary()
    monkeypatch.setattr(captions, "vocabulary", lambda: words[::-2])
    old = text_encoder(32)
    monkeypatch.undo()
    new, untouched = text_encoder(32), text_encoder(32)
    untouched.model.load_state_dict(new.model.state_dict())
    take_over(new, old, "--from-text")
    assert torch.equal(new.model.shared.weight, new.model.encoder.embed_tokens.weight)
    for word in words:
        row, source = new.tokenizer.encode(word)[0], old if word in words[::-2] else untouched
        assert torch.equal(
            new.model.shared.weight[row], source.model.shared.weight[source.tokenizer.encode(word)[0]]
        )
    prompt = new.tokenize([" ".join(words[::-2])]), old.tokenize([" ".join(words[::-2])])
    torch.testing.assert_close(new.states(prompt[0]), old.states(prompt[1]), rtol=0, atol=0)
