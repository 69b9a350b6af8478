"""A small UMT5 over a list of words, from nothing; trained together with a DiT."""

import io
from collections.abc import Sequence

import torch
from torch import Tensor

from ...backbones.wan.text import TextEncoder, umt5


def word_pieces(words: list[str]) -> bytes:
    """A sentencepiece model with one piece per word, case folded; </s> is 1, padding 0, unknown 2 as in
    UMT5."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words)] * 4), model_writer=model, model_type="word",
        vocab_size=len(words) + 3, hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        normalization_rule_name="nmt_nfkc_cf", minloglevel=2,
    )  # fmt: skip
    return model.getvalue()


def fresh_text_encoder(width: int, vocabulary: Sequence[str]) -> TextEncoder:
    """An untrained UMT5 of two layers that knows these words. ValueError where one of them gets no piece."""
    words = list(vocabulary)
    encoder = TextEncoder(umt5(len(words) + 3, width, 2, 4, width // 4, 2 * width), word_pieces(words))
    unknown = encoder.unknown_words(" ".join(words))
    if unknown:
        raise ValueError(f"vocabulary: {unknown[0]} gets no piece; needed words without spaces")
    return encoder


@torch.no_grad()
def take_over(text: TextEncoder, other: TextEncoder, what: str) -> None:
    """Give `text` the weights of `other`; words that `other` does not know keep their own row. ValueError,
    naming `what`, where the two are not of one size."""
    # piece -> row of the table: each vocabulary counts its words in its own order
    known, rows = (
        {one.tokenizer.id_to_piece(row): row for row in range(one.tokenizer.get_piece_size())}
        for one in (other, text)
    )
    weights, own = other.model.state_dict(), text.model.state_dict()
    table = own["shared.weight"].clone()
    if _sizes(weights) != _sizes(own):
        raise ValueError(
            f"{what}: an encoder of width {other.model.config.d_model} and {other.model.config.num_layers} layers; "
            f"the run's has {text.model.config.d_model} and {text.model.config.num_layers}"
        )
    for piece in rows.keys() & known.keys():
        table[rows[piece]] = weights["shared.weight"][known[piece]]
    # One table under two names, as UMT5 ties them.
    tables = {"shared.weight": table, "encoder.embed_tokens.weight": table}
    text.model.load_state_dict({**weights, **tables})


def _sizes(weights: dict[str, Tensor]) -> dict[str, list[int]]:
    """Shapes of an encoder's weights, but for how many words its tables have."""
    tables = ("shared.weight", "encoder.embed_tokens.weight")
    return {key: list(value.shape[1:] if key in tables else value.shape) for key, value in weights.items()}
