"""Race between attentions that are exact for the same call. Each is held against float64, then they are timed
side by side on random tensors. Who wins is a property of a GPU and its software, so hosts keep the verdict
(`core.verdicts`)."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from .eager import masked_attention
from .grouped import Attend, Groups
from .paths import Verdict

LAPS = 5  # of which the median counts
GAIN = 1.05  # times faster than today's first, to take its place
CHECKED = 32  # queries of each part that are held against float64
_HALVES = 2  # relative error that is a rounding's, in eps: of bf16 and fp16, whose weights are rounded too,
_WIDE = 64  # and of fp32, whose sums over thousands of keys are
AS_HOST = 1.5  # times the error of the host's attention without a mask, which its user accepted
OUT_OF_MEMORY = "out of memory"
MOST_ERROR_LETTERS = 200  # of what a contender raised
QueryKeyValue = tuple[Tensor, Tensor, Tensor]
Stopwatch = Callable[[Callable[[], object], torch.device], float]


@dataclass(frozen=True)
class AttentionCall:
    """Call of one block's self-attention: batch, heads of `size` features, tokens of which the last
    `references` are not the video's. bias (1 or B, references) on the logits of their keys, and who sees
    whom, each None where nothing is asked for."""

    batch: int
    heads: int
    size: int
    tokens: int
    references: int
    dtype: torch.dtype
    device: torch.device
    bias: Tensor | None = None
    groups: Groups | None = None

    @property
    def kind(self) -> str:
        """Kind of call, by all that decides who is fastest: sizes in steps of half an octave, pairs that see
        each other in tenths. The batch is left out: a host splits it as memory allows."""
        parts = [
            f"{str(self.dtype).removeprefix('torch.')}, {self.heads} heads of {self.size}",
            f"about {_step(self.tokens)} tokens, {_step(self.references)} of references",
        ]
        if self.groups is not None:
            parts.append(f"{len(self.groups.keys)} parts that see {self._seen():.1f} of it")
        return ", ".join([*parts, *(["weights on keys"] if self.bias is not None else [])])

    @property
    def dense(self) -> bool:
        """True where every query sees every key alike."""
        return self.bias is None and self.groups is None

    def row(self) -> Tensor | None:
        """The bias of every key, (1 or B, tokens)."""
        if self.bias is None:
            return None
        return torch.nn.functional.pad(self.bias, (self.tokens - self.bias.shape[-1], 0))

    def draw(self) -> QueryKeyValue:
        """query, key, value (B, N, L, D), tokens before heads in memory. The values of references are as much
        larger as they are fewer, so that one that is wrongly seen, or not, shows in every query."""
        generator = torch.Generator(self.device).manual_seed(0)  # nobody else's random numbers are used up
        shape = (self.batch, self.tokens, self.heads, self.size)
        query, key, value = (
            torch.randn(shape, generator=generator, device=self.device, dtype=self.dtype) for _ in range(3)
        )
        value[:, self.tokens - self.references :] *= math.sqrt(self.tokens / max(1, self.references))
        return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)

    def _seen(self) -> float:
        assert self.groups is not None
        pairs = sum(
            len(rows) * sum(stop - start for start, stop in spans)
            for spans, rows in zip(self.groups.keys, self.groups.queries, strict=True)
        )
        return pairs / self.tokens**2


@dataclass(frozen=True)
class Contender:
    """Contender: an attention that says what a call asks for. Where a user chose it, plain is the attention
    with nothing asked for: what that is off by is allowed."""

    attend: Attend
    plain: Attend | None = None


def milliseconds(call: Callable[[], object], device: torch.device) -> float:
    """Time of a call, on the GPU's own clock where it runs on one."""
    if device.type != "cuda":
        started = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - started)
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record(torch.cuda.current_stream(device))
    call()
    stop.record(torch.cuda.current_stream(device))
    stop.synchronize()
    return start.elapsed_time(stop)


@torch.no_grad()
def race(
    call: AttentionCall,
    contenders: Mapping[str, Contender],
    clock: Stopwatch = milliseconds,
    tried: Callable[[str], None] = lambda name: None,
) -> Verdict:
    """Fastest of the contenders that are right. They come in the order they are taken in without a race. The
    first of those that are right keeps its place against a gain under GAIN; `tried` is told of each before it
    runs. Raises what is `out_of_memory` where there is no room to begin."""
    values, row, check = call.draw(), call.row(), _Check(call)
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    left_out: dict[str, str] = {}

    def attempt(name: str, trial: Callable[[], str | None]) -> None:
        reason = _failure(trial)
        if reason is not None:
            left_out[name] = reason
            del taken[name]

    for name, one in contenders.items():
        tried(name)
        attempt(name, lambda one=one: check.why_not(one, values, row))
    for name in LAPS * list(taken):
        if name in taken:
            attend = contenders[name].attend
            run = partial(clock, partial(attend, *values, row), call.device)
            attempt(name, lambda name=name, run=run: taken[name].append(run()))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    return Verdict(_winner(medians), medians, left_out, OUT_OF_MEMORY not in left_out.values())


def _failure(trial: Callable[[], str | None]) -> str | None:
    """Reason of a trial against a contender, or what it raises: that is not for the run for which it is
    held."""
    try:
        return trial()
    except Exception as error:  # noqa: BLE001 - an attention may raise anything
        if out_of_memory(error):
            return OUT_OF_MEMORY
        lines = str(error).strip().splitlines()
        return f"{type(error).__name__}: {lines[0]}"[:MOST_ERROR_LETTERS] if lines else type(error).__name__


def out_of_memory(error: Exception) -> bool:
    """True where it says so: torch's own, or another of CUDA's ("Triton Error [CUDA]: out of memory")."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or OUT_OF_MEMORY in str(error).lower()


def _winner(medians: dict[str, float]) -> str | None:
    if not medians:
        return None
    first, fastest = next(iter(medians)), min(medians, key=lambda name: medians[name])
    return fastest if medians[first] >= GAIN * medians[fastest] else first


class _Check:
    """Some queries of every part against float64, in the first and the last head."""

    def __init__(self, call: AttentionCall):
        self.call, groups = call, call.groups
        every = (torch.arange(call.tokens, device=call.device),) if groups is None else groups.queries
        rows = torch.cat([_spread(part) for part in every])
        if groups is not None and groups.averaged is not None:  # no mask says a mean
            rows = rows[~torch.isin(rows, groups.averaged[0])]
        self.rows, self.heads = rows, slice(None, None, max(1, call.heads - 1))
        eps = torch.finfo(call.dtype).eps
        self.most = (_WIDE if call.dtype == torch.float32 else _HALVES) * eps
        self.keep = None if groups is None else groups.dense(rows)[None]

    def why_not(self, contender: Contender, values: QueryKeyValue, row: Tensor | None) -> str | None:
        """Reason why a contender is not right; None where it is."""
        off, most = self._error(contender.attend, values, row, self.keep), self.most
        if not off <= most and contender.plain is not None:
            most = max(most, AS_HOST * self._error(contender.plain, values, None, None))
        return None if off <= most else f"off by {off:.2g} of the result, {most:.2g} allowed"

    def _error(self, attend: Attend, values: QueryKeyValue, row: Tensor | None, keep: Tensor | None) -> float:
        found = attend(*values, row)[:, self.heads].index_select(2, self.rows).double()
        query, key, value = (one[:, self.heads].double() for one in values)
        right = masked_attention(query.index_select(2, self.rows), key, value, keep, row)
        return ((found - right).norm() / right.norm()).item()


def _spread(rows: Tensor) -> Tensor:
    """Some of these, evenly from the first to the last."""
    most = min(CHECKED, len(rows))
    return rows[torch.arange(most, device=rows.device) * (len(rows) - 1) // max(1, most - 1)]


def _step(count: int) -> int:
    return round(2 ** (round(2 * math.log2(count)) / 2)) if count else 0
