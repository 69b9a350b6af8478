"""Question: what does checking every value of a model file cost, against reading the file into memory, which
follows it?

A file of 1 GiB in fp16, and one in fp8, that the system holds in its cache: the worst case for the check.
From a disk of 2 GB/s reading alone takes longer than both.
"""

import tempfile
from pathlib import Path

import torch
from results import paired_ratio, record
from safetensors import safe_open
from safetensors.torch import save_file

from refvid.core.checkpoint import require_values

TENSORS, BYTES = 64, 1 << 24


def copied(path: Path) -> list[torch.Tensor]:
    """Every tensor of a file, in memory of its own, as a host that does not map files has it."""
    with safe_open(path, framework="pt") as file:
        return [file.get_tensor(key).clone() for key in file.keys()]  # noqa: SIM118


def main() -> None:
    torch.set_num_threads(1)
    for dtype in (torch.float16, torch.float8_e4m3fn):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "model.safetensors")
            numbers = torch.randn(BYTES // dtype.itemsize).to(dtype)
            save_file({f"layer.{index}": numbers.clone() for index in range(TENSORS)}, path)
            ratio = paired_ratio(
                lambda path=path: require_values(path, "x"), lambda path=path: copied(path), runs=5
            )
            record(
                "loading", f"1 GiB in {str(dtype).removeprefix('torch.')}: check / copy into memory", ratio
            )


if __name__ == "__main__":
    main()
