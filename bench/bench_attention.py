"""Question: what does this package's Triton kernel cost against everything else that masks attention?

On a CUDA GPU, side by side in one run: ours, torch's attention over the kept tokens (its default and cuDNN by force), with
a dense mask, with one bias per key (core's way), FlexAttention compiled with the same mask, comfy-kitchen's INT8
attention with a key mask; forward, and forward with backward where gradients exist. Whole blocks and steps of Wan
1.3B and 14B with random weights. No speed is printed for what is not within its error of float64.

Without a GPU: what removal saves against a dense mask in one attention call (CPU time).
"""

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from results import paired_ratio, record
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from refvid.kernels.eager import masked_attention
from refvid.kernels.segment_attention import attention_over, why_not
from refvid.kernels.segments import Segments, everyone, visits
from refvid.wan.dit import DiTConfig, Tail, WanDiT

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KEPT = 0.3  # of a reference's tokens
SIZES = {"480p": (21, 30, 52), "720p": (21, 45, 80)}  # latent frames, token rows and columns
SMALL = {"480p": (3, 6, 8), "720p": (3, 8, 8)}
MODELS = {
    "1.3B": DiTConfig(1536, 8960, 12, 30, 16, 16, 4096),
    "14B": DiTConfig(5120, 13824, 40, 40, 16, 16, 4096),
}
ERROR = 8e-3  # of bf16, relative to float64, measured on the first heads and queries
CPU = {"heads": 12, "video": 4096, "references": 1560, "kept": 475}
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """A sequence of video and reference tokens, and who sees whom in it. `removed`: all that is masked is keys that
    nobody sees, so that torch's attention over the others says the same."""

    name: str
    segments: Segments
    removed: bool


def references(size: str, count: int) -> Case:
    """Saber's mask: every reference keeps a part of its tokens."""
    frames, rows, columns = SIZES[size]
    generator = torch.Generator().manual_seed(0)
    kept = torch.rand(count * rows * columns, generator=generator) < KEPT
    of = torch.cat([torch.zeros(frames * rows * columns), kept.float() - 1]).int()[None].to(DEVICE)
    return Case(f"{size}, {count} references", Segments(torch.ones_like(of), of), True)


def regions(size: str, count: int) -> Case:
    """Every reference is seen by its own part of the video."""
    frames, rows, columns = SIZES[size]
    video, one = frames * rows * columns, int(KEPT * rows * columns)
    owner = torch.arange(video) % columns * count // columns
    of = torch.cat([torch.zeros(video), *(torch.full((one,), k + 1.0) for k in range(count))])
    sees = torch.cat([1 + 2 ** (owner + 1), torch.full((count * one,), 2 ** (count + 1) - 1)])
    return Case(
        f"{size}, {count} regions", Segments(sees.int()[None].to(DEVICE), of.int()[None].to(DEVICE)), False
    )


def block_causal(size: str) -> Case:
    """A latent frame sees itself and what came before."""
    frames, rows, columns = SIZES[size]
    of = torch.arange(frames).repeat_interleave(rows * columns)
    return Case(
        f"{size}, block-causal in time",
        Segments((2 ** (of + 1) - 1).int()[None].to(DEVICE), of.int()[None].to(DEVICE)),
        False,
    )


def contenders(case: Case) -> dict[str, Attend]:
    """Everything that can say what the case says, by name."""
    seen = case.segments
    ours = attention_over(seen)
    dense = seen.dense()[:, None]
    every: dict[str, Attend] = {
        "ours": lambda q, k, v: ours(q, k, v, None),
        "dense mask": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=dense),
        "flex": _flex(seen),
    }
    if case.removed:
        kept = (seen.of[0] >= 0).nonzero()[:, 0]
        row = torch.zeros(1, 1, 1, seen.of.shape[1], dtype=torch.bfloat16, device=DEVICE)
        row[..., seen.of[0] < 0] = -torch.inf
        whole = attention_over(everyone(len(kept), len(kept), kept.device))
        every |= {
            "removal": lambda q, k, v: F.scaled_dot_product_attention(*_at(kept, q, k, v)),
            "removal, cuDNN": _by_cudnn(lambda q, k, v: F.scaled_dot_product_attention(*_at(kept, q, k, v))),
            "removal, ours": lambda q, k, v: whole(*_at(kept, q, k, v), None),
            "one bias per key": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=row),
        }
        every |= _kitchen(row)
    return every


def _at(kept: Tensor, *values: Tensor) -> list[Tensor]:
    return [value[:, :, kept] for value in values]


def _by_cudnn(attend: Attend) -> Attend:
    def run(*values: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return attend(*values)

    return run


def _flex(seen: Segments) -> Attend:
    """With block lists from the same segments: `create_block_mask` would hold a whole table."""
    from torch.nn.attention.flex_attention import BlockMask, flex_attention

    sees, of = seen.sees[0], seen.of[0]
    table = visits(seen, 128, 128)[:, None]
    full, part, blocks = table[..., 0], table[..., 1], table[..., 2:]
    places = torch.arange(blocks.shape[-1], device=of.device)
    shifted = blocks.gather(-1, (places + full[..., None]).clamp_max(blocks.shape[-1] - 1))
    mask = BlockMask.from_kv_blocks(
        part, shifted.contiguous(), full, blocks.contiguous(), BLOCK_SIZE=128,
        mask_mod=lambda b, h, q, k: ((sees[q] >> of[k].clamp_min(0)) & 1).bool() & (of[k] >= 0),
        seq_lengths=(len(sees), len(of)),
    )  # fmt: skip
    compiled = torch.compile(flex_attention)
    return lambda q, k, v: compiled(q, k, v, block_mask=mask)


def _kitchen(row: Tensor) -> dict[str, Attend]:
    try:
        from comfy_kitchen.sage_attention import int8_attention
    except ImportError:
        print("comfy-kitchen is not installed: no INT8 attention beside ours")
        return {}
    return {"INT8, key mask": lambda q, k, v: int8_attention(q, k, v, attn_mask=row)}


def error(attend: Attend, case: Case, values: list[Tensor]) -> float:
    """Of some queries that see something, against float64. What nobody sees is not read afterwards."""
    rows = torch.arange(0, case.segments.sees.shape[1], 997, device=DEVICE)
    if case.removed:
        rows = rows[rows < (case.segments.of[0] < 0).nonzero()[0, 0]]
    query, key, value = (v[:, :2] for v in values)
    keep = Segments(case.segments.sees[:, rows], case.segments.of).dense()
    right = masked_attention(query[:, :, rows].double(), key.double(), value.double(), keep)
    return ((attend(*values)[:, :2, rows].double() - right).norm() / right.norm()).item()


def speed(attend: Attend, case: Case, values: list[Tensor], runs: int = 10) -> float:
    """TFLOP/s of a forward pass, counting the pairs of blocks of 64 that see each other at all: beside the device's own
    peak it says how far there is to go."""
    table = visits(case.segments, 64, 64)
    pairs = int(table[..., :2].sum()) * 64 * 64
    attend(*values)
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(runs):
        attend(*values)
    torch.cuda.synchronize()
    flops = 4 * pairs * values[0].shape[1] * values[0].shape[-1]
    return runs * flops / (time.perf_counter() - started) / 1e12


def those_that_are_right(case: Case, name: str, values: list[Tensor]) -> dict[str, Attend]:
    """The contenders that run here and are within their error."""
    right = {}
    for contender, attend in contenders(case).items():
        try:
            off = error(attend, case, values)
        except RuntimeError as refused:
            print(f"{name}: {contender} does not run: {str(refused).splitlines()[0]}")
            continue
        print(f"{name}: {contender}, error {off:.1e}{'' if off < ERROR else ': too far off'}")
        if off < ERROR:
            right[contender] = attend
    if "ours" not in right:
        raise SystemExit(f"{name}: ours is not right; no speed is measured on that")
    return right


def compare(case: Case, heads: int, backward: bool) -> None:
    name, length = f"{case.name}, {heads} heads", case.segments.of.shape[1]
    values = [torch.randn(1, heads, length, 128, device=DEVICE, dtype=torch.bfloat16) for _ in range(3)]
    right = those_that_are_right(case, name, values)
    ours = right.pop("ours")
    if DEVICE == "cuda":
        print(f"{name}: ours at {speed(ours, case, values):.0f} TFLOP/s of pairs that are seen")
    trained = [v.detach().requires_grad_() for v in values]

    def run(attend: Attend, given: list[Tensor]) -> Callable[[], object]:
        if given is values:
            return lambda: attend(*given)
        return lambda: torch.autograd.grad(attend(*given).sum(), given)

    for contender, attend in right.items():
        modes = (
            [("forward", values), ("forward and backward", trained)] if backward else [("forward", values)]
        )
        for mode, given in modes:
            if given is trained and (
                contender.startswith("INT8") or (contender == "flex" and DEVICE == "cpu")
            ):
                continue  # has no gradients there
            ratio = paired_ratio(run(attend, given), run(ours, given))
            record("attention", f"{name}, {mode}: {contender} / ours", ratio)


def whole_models(size: str = "480p", count: int = 4) -> None:
    """One block and one step of a DiT with random weights, ours against torch's attention over the same kept tokens."""
    frames, rows, columns = SIZES[size]
    for name, config in MODELS.items():
        for layers in (1, config.layers):
            with torch.device(DEVICE):
                dit = WanDiT(DiTConfig(**{**vars(config), "layers": layers})).bfloat16().eval()
            latent = torch.randn(1, 16, frames, 2 * rows, 2 * columns, device=DEVICE, dtype=torch.bfloat16)
            text = torch.randn(1, 512, 4096, device=DEVICE, dtype=torch.bfloat16)
            kept = int(KEPT * rows * columns) * count
            tokens = torch.randn(1, kept, config.width, device=DEVICE, dtype=torch.bfloat16)
            angles = torch.randn(1, kept, 64, device=DEVICE)
            length = frames * rows * columns + kept
            ours = attention_over(everyone(length, length, latent.device))

            def forward(attend=None, dit=dit, latent=latent, text=text, tokens=tokens, angles=angles):
                with torch.no_grad():
                    return dit(latent, torch.tensor([500.0], device=DEVICE), text, tail=Tail(tokens, angles, attend=attend))  # fmt: skip

            ratio = paired_ratio(forward, lambda ours=ours, forward=forward: forward(ours), runs=5)
            record(
                "attention", f"{size}, {count} references, {name}, {layers} blocks: torch / ours", ratio, 5
            )


def on_the_cpu() -> None:
    torch.set_num_threads(1)
    length = CPU["video"] + CPU["references"]
    kept = torch.cat([torch.ones(CPU["video"]), torch.zeros(CPU["references"])]).bool()
    kept[CPU["video"] : CPU["video"] + CPU["kept"]] = True
    query, key, value = torch.randn(3, 1, CPU["heads"], length, 128)
    mask = kept.expand(1, 1, length, length).contiguous()
    less = [v[:, :, kept].contiguous() for v in (query, key, value)]
    masked = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)[:, :, kept]
    assert (masked - F.scaled_dot_product_attention(*less)).abs().max() < 1e-5
    ratio = paired_ratio(
        lambda: F.scaled_dot_product_attention(query, key, value, attn_mask=mask),
        lambda: F.scaled_dot_product_attention(*less),
        runs=5,
        warm=1,
    )
    case = (
        f"{CPU['video']} + {CPU['references']} tokens, {CPU['kept']} kept, {CPU['heads']} heads of 128, fp32"
    )
    record("attention", f"{case}: dense mask / removal", ratio, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="tiny sizes and no models: to see that it runs")
    small = parser.parse_args().small
    reason = why_not(torch.device(DEVICE), torch.bfloat16)
    if reason is not None:
        print(f"our kernel is not timed: {reason}")
        on_the_cpu()
        return
    SIZES.update(SMALL if small else {})
    for size, heads in itertools.product(SIZES, (2,) if small else (12, 40)):
        cases = [references(size, count) for count in (1, 3, 4, 8)]
        for case in (*cases, regions(size, 4), block_causal(size)):
            compare(case, heads, backward=size == "480p")
    if not small:
        whole_models()


if __name__ == "__main__":
    main()
