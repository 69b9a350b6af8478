"""Compile a Triton kernel for a GPU that is not there, and read what became of it."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
KIB = 1024
SHARED = {80: 163 * KIB, 86: 99 * KIB, 89: 99 * KIB, 90: 227 * KIB, 100: 227 * KIB, 120: 99 * KIB, "gfx942": 64 * KIB}  # fmt: skip
PRODUCTS = {80: "HMMA", 86: "HMMA", 89: "HMMA", 90: "HGMMA", 100: "UTCHMMA", 120: "HMMA", "gfx942": "mfma"}
_TYPES = {torch.bfloat16: "bf16", torch.float16: "fp16", torch.float32: "fp32"}
_NUMBERS = {"Bias", "Lse", "Delta", "GradBias"}  # always fp32
_WORDS = {"Sees", "Of", "Visits", "Visitors"}


@dataclass(frozen=True)
class Compiled:
    """Needs of one program. `serial`: a warp group's products wait for each other (ptxas warns of it)."""

    registers: int
    spilled: int  # bytes; on AMD registers
    shared: int
    products: str
    serial: bool = False


def compile_for(
    target: int | str, kernel, dtype: torch.dtype, constants: dict, warps: int, stages: int
) -> Compiled:
    """`kernel` for compute capability `target` or an AMD architecture by name, as it is launched: pointers
    and strides divisible by 16."""
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else _type_of(name, dtype) for name in names}
    aligned = [n for n in names if signature[n].startswith("*") or (len(n) == 2 and signature[n] == "i32")]
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    gpu = GPUTarget("hip", target, 64) if isinstance(target, str) else GPUTarget("cuda", target, 32)
    built = triton.compile(source, target=gpu, options={"num_warps": warps, "num_stages": stages})
    return _amd(built) if isinstance(target, str) else _nvidia(built, target)


def _type_of(name: str, dtype: torch.dtype) -> str:
    if name in _NUMBERS:
        return "*fp32"
    if name in _WORDS:
        return "*i32"
    return f"*{_TYPES[dtype]}" if name[0].isupper() else "fp32" if name == "scale" else "i32"


def _nvidia(built, target: int) -> Compiled:
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(built.asm["ptx"])
        assembler = TOOLS / ("ptxas-blackwell" if target >= 100 else "ptxas")
        name = f"--gpu-name=sm_{target}{'a' if target >= 90 else ''}"
        said = subprocess.run(
            [assembler, "-v", name, source, "-o", binary], capture_output=True, text=True, check=True
        )
        code = subprocess.run(
            [TOOLS / "nvdisasm", "-c", binary], capture_output=True, text=True, check=True
        ).stdout
    log = said.stderr + said.stdout
    registers = re.search(r"Used (\d+) registers", log)
    spilled = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", log)
    assert registers and spilled, log
    return Compiled(
        registers=int(registers[1]),
        spilled=int(spilled[1]) + int(spilled[2]),
        shared=built.metadata.shared,
        products=next((one for one in ("UTCHMMA", "HGMMA", "HMMA") if one in code), "none"),
        serial=bool(re.search(r"C75\d\d", log)),
    )


def _amd(built) -> Compiled:
    code = built.asm["amdgcn"]

    def number(key: str) -> int:
        found = re.search(rf"\.{key}:?\s+(\d+)", code)
        assert found, key
        return int(found[1])

    return Compiled(
        registers=number("vgpr_count"),
        spilled=number("vgpr_spill_count"),
        shared=built.metadata.shared,
        products="mfma" if "v_mfma" in code else "none",
    )
