"""What a LoRA's parts have to be to change a weight: looked at by shape and type alone, so that nothing large is made."""

import pytest
import torch

from refvid.core.lora import MOST_RANK, changes

LAYER, WEIGHTS = "blocks.0.ffn.0", {"blocks.0.ffn.0.weight": torch.empty(8, 6, device="meta")}


def empty(*shape: int, dtype: torch.dtype = torch.float16) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def pair(rank: int, rows: int = 8, columns: int = 6, **other: torch.Tensor) -> dict[str, torch.Tensor]:
    parts = {"lora_B.weight": empty(rows, rank), "lora_A.weight": empty(rank, columns)}
    return {f"{LAYER}.{end}": value for end, value in {**parts, **other}.items()}


@pytest.mark.parametrize(
    "lora",
    [
        pair(1),
        pair(MOST_RANK),
        pair(2, alpha=torch.tensor(2)),
        pair(2, alpha=torch.ones(1, dtype=torch.bfloat16)),
        {f"{LAYER}.diff": empty(8, 6)},
    ],
)
def test_what_fits_is_taken(lora):
    assert changes(lora, WEIGHTS, "it").keys() == WEIGHTS.keys()


@pytest.mark.parametrize(
    ("lora", "says"),
    [
        (pair(0), "needed a matrix of rank 1 to"),
        (pair(MOST_RANK + 1), "needed a matrix of rank 1 to"),
        (
            pair(2, 4, 12),
            r"lora_B\.weight changes blocks\.0\.ffn\.0\.weight by \[4, 12\]; in this DiT it is \[8, 6\]",
        ),
        (pair(2, 8, 7), r"by \[8, 7\]"),
        ({f"{LAYER}.diff": empty(4, 12)}, r"diff changes blocks\.0\.ffn\.0\.weight by \[4, 12\]"),
        ({f"{LAYER}.diff": empty(48)}, r"by \[48\]"),
        ({f"{LAYER}.diff": empty(8, 6, dtype=torch.float8_e4m3fn)}, "is torch.float8_e4m3fn; needed fp32"),
        ({f"{LAYER}.diff": empty(8, 6, dtype=torch.complex64)}, "is torch.complex64; needed fp32"),
        (pair(2, alpha=torch.tensor(True)), r"alpha is torch\.bool; needed a number"),
        (pair(2, alpha=torch.tensor(1j)), r"alpha is torch\.complex64; needed a number"),
        (pair(2, alpha=torch.ones(0)), r"alpha is \[0\]; needed one number"),
    ],
)
def test_what_does_not_fit_is_named(lora, says):
    with pytest.raises(ValueError, match=f"^it: {LAYER}.*{says}"):
        changes(lora, WEIGHTS, "it")
