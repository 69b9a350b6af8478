"""The kernels compiled for GPUs that are not here: registers, shared memory, tensor cores."""

import importlib.util
import itertools

import pytest
import torch

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is not installed (Linux only)", allow_module_level=True)

from refvid_compile import PRODUCTS, SHARED, compile_for

from refvid.kernels.tiles import ARCHITECTURES, HEAD_SIZES, WIDE_TILES, TilePlan, Tiles
from refvid.kernels.triton.backward import backward_keys, backward_queries
from refvid.kernels.triton.forward import forward

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
KERNELS = {"forward": forward, "queries": backward_queries, "keys": backward_keys}
EVERY = list(itertools.product(ARCHITECTURES, KERNELS, (BF16, FP16, FP32), HEAD_SIZES, (True, False)))
# What people run: bf16, heads of 128, a bias.
USUAL = [
    (arch, name, BF16, 128, True) for arch, name in itertools.product(ARCHITECTURES, KERNELS) if arch != 86
]


def checked(target, name: str, dtype: torch.dtype, size: int, biased: bool) -> None:
    plan: TilePlan = WIDE_TILES if dtype == FP32 else ARCHITECTURES[target][size]
    tiles: Tiles = getattr(plan, name)
    constants = {"HAS_BIAS": biased, "ROWS": tiles.rows, "COLUMNS": tiles.columns, "D": size}
    built = compile_for(target, KERNELS[name], dtype, constants, tiles.warps, tiles.stages)
    assert built.spilled == 0 and built.shared <= SHARED[target] and not built.serial, built
    assert dtype == FP32 or built.products == PRODUCTS[target], built


@pytest.mark.parametrize(("target", "name", "dtype", "size", "biased"), USUAL)
def test_what_people_run_spills_nothing_and_fits(target, name, dtype, size, biased):
    checked(target, name, dtype, size, biased)


@pytest.mark.slow
@pytest.mark.parametrize(("target", "name", "dtype", "size", "biased"), EVERY)
def test_everything_spills_nothing_and_fits(target, name, dtype, size, biased):
    checked(target, name, dtype, size, biased)
