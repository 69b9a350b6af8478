"""The demo's text encoder: a small UMT5 over the words of the demo world, trained together with the DiT."""

import io

from ..demo import captions
from ..wan.text import TextEncoder, umt5


def word_pieces(words: list[str]) -> bytes:
    """A sentencepiece model with one piece per word, case folded; </s> is 1, padding 0, unknown 2 as in UMT5."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(words)] * 4), model_writer=model, model_type="word",
        vocab_size=len(words) + 3, hard_vocab_limit=False, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        normalization_rule_name="nmt_nfkc_cf", minloglevel=2,
    )  # fmt: skip
    return model.getvalue()


def fresh_text_encoder(width: int) -> TextEncoder:
    """An untrained UMT5 of two layers that knows the demo world's vocabulary."""
    pieces = word_pieces(captions.vocabulary())
    encoder = TextEncoder(umt5(len(captions.vocabulary()) + 3, width, 2, 4, width // 4, 2 * width), pieces)
    if encoder.unknown_words(" ".join(captions.vocabulary())):
        raise ValueError("vocabulary: a word of the demo world has no piece")
    return encoder
