"""Tensors and kind of a file: sides, shapes, types and versions, each named where it is not."""

import pytest
import torch

from refvid.core.checkpoint import KIND, MOST_SIDE, VERSION, Shapes, require_kind, require_tensors


def empty(*shape: int, dtype: torch.dtype = torch.float16) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


@pytest.mark.parametrize("shape", [(1, 1), (MOST_SIDE, 3)])
def test_sides_within_their_bounds_are_told(shape):
    assert Shapes({"w": empty(*shape)}, "it").sides("w", 2) == [*shape]


@pytest.mark.parametrize("shape", [(0, 2), (2, 0), (MOST_SIDE + 1, 2), (2,), (2, 2, 1), ()])
def test_sides_out_of_bounds_and_other_ranks_are_named(shape):
    with pytest.raises(ValueError, match=rf"^it: w is .*; needed 2 sides, each from 1 to {MOST_SIDE}"):
        Shapes({"w": empty(*shape)}, "it").sides("w", 2)


@pytest.mark.parametrize(
    ("came", "says"),
    [
        (empty(3, 2), r"w is \[3, 2\], needed \[2, 3\]"),
        (empty(6), r"w is \[6\], needed \[2, 3\]"),
        (empty(2, 3, dtype=torch.int8), r"w is torch\.int8; needed fp32"),
        (empty(2, 3, dtype=torch.bool), r"w is torch\.bool; needed fp32"),
        (empty(2, 3, dtype=torch.complex64), r"w is torch\.complex64; needed fp32"),
    ],
)
def test_a_tensor_of_another_shape_or_type_is_named(came, says):
    wanted = {"v": empty(1), "w": empty(2, 3)}
    require_tensors({"v": empty(1), "w": empty(2, 3, dtype=torch.float32)}, wanted, "it")
    with pytest.raises(ValueError, match=f"^it: {says}"):
        require_tensors({"v": empty(1), "w": came}, wanted, "it")


def test_one_tensor_too_few_or_too_many_is_named():
    wanted = {"v": empty(1), "w": empty(1)}
    with pytest.raises(ValueError, match=r"^it has no w \(1 such keys\)"):
        require_tensors({"v": empty(1)}, wanted, "it")
    with pytest.raises(
        ValueError, match=r"^it also has x \(1 such keys\); needed those of its kind alone, or not"
    ):
        require_tensors({**wanted, "x": empty(1)}, wanted, "it", ", or not")


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ({}, "it is no identity file"),
        ({VERSION: "1"}, "it is no identity file"),
        (
            {KIND: "sama", VERSION: "1"},
            "it is no identity file: it is an editing adapter; .* Load Editing Adapter",
        ),
        ({KIND: "slot_id"}, "it is a Slot-ID adapter; .* --adapter beside --identity"),
        ({KIND: "videomaker"}, "it is a LoRA; .* --lora"),
        ({KIND: "poem"}, "has no refvid.kind = identity.; make one"),
        ({KIND: "identity"}, "it has version None, this refvid reads 1"),
        ({KIND: "identity", VERSION: "2"}, "it has version 2, this refvid reads 1"),
    ],
)
def test_another_kind_or_version_is_named_and_one_that_is_not_said(metadata, says):
    require_kind({KIND: "identity", VERSION: "1"}, "identity", "1", "it", "make one")
    with pytest.raises(ValueError, match=says):
        require_kind(metadata, "identity", "1", "it", "make one")


def test_an_identity_in_an_adapters_place_is_told_where_it_belongs():
    with pytest.raises(ValueError, match=r"it is no sama file: it is an identity; .* --identity"):
        require_kind({KIND: "identity", VERSION: "1"}, "sama", "1", "it", "give another")
