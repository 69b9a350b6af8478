"""Reports of a run of Saber: log, losses of clips, reference gain, sheets of samples, LoRAs that are kept."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from ....backbones.wan.dit import WanDiT
from ....data.buckets import Bucket
from ....data.order import Order
from ....data.prepared import Prepared
from ....data.shares import SharedOrder
from ...engine.average import Average
from ...engine.loop import Callback, Losses, Update
from ...engine.precision import mixed
from ...reports.clips import ClipLosses
from ...reports.log import RunLog
from ...reports.samples import Samples
from ...reports.steps import Reports, StepReport
from ...reports.validation import Validation
from .config import SaberSettings
from .held_out import HeldOutClips
from .sampling import HeldOutSampler, SampledModels

logger = logging.getLogger(__name__)
Orders = Order | SharedOrder


def reports(
    settings: SaberSettings,
    prepared: Prepared,
    orders: Orders,
    models: SampledModels,
    average: Average,
    folder: Path,
    keep: Callable[[int], None],
    planned: float | None,
) -> Sequence[Callback]:
    """Reports as the run file asks for them; `keep` writes the LoRA as it is after so many steps. What is
    measured and drawn is the average of the weights, which is exported. `planned`: tokens a second."""
    steps, asked = settings.train.steps, settings.report
    log = RunLog(folder, asked.tensorboard)
    held_out = HeldOutClips(prepared, settings, models.dit, models.encode)
    further: list[Callback] = [ClipLosses(folder, steps, asked.every)]
    if (asked.validate_every or asked.sample_every) and len(held_out.clips) < 2:
        without = (
            "no reference gain is measured" if held_out.clips else "no gain is measured, no sample drawn"
        )
        logger.warning("%d clips are held out: %s; set data.held_out", len(held_out.clips), without)
    if asked.validate_every and len(held_out.clips) > 1:
        further.append(_Averaged(Validation(held_out, log, steps, asked.validate_every), average, models.dit))
    if asked.sample_every and held_out.clips:
        sampler = HeldOutSampler(held_out, models)
        further.append(_Averaged(Samples(sampler, log, steps, asked.sample_every), average, models.dit))
    if asked.export_every:
        further.append(_Kept(asked.export_every, steps, keep))
    tokens = tokens_of(settings, orders, models.dit)
    taken = StepReport(log, steps, asked.every, settings.train.rate, tokens, planned)
    return [Reports(log, taken, further)]


def tokens_of(settings: SaberSettings, orders: Orders, dit: WanDiT) -> Callable[[int], int]:
    """Tokens of a step's clips, without their references."""

    def of_bucket(bucket: Bucket) -> int:
        geometry = dit.geometry
        return geometry.count(*geometry.latent(bucket.frames, bucket.height, bucket.width))

    def of_step(step: int) -> int:
        turns = range(step * settings.train.accumulate, (step + 1) * settings.train.accumulate)
        return settings.train.batch * sum(of_bucket(orders.step(turn).bucket) for turn in turns)

    return of_step


class _Averaged(Callback):
    """Report that sees the averaged weights, in evaluation."""

    def __init__(self, report: Validation | Samples, average: Average, dit: WanDiT):
        self._report, self._average, self._dit = report, average, dit

    def before(self, first: int) -> None:
        self._seeing(lambda: self._report.before(first))

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        if self._report.due(done):
            self._seeing(lambda: self._report.after(done, losses, update))

    def _seeing(self, look: Callable[[], None]) -> None:
        self._dit.eval()
        device = self._dit.device.type
        with self._average.in_place(), torch.no_grad(), mixed(device):
            look()
        self._dit.train()


class _Kept(Callback):
    """LoRAs that are kept on the way."""

    def __init__(self, every: int, steps: int, keep: Callable[[int], None]):
        self._every, self._steps, self._keep = every, steps, keep

    def after(self, done: int, losses: Sequence[Losses], update: Update) -> None:
        if done % self._every == 0 and done != self._steps:  # the last is the run's result
            self._keep(done)
