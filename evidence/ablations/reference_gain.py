"""Reference gain of small trainings by Saber's own trainer: with own, with shuffled and with no references.

A gain alone does not tell what was learned: a base that has seen references gains from any, and foreign ones
may hurt. So equal trainings are compared, paired by held-out clip [choice: reference-gain-trainings].
"""

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import torch

from ...core.files import write_text
from ...core.statistics import Estimate
from ...data.prepared import Prepared
from ...training.engine.lora import add_lora, begin_with
from ...training.engine.method import Setting, train
from ...training.engine.noise import NoiseSettings
from ...training.engine.precision import mixed
from ...training.engine.run_file import (
    ClipSettings,
    LearningSettings,
    MemorySettings,
    ModelSettings,
    ReportSettings,
)
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
from ..claims import decision_words
from ..runs import VALUES, Ablation, trained
from ..tables import FigureValues, markdown, number_of
from .gain_clips import SceneClips, ShuffledClips, cut_films, prepared_clips, render_world
from .text_to_video import on_pretrained

BASE, OWN, SHUFFLED, UNREFERENCED = "base", "own", "shuffled", "none"
SHUFFLED_TEST = "shuffled, also in the test"
_LORA = "gain"  # name of a run's LoRA
_WAYS = {"place": ("in place", False), "moved": ("moved as Saber does", True)}
_WORLD_CLIPS = 320, 32  # to train on, and held out
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
    films = replace(films, report=replace(_SILENT, validate_every=400))
    learning = replace(films.train, rank=32, targets=("self_attn", "cross_attn", "ffn"), rate=2e-3)
    return replace(films, references=replace(films.references, masks="subject"), train=learning)


@dataclass(frozen=True)
class GainArm:
    """Training of the study: its clips, and its settings."""

    clips: Prepared
    settings: SaberSettings


def ablate_films(ablation: Ablation, steps: int, films: Path) -> list[str]:
    """Gains on shots of films, with references in place and moved as Saber does; what is there already is
    kept. Writes films_gain.md; -> its lines. ValueError for films that are not there."""
    clips = ablation.folder / "films" / "clips"
    cut_films(films, clips)
    prepared = prepared_clips(clips, ablation.folder / "films" / "prepared", ablation.models)
    lines: list[str] = []
    for way, (title, augment) in _WAYS.items():
        of_way = replace(ablation, folder=ablation.folder / way)
        found = study_gain(of_way, way, arms_of(prepared, film_settings(steps, augment)))
        lines += [f"References {title}, {number_of(steps, 'step')}.", "", *gain_lines(found), ""]
    return _told(ablation.folder / "films_gain.md", lines)


def ablate_world(ablation: Ablation, steps: int, pretraining: int) -> list[str]:
    """Gains on clips of the demo world, from a text-to-video model, which never saw a reference. Writes
    world_gain.md; -> its lines."""
    clips = ablation.folder / "world" / "clips"
    render_world(clips, *_WORLD_CLIPS)
    based = on_pretrained(ablation, pretraining)
    prepared = prepared_clips(clips, ablation.folder / "world" / "prepared", based.models)
    of_world = replace(based, folder=ablation.folder / "world" / "runs")
    found = study_gain(of_world, "world", {OWN: GainArm(prepared, world_settings(steps))})
    head = f"The toy moved as Saber does, {number_of(steps, 'step')} after {pretraining} of text to video."
    lines = [head, "", *gain_lines(found)]
    return _told(ablation.folder / "world_gain.md", lines)


def _told(file: Path, lines: list[str]) -> list[str]:
    write_text(file, "\n".join(lines) + "\n")
    return lines


def arms_of(clips: SceneClips, settings: SaberSettings) -> dict[str, GainArm]:
    """Equal trainings with own, shuffled and no references."""
    references = settings.references
    foreign = replace(references, moment="clip")  # pictures of other scenes have no moment in this one
    return {
        OWN: GainArm(clips, settings),
        SHUFFLED: GainArm(ShuffledClips(clips.address), replace(settings, references=foreign)),
        UNREFERENCED: GainArm(clips, replace(settings, references=replace(references, dropout=1.0))),
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
    method, settings = Saber(arm.clips, _LORA), _on_base(ablation, arm.settings)
    how = {"resume": True, "device": ablation.device, "compiled": ablation.compiled}
    setting = Setting(arm.clips, folder, ablation.models, **how)  # pyright: ignore[reportArgumentType]

    def work() -> None:
        train(method, settings, setting)

    made_by = {"config": asdict(arm.settings), "base": ablation.base, "clips": arm.clips.name}
    trained(folder, made_by, method.files, work)
    return folder / f"{_LORA}.safetensors"


def _on_base(ablation: Ablation, settings: SaberSettings) -> SaberSettings:
    """Settings with the files of the base, which is held in fp32."""
    files = {field.name: str(getattr(ablation.models, field.name)) for field in fields(ablation.models)}
    return replace(settings, models=ModelSettings(base_dtype="fp32", **files))


def _measured(
    ablation: Ablation, folder: Path, test: GainArm, lora: Path | None, file: str = VALUES
) -> HeldOutLosses:
    """Losses on held-out clips of the base with a LoRA, or without, kept in a run's folder."""

    def values() -> FigureValues:
        losses = measure(_held_out(ablation, test, lora)).values
        return {
            shown: {str(level): losses[place, :, at] for at, level in enumerate(LEVELS)}
            for place, shown in enumerate(REFERENCES)
        }

    rows = HeldOutClips(test.clips, test.settings, None, None)  # pyright: ignore[reportArgumentType]
    order = [clip.id for clip in rows.rows]  # losses are kept by place alone
    found = ablation.kept(folder, [asdict(test.settings), test.clips.name, order, list(LEVELS)], values, file)
    stacked = [torch.stack([found[shown][str(level)] for level in LEVELS], -1) for shown in REFERENCES]
    return HeldOutLosses(tuple(rows.clips), tuple(rows.scenes), torch.stack(stacked).double())


class _Autocast:
    """Held-out clips whose losses are computed as steps are."""

    def __init__(self, held_out: HeldOutClips, device: str):
        self._held_out, self._device = held_out, device
        self.clips, self.scenes = held_out.clips, held_out.scenes

    def loss(self, row: int, levels: torch.Tensor, references: str) -> torch.Tensor:
        with mixed(self._device):
            return self._held_out.loss(row, levels, references)


def _held_out(ablation: Ablation, test: GainArm, lora: Path | None) -> _Autocast:
    settings = _on_base(ablation, test.settings)
    models = Saber(test.clips, _LORA).backbone(settings, ablation.setting(ablation.folder))
    if lora is not None:
        layers = add_lora(models.dit, test.settings.train.rank, test.settings.train.targets)
        begin_with(layers, models.dit, lora)
    models.dit.eval()
    return _Autocast(HeldOutClips(test.clips, test.settings, models.dit, models.encode), ablation.device)


def gain_lines(found: dict[str, list[HeldOutLosses]]) -> list[str]:
    """Table of gains in % of the loss without references, mean over seeds; paired differences between
    trainings, and verdicts, where there are several."""
    means = {name: mean_losses(losses) for name, losses in found.items()}
    gains = {name: reference_gains(losses) for name, losses in means.items()}
    differences = {
        f"own - {name}": gain_differences(means[OWN], means[name])
        for name in (BASE, SHUFFLED, UNREFERENCED)
        if name in means
    }
    first = means[BASE]
    told = f"{len(first.clips)} held-out clips of {len(set(first.scenes))} scenes, training seeds: {len(found[OWN])}."
    rows = [
        [name, span, *(percent(one) for one in gain.values())]
        for name, spans in gains.items()
        for span, gain in spans.items()
    ]
    compared = [
        [name, span, percent(one)] for name, spans in differences.items() for span, one in spans.items()
    ]
    return [
        told, "",
        *markdown(["trained with", "levels", "own", "another's", "own - another's"], rows), "",
        *markdown(["gain of own references, by training", "levels", "difference"], compared), "",
        *verdicts({name: gain["all"] for name, gain in gains.items()}, {name: one["all"] for name, one in differences.items()}),
        "", *_by_seed(found),
    ]  # fmt: skip


def verdicts(gains: dict[str, dict[str, Estimate]], differences: dict[str, Estimate]) -> list[str]:
    """Sentences on what gains over all levels show. Each is decided where every interval lies on one side of
    zero. Of trainings that are not there nothing is said."""
    own = gains[OWN]
    found = {
        "own references help the training with own ones": own["own"],
        "another's references help it": own["other"],
        "its own references help it more than another's": own["own - other"],
    }
    for name, one in differences.items():
        other = name.removeprefix("own - ")
        what = "before learning" if other == BASE else f'the training "{other}"'
        found[f"own references help it more than {what}"] = one
    return [f"- {decision_words(_decided(one))}: {what}" for what, one in found.items()]


def _decided(one: Estimate) -> bool | None:
    return True if one.above_zero() else False if one.below_zero() else None


def _by_seed(found: dict[str, list[HeldOutLosses]]) -> list[str]:
    """Gains of own references for each training seed: intervals over clips do not say how far seeds lie
    apart."""
    told = {
        name: [f"{100 * reference_gains(one)['all']['own'].value:+.1f}" for one in losses]
        for name, losses in found.items()
    }
    said = "; ".join(f"{name} {', '.join(values)}" for name, values in told.items())
    return [f"Own references, all levels, by training seed: {said}."]
