"""Reference gain of small trainings by Saber's own trainer: with own, with shuffled and with no references.

A gain alone does not tell what was learned: a base that has seen references gains from any, and foreign ones
may hurt. So equal trainings are compared, paired by held-out clip [choice: reference-gain-trainings].
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from ...core.statistics import Estimate
from ...data.prepared import Prepared
from ...training.engine.lora import add_lora, begin_with
from ...training.engine.method import Setting, train
from ...training.engine.noise import NoiseSettings
from ...training.engine.run_file import ClipSettings, LearningSettings, MemorySettings, ReportSettings
from ...training.methods.saber.config import ReferenceSettings, SaberSettings
from ...training.methods.saber.held_out import HeldOutClips
from ...training.methods.saber.method import Saber
from ...training.reports.gain import (
    LEVELS,
    REFERENCES,
    HeldOutLosses,
    gain_differences,
    mean_losses,
    measure,
    percent,
    reference_gains,
)
from ..runs import Ablation, trained
from ..tables import FigureValues, markdown
from .gain_clips import SceneClips, ShuffledClips

BASE, OWN, SHUFFLED, NONE = "base", "own", "shuffled", "none"
SHUFFLED_TEST = "shuffled, also in the test"
LORA = "gain"  # name of a run's LoRA
_SILENT = ReportSettings(every=50, validate_every=0, sample_every=0, export_every=0, tensorboard=False)


def film_settings(steps: int, augment: bool) -> SaberSettings:
    """Run on clips of films: one reference of a step, from the pictures that are seen, in place or moved as
    Saber does."""
    learning = LearningSettings(
        rank=16, rate=1e-3, warmup=20, schedule="hold-decay", steps=steps, batch=8, accumulate=1, ema=0.0,
        noise=NoiseSettings(shift=3.0),
    )  # fmt: skip
    return SaberSettings(
        data=ClipSettings(caption_dropout=0.0, short_captions=0.0),
        references=ReferenceSettings(count=(1.0,), masks="random", augment=augment, dropout=0.15),
        train=learning,
        memory=MemorySettings(checkpointing="none"),
        report=_SILENT,
    )


def world_settings(steps: int) -> SaberSettings:
    """Run on clips of the demo world from a base that never saw references: the toy, moved as Saber does."""
    films = film_settings(steps, augment=True)
    learning = replace(films.train, rank=32, targets=("self_attn", "cross_attn", "ffn"), rate=2e-3, batch=16)
    return replace(films, references=replace(films.references, masks="subject"), train=learning)


@dataclass(frozen=True)
class GainArm:
    """Training of the study: its clips, and its settings."""

    clips: Prepared
    settings: SaberSettings


def arms_of(clips: SceneClips, settings: SaberSettings) -> dict[str, GainArm]:
    """Equal trainings with own, shuffled and no references."""
    references = settings.references
    foreign = replace(references, moment="clip")  # pictures of other scenes have no moment in this one
    return {
        OWN: GainArm(clips, settings),
        SHUFFLED: GainArm(ShuffledClips(clips.address), replace(settings, references=foreign)),
        NONE: GainArm(clips, replace(settings, references=replace(references, dropout=1.0))),
    }


def study_gain(ablation: Ablation, name: str, arms: dict[str, GainArm]) -> dict[str, list[HeldOutLosses]]:
    """Losses on held-out clips of the base and of every training, one a seed; what is there is kept. All are
    tested as the first training's clips are drawn; the shuffled one on shuffled references too."""
    test = next(iter(arms.values()))
    found = {BASE: [_measured(ablation, ablation.place(f"{name} {BASE}"), test, None)]}
    for seed in range(ablation.seeds):
        for arm_name, arm in arms.items():
            folder = ablation.place(f"{name} {arm_name}", seed)
            lora = _trained(ablation, folder, replace(arm, settings=replace(arm.settings, seed=seed)))
            found.setdefault(arm_name, []).append(_measured(ablation, folder, test, lora))
            if arm_name == SHUFFLED:
                also = _measured(ablation, folder, arm, lora, "shuffled.json")
                found.setdefault(SHUFFLED_TEST, []).append(also)
    return found


def _trained(ablation: Ablation, folder: Path, arm: GainArm) -> Path:
    """Training in a folder. -> its LoRA."""
    models = {name: str(path) for name, path in vars(ablation.models).items() if name in _FILES}
    settings = replace(arm.settings, models=replace(arm.settings.models, base_dtype="fp32", **models))
    method = Saber(arm.clips, LORA)
    setting = Setting(
        arm.clips, folder, ablation.models, resume=True, device=ablation.device, compiled=ablation.compiled
    )  # pyright: ignore[reportArgumentType]
    made_by = {
        "config": asdict(replace(settings, models=arm.settings.models)),
        "base": ablation.base,
        "clips": arm.clips.name,
    }
    trained(folder, made_by, method.files, lambda: train(method, settings, setting) and None)
    return folder / f"{LORA}.safetensors"


_FILES = ("dit", "vae", "text_encoder")


def _measured(
    ablation: Ablation, folder: Path, test: GainArm, lora: Path | None, file: str = "values.json"
) -> HeldOutLosses:
    """Losses on held-out clips of the base with a LoRA, or without, kept in a run's folder."""
    held_out: list[HeldOutLosses] = []

    def values() -> FigureValues:
        losses = measure(_held_out(ablation, test, lora))
        held_out.append(losses)
        by_level = dict(enumerate(LEVELS))
        return {
            shown: {str(level): losses.values[place, :, at] for at, level in by_level.items()}
            for place, shown in enumerate(REFERENCES)
        }

    made_by = [asdict(test.settings), test.clips.name, list(LEVELS)]
    found = ablation.kept(folder, made_by, values, file)
    rows = HeldOutClips(test.clips, test.settings, None, None)  # pyright: ignore[reportArgumentType]
    stacked = [torch.stack([found[shown][str(level)] for level in LEVELS], -1) for shown in REFERENCES]
    return HeldOutLosses(tuple(rows.clips), tuple(rows.scenes), torch.stack(stacked).double())


class _Autocast:
    """Held-out clips whose losses are computed in bf16, as steps are."""

    def __init__(self, held_out: HeldOutClips, device: str):
        self._held_out, self._device = held_out, device
        self.clips, self.scenes = held_out.clips, held_out.scenes

    def loss(self, row: int, levels: torch.Tensor, references: str) -> torch.Tensor:
        with torch.autocast(self._device, dtype=torch.bfloat16):
            return self._held_out.loss(row, levels, references)


def _held_out(ablation: Ablation, test: GainArm, lora: Path | None) -> _Autocast:
    method = Saber(test.clips, LORA)
    setting = ablation.setting(ablation.folder)
    settings = replace(test.settings, models=replace(test.settings.models, base_dtype="fp32"))
    models = method.backbone(settings, setting)
    if lora is not None:
        layers = add_lora(models.dit, settings.train.rank, settings.train.targets)
        begin_with(layers, models.dit, lora)
    models.dit.eval()
    return _Autocast(HeldOutClips(test.clips, settings, models.dit, models.encode), ablation.device)


def gain_lines(found: dict[str, list[HeldOutLosses]]) -> list[str]:
    """Table of gains in % of the loss without references, and of paired differences between trainings, mean
    over seeds."""
    means = {name: mean_losses(losses) for name, losses in found.items()}
    gains = {name: reference_gains(losses) for name, losses in means.items()}
    head = ["trained with", "levels", "own", "another's", "own - another's"]
    rows = [
        [name, span, *(percent(one) for one in gain.values())]
        for name, spans in gains.items()
        for span, gain in spans.items()
    ]
    first = next(iter(means.values()))
    told = f"{len(first.clips)} held-out clips of {len(set(first.scenes))} scenes; gains in % of the loss without."
    return [told, "", *markdown(head, rows), "", *_compared(means)]


def _compared(means: dict[str, HeldOutLosses]) -> list[str]:
    others = [name for name in (BASE, SHUFFLED, NONE) if name in means and OWN in means]
    rows = [
        [f"own - {name}", span, percent(one)]
        for name in others
        for span, one in gain_differences(means[OWN], means[name]).items()
    ]
    return markdown(["gain of own references, training", "levels", "difference"], rows)
