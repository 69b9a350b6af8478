"""Plan of a run of Saber: its clips and why others are left out, memory, time and disk."""

import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ....backbones.wan.files import bare_dit, planned_from_shapes
from ....backbones.wan.loading import known_dit
from ....core.checkpoint import read_shapes
from ....core.lora import matched_layers
from ....core.plan import GIB, TERAFLOPS, PlannedClips, PlannedModel, TrainingPlan, TrainingShape
from ....core.plan_report import plan_lines
from ....data.buckets import Bucket
from ....data.index import TRAIN, Clip, Refused
from ....data.stages.encode import EncodeOptions, bucket_of
from ...engine.precision import computing_type
from .config import DTYPES, SaberSettings

_SEEN = 0.45  # of a reference's tokens, on average, that its mask keeps [choice: plan-reference-tokens]
_OPTIMIZER_BYTES = {"adamw": 8, "muon": 4}  # of a parameter that learns; others keep two moments at most
_MOST_REASONS = 6
_CPU_TERAFLOPS = 0.05  # a second, of one core
Fate = tuple[Clip, Bucket | str]  # a clip, and its bucket or why it is not used


@dataclass(frozen=True)
class SaberPlan:
    """Plan of a run, and its lines for people."""

    plan: TrainingPlan
    lines: tuple[str, ...]

    @property
    def gibibytes(self) -> float:
        """Memory at the peak of the largest step."""
        return self.plan.memory.total / GIB

    @property
    def tokens_per_second(self) -> float:
        """Tokens of clips, without references, that the plan counts with."""
        shape = self.plan.shape
        shares = sum(bucket.share for bucket in shape.buckets)
        tokens = sum(bucket.share * bucket.video(shape.model.geometry) for bucket in shape.buckets) / shares
        return tokens * shape.batch * shape.accumulate / self.plan.seconds


def saber_plan(
    settings: SaberSettings, clips: Sequence[Clip], options: EncodeOptions, device: str
) -> SaberPlan:
    """Plan on the rows of an index, encoded or not yet. Only headers of files are read. ValueError where
    there is nothing to learn from, and for what cannot train."""
    model, changed = planned_layers(settings)
    cuda = torch.device(device).type == "cuda"
    fates = [(clip, _bucket(clip, options, settings.data.frames)) for clip in clips]
    used = _in_buckets(fates, settings.data.frames)
    shape = TrainingShape(
        model=model,
        buckets=_planned(used, settings, model.geometry.token),
        changed=changed,
        card=settings.memory.card or card_of(device),
        rank=settings.train.rank,
        batch=settings.train.batch,
        accumulate=settings.train.accumulate,
        steps=settings.train.steps,
        checkpointing=settings.memory.checkpointing,
        average=bool(settings.train.ema),
        weight_bytes=DTYPES[settings.models.base_dtype].itemsize,
        optimizer_bytes=_OPTIMIZER_BYTES.get(settings.train.optimizer, 8),
        resident=_bytes(read_shapes(settings.models.vae, "models.vae")[0].values(), device),
        cuda=cuda,
        # Weights in fp32, and nothing makes their products narrower.
        wide=settings.models.base_dtype == "fp32" and computing_type(device) == torch.float32,
        teraflops=settings.memory.teraflops or (TERAFLOPS if cuda else _CPU_TERAFLOPS),
        clips=sum(used.values()),
        exports=1 + _kept(settings),
    )
    plan = TrainingPlan(shape)
    first, *others = plan_lines(plan)
    return SaberPlan(plan, (first, *_data_lines(fates, used, options.fps), *others))


def planned_layers(settings: SaberSettings) -> tuple[PlannedModel, tuple[str, ...]]:
    """The DiT by its header alone, and the names of its layers that learn. ValueError for a DiT that saber
    does not train, and for targets that it has not."""
    shapes, metadata = read_shapes(settings.models.dit, "models.dit")
    name = f"models.dit: {Path(settings.models.dit).name}"
    state = bare_dit(shapes, name)
    config = known_dit(state, metadata, name)
    if config.in_channels != config.geometry.channels:
        raise ValueError(
            f"{name} takes {config.in_channels} input channels; saber trains a T2V of {config.geometry.channels}"
        )
    model = planned_from_shapes(state, config)
    return model, tuple(matched_layers(list(model.linear), settings.train.targets))


def card_of(device: str) -> float:
    """Memory of a device in GiB. ValueError for a CPU whose system does not say it."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / GIB
    if not hasattr(os, "sysconf"):  # Windows
        raise ValueError("memory.card is 0, and this system does not say its memory; give it in GiB")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB


def _in_buckets(fates: Sequence[Fate], frames: Sequence[int]) -> Counter[Bucket]:
    """Numbers of clips that an epoch shows of each bucket. ValueError where there are none."""
    found: Counter[Bucket] = Counter()
    for clip, bucket in fates:
        if isinstance(bucket, Bucket) and clip.split == TRAIN:
            found[bucket] += clip.repeats
    if not found:
        lengths = f" of {', '.join(map(str, frames))} pictures" if frames else ""
        why = _refusals(fates) or f"{len(fates)} were found, all held out"
        raise ValueError(f"data.path: there is no clip{lengths} to learn from; {why}")
    return found


def _bucket(clip: Clip, options: EncodeOptions, frames: Sequence[int]) -> Bucket | str:
    """Bucket of a clip, encoded or not yet; a reason where it is not used."""
    if not clip.ok:
        return clip.reason
    if not clip.caption:
        return "no caption"
    try:
        bucket = Bucket(*clip.bucket) if clip.bucket else bucket_of(clip, options)
    except Refused as error:
        return error.reason
    return bucket if not frames or bucket.frames in frames else f"of {bucket.frames} pictures"


def _planned(used: Counter[Bucket], settings: SaberSettings, token: int) -> tuple[PlannedClips, ...]:
    """Buckets as they are seen on average, and with the most references there can be, of which all tokens are
    kept: these decide the memory."""
    count, share = settings.references.count, _shares(used, settings)
    mean = sum((k + 1) * chance for k, chance in enumerate(count)) / sum(count)
    mean *= (1 - settings.references.dropout) * _SEEN
    most = 0 if settings.references.dropout == 1 else max(k + 1 for k, chance in enumerate(count) if chance)
    found = []
    for bucket in sorted(used):
        picture = (bucket.height // token) * (bucket.width // token)
        size = (bucket.frames, bucket.height, bucket.width)
        found.append(PlannedClips(*size, math.ceil(mean * picture), share[bucket]))
        found.append(PlannedClips(*size, most * picture, 0.0))
    return tuple(found)


def _shares(used: Counter[Bucket], settings: SaberSettings) -> dict[Bucket, float]:
    """Share of the steps that see each bucket."""
    given = dict(zip(settings.data.frames, settings.data.share, strict=False))
    if not given:
        return {bucket: float(count) for bucket, count in used.items()}
    lengths: Counter[int] = Counter()
    for bucket, count in used.items():
        lengths[bucket.frames] += count
    return {bucket: given[bucket.frames] * count / lengths[bucket.frames] for bucket, count in used.items()}


def _data_lines(fates: Sequence[Fate], used: Counter[Bucket], fps: float) -> list[str]:
    """Lines of the plan that tell which clips there are, and why others are not used."""
    fit = [clip for clip, bucket in fates if isinstance(bucket, Bucket)]
    held, sets = sum(clip.split != TRAIN for clip in fit), len({clip.set for clip, _ in fates})
    among = f" in {sets} sets" if sets > 1 else ""
    told = f"{_clips(len(fates))}{among}; {sum(used.values())} a time through, {held} held out"
    left = len(fates) - len(fit)
    why = f", {left} not used: {_refusals(fates)}" if left else ""
    again = sum(bool(clip.fps) and abs(clip.fps - fps) > 0.01 for clip in fit)
    rate = "is" if again == 1 else "are"
    lines = [f"{told}{why}"]
    lines += [f"{_clips(again)} of another rate {rate} shown at {fps:g} fps"] if again else []
    return [f"{'data' if not place else '':<8}{line}" for place, line in enumerate(lines)]


def _clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"


def _refusals(fates: Sequence[Fate]) -> str:
    """Commonest reasons for which clips are not used, in words."""
    reasons = Counter(bucket for _, bucket in fates if isinstance(bucket, str))
    return " · ".join(f"{count} {reason}" for reason, count in reasons.most_common(_MOST_REASONS))


def _bytes(tensors: Iterable[Tensor], device: str) -> int:
    size = 2 if torch.device(device).type == "cuda" else 4
    return sum(size * tensor.numel() for tensor in tensors)


def _kept(settings: SaberSettings) -> int:
    every = settings.report.export_every
    return (settings.train.steps - 1) // every if every else 0
