"""UMT5 of any size (transformers), in the file format ComfyUI uses: encoder weights and `spiece_model` in one
file."""

from dataclasses import astuple
from pathlib import Path

import torch
from torch import Tensor, nn

from ...core.checkpoint import read_shapes, read_some
from .files import TOKENIZER, encoder_weights, require_tokenizer, umt5_sizes
from .geometry import CONTEXT_LENGTH
from .loading import fill_parameters, on_meta

PADDING = 0


def umt5(vocabulary: int, width: int, layers: int, heads: int, head_size: int, ffn_width: int):
    """An UMT5 encoder of the given sizes, freshly initialised."""
    from transformers import UMT5Config, UMT5EncoderModel

    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=vocabulary, d_model=width, num_layers=layers, num_heads=heads, d_kv=head_size, d_ff=ffn_width,
            dropout_rate=0.0, feed_forward_proj="gated-gelu", pad_token_id=PADDING,
        )
    )  # fmt: skip


class TextEncoder:
    """Prompts to the context of the DiT: UMT5 states, zero after the last token."""

    def __init__(self, model, spiece_model: bytes):
        from sentencepiece import SentencePieceProcessor

        self.model = model
        self.spiece_model = spiece_model
        self.tokenizer = SentencePieceProcessor(model_proto=spiece_model)

    def tokenize(self, prompts: list[str]) -> Tensor:
        """-> token ids (B, S) int64, each row ending with </s>, padded with 0 to the longest. ValueError for
        bytes that are no text."""
        for prompt in prompts:
            if not prompt.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in prompt):
                raise ValueError(f"prompt: {prompt!r} is no text in UTF-8")
        rows = [[*self.tokenizer.encode(prompt), self.tokenizer.eos_id()] for prompt in prompts]
        longest = max(map(len, rows))
        return torch.tensor([row + [PADDING] * (longest - len(row)) for row in rows])

    def unknown_words(self, prompt: str) -> list[str]:
        """Words the vocabulary cannot spell: the model never saw them."""
        unknown = self.tokenizer.unk_id()
        return [word for word in prompt.split() if unknown in self.tokenizer.encode(word)]

    def states(self, tokens: Tensor) -> Tensor:
        """Token ids (B, S) -> states (B, S, C), zero on padding; differentiable."""
        attended = tokens.ne(PADDING)
        # A padded row must attend to something; </s> always stands.
        states = self.model(input_ids=tokens, attention_mask=attended.long()).last_hidden_state
        return states * attended.unsqueeze(-1)

    def tensors(self) -> dict[str, Tensor]:
        """Tensors of its file: every weight once, and the tokenizer."""
        weights = {k: v for k, v in self.model.state_dict().items() if k != "encoder.embed_tokens.weight"}
        return {**weights, "spiece_model": torch.frombuffer(bytearray(self.spiece_model), dtype=torch.uint8)}

    @torch.no_grad()
    def encode(self, prompts: list[str]) -> Tensor:
        """-> context (B, S, C), S = 512 or the longest prompt, in the model's dtype and on its device."""
        tokens = self.tokenize(prompts).to(next(self.model.parameters()).device)
        states = self.states(tokens)
        return nn.functional.pad(states, (0, 0, 0, max(0, CONTEXT_LENGTH - states.shape[1])))


def load_text_encoder(
    path: str | Path, dtype: torch.dtype = torch.float32, device: str = "cpu", what: str = "--text-encoder"
) -> TextEncoder:
    """UMT5 in ComfyUI's format, of any size."""
    name = f"{what}: {Path(path).name}"
    sizes = umt5_sizes(read_shapes(path, what)[0], name)
    pieces = read_some(path, what, TOKENIZER.__eq__)[TOKENIZER].numpy().tobytes()
    require_tokenizer(pieces, sizes.vocabulary, name)
    model = on_meta(umt5, *astuple(sizes))
    model = fill_parameters(model, path, what, dtype, device, encoder_weights)
    model.encoder.set_input_embeddings(model.shared)  # one table under two names, torn apart by loading
    return TextEncoder(model, pieces)


def fold_padding(states: Tensor, tokens: Tensor, length: int = CONTEXT_LENGTH) -> tuple[Tensor, Tensor]:
    """Fold the padding of cross-attention's text: `length - n` equal padding tokens are one token counted
    that often.

    states (B, S, C), zero on padding; tokens (B, S) -> context (B, S + 1, C) and key bias (B, S + 1). The
    bias is 0 for a word, log(length - n) for the one padding token, -inf for the rest. Exact (softmax over
    repeated keys).
    """
    words = tokens.ne(PADDING)
    context = nn.functional.pad(states, (0, 0, 0, 1))
    bias = torch.zeros(words.shape, device=states.device).masked_fill(~words, float("-inf"))
    return context, torch.cat([bias, (length - words.sum(1, keepdim=True)).clamp_min(0).float().log()], dim=1)
