"""Reference gain: how much a clip's own references lower the loss on clips that were held out, and how much
another's do."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Generator, Tensor

from ...core.files import write_text
from ...core.statistics import Estimate, Resamples

LEVELS = (0.3, 0.45, 0.6, 0.7, 0.8, 0.88, 0.94, 0.98)  # [choice: held-out-levels]
SPANS = {"all": 0.0, "high": 0.8}  # of levels: the lowest that counts. References are worth most from 0.8 on
REFERENCES = ("none", "own", "other")  # references that a held-out clip is shown
HOW_TO_READ = (
    "own well above zero and above other: it learned whom references show; own like other: it learned only "
    "that there is one; intervals that hold zero: nothing is shown yet. A base that has seen references "
    "starts above zero: read what changed since step 0, or compare with a training on shuffled references"
)


class HeldOut(Protocol):
    """Held-out clips, and the loss on them."""

    @property
    def clips(self) -> Sequence[str]:
        """Names of the clips, one a row."""
        ...

    @property
    def scenes(self) -> Sequence[str]:
        """Film or scene that each clip is of."""
        ...

    def loss(self, row: int, levels: Tensor, references: str) -> Tensor:
        """Loss of a clip at noise levels (L,), (L,), with `none`, its `own` or an `other` clip's references.
        Its noise depends on the row and the level alone."""
        ...


@dataclass(frozen=True)
class HeldOutLosses:
    """Losses of held-out clips: `values` (3, N, 8) float64, by what is shown (REFERENCES), clip, and level
    (LEVELS)."""

    clips: tuple[str, ...]
    scenes: tuple[str, ...]
    values: Tensor

    def write(self, path: Path) -> None:
        """Keep them as a JSON object, whole or not at all."""
        kept = dict(zip(REFERENCES, self.values.tolist(), strict=True))
        said = {"levels": LEVELS, "clips": self.clips, "scenes": self.scenes, "losses": kept}
        write_text(path, json.dumps(said) + "\n")

    @classmethod
    def read(cls, path: Path) -> "HeldOutLosses":
        """Losses that were kept. ValueError for what is no such file."""
        try:
            said = json.loads(path.read_text("utf-8"))
            values = torch.tensor([said["losses"][shown] for shown in REFERENCES], dtype=torch.float64)
            found = cls(tuple(said["clips"]), tuple(said["scenes"]), values)
            levels = tuple(said["levels"])
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} holds no losses of held-out clips: {error!r}") from error
        if levels != LEVELS or values.shape != (len(REFERENCES), len(found.clips), len(LEVELS)):
            raise ValueError(
                f"{path} was measured at levels {levels}, shape {tuple(values.shape)}; needed {LEVELS}"
            )
        return found


def other_rows(scenes: Sequence[str], seed: int = 0) -> list[int]:
    """Rows of the clips whose references each clip is shown as another's. They are drawn from other scenes,
    or from other clips where all are of one scene. ValueError for fewer than two clips."""
    if len(scenes) < 2:
        raise ValueError(
            f"held-out clips: there is {len(scenes)}; needed 2 or more, to show another's references"
        )
    generator, several = Generator().manual_seed(seed), len(set(scenes)) > 1
    rows = []
    for row, scene in enumerate(scenes):
        others = [one for one in range(len(scenes)) if (scenes[one] != scene if several else one != row)]
        rows.append(others[int(torch.randint(len(others), (), generator=generator))])
    return rows


@torch.no_grad()
def measure(held_out: HeldOut) -> HeldOutLosses:
    """Losses of every held-out clip with no, its own and another's references, in fp64. ValueError where one
    is not finite, or is not one number a level."""
    levels = torch.tensor(LEVELS)
    values = torch.empty(len(REFERENCES), len(held_out.clips), len(LEVELS), dtype=torch.float64)
    for row, clip in enumerate(held_out.clips):
        for place, shown in enumerate(REFERENCES):
            loss = held_out.loss(row, levels, shown)
            if loss.shape != levels.shape or not torch.isfinite(loss).all():
                raise ValueError(
                    f"held-out clip {clip} with {shown} of the references: losses {loss.tolist()}; needed "
                    f"{len(LEVELS)} finite numbers"
                )
            values[place, row] = loss.double().cpu()
    return HeldOutLosses(tuple(held_out.clips), tuple(held_out.scenes), values)


def _share(losses: HeldOutLosses, shown: str, lowest: float, weights: Tensor) -> Tensor:
    """Gain of weighted clips (B, N) over levels from `lowest` on, (B,): 1 - loss with / loss without. Losses
    are summed before they are divided, so that no clip with a small loss rules it."""
    span = torch.tensor([level >= lowest for level in LEVELS])
    none, seen = losses.values[0], losses.values[REFERENCES.index(shown)]
    return (weights @ (none - seen)[:, span].mean(1)) / (weights @ none[:, span].mean(1))


def mean_losses(trainings: Sequence[HeldOutLosses]) -> HeldOutLosses:
    """Mean losses of equal trainings, as of several seeds, clip by clip. ValueError where there is none, or
    the clips are not the same."""
    if not trainings:
        raise ValueError("trainings: there is none; needed the losses of one or more")
    for one in trainings:
        _require_same(trainings[0], one)
    return replace(trainings[0], values=torch.stack([one.values for one in trainings]).mean(0))


def _require_same(first: HeldOutLosses, second: HeldOutLosses) -> None:
    if (first.clips, first.scenes) != (second.clips, second.scenes):
        raise ValueError(
            f"held-out clips are {len(first.clips)} and {len(second.clips)}, not the same in the same order; "
            "trainings are compared on the same ones"
        )


def reference_gains(losses: HeldOutLosses, seed: int = 0) -> dict[str, dict[str, Estimate]]:
    """Reference gains by span of levels (SPANS): of `own`, of `other`, and `own - other`, paired; shares of
    the loss without references [choice: reference-gain]."""
    draws = Resamples(losses.scenes, seed)

    def gains(lowest: float) -> dict[str, Estimate]:
        return {
            "own": draws.estimate(lambda weights: _share(losses, "own", lowest, weights)),
            "other": draws.estimate(lambda weights: _share(losses, "other", lowest, weights)),
            "own - other": draws.estimate(
                lambda weights: (
                    _share(losses, "own", lowest, weights) - _share(losses, "other", lowest, weights)
                )
            ),
        }

    return {span: gains(lowest) for span, lowest in SPANS.items()}


def gain_differences(
    first: HeldOutLosses, second: HeldOutLosses, shown: str = "own", seed: int = 0
) -> dict[str, Estimate]:
    """Gain of the first training less that of the second, paired by held-out clip, by span of levels. Each
    is a share of its own loss without references. ValueError where the clips are not the same."""
    _require_same(first, second)
    draws = Resamples(first.scenes, seed)

    def difference(lowest: float) -> Estimate:
        return draws.estimate(
            lambda weights: _share(first, shown, lowest, weights) - _share(second, shown, lowest, weights)
        )

    return {span: difference(lowest) for span, lowest in SPANS.items()}


def gains_by_level(losses: HeldOutLosses) -> dict[str, list[float]]:
    """Gain of own and of other references at each level (LEVELS)."""
    none = losses.values[0].sum(0)
    return {
        shown: (1 - losses.values[place].sum(0) / none).tolist()
        for place, shown in enumerate(REFERENCES)
        if place
    }


@dataclass(frozen=True)
class GainReport:
    """Report of a measurement: losses, gains, and what changed since the losses before learning."""

    losses: HeldOutLosses
    before: HeldOutLosses | None = None

    def record(self) -> dict[str, Any]:
        """Numbers for the log, as JSON has them; intervals are [low, high]."""
        means = {shown: self.losses.values[place].mean(0).tolist() for place, shown in enumerate(REFERENCES)}
        said = {
            "clips": len(self.losses.clips),
            "scenes": len(set(self.losses.scenes)),
            "levels": list(LEVELS),
            "losses": means,
            "gains": _plain(reference_gains(self.losses)),
            "by_level": gains_by_level(self.losses),
        }
        if self.before is not None:
            said["since_start"] = _plain(gain_differences(self.losses, self.before))
        return said

    def lines(self) -> list[str]:
        """Lines for people; gains in % of the loss without references."""
        gains = reference_gains(self.losses)
        count, scenes = len(self.losses.clips), len(set(self.losses.scenes))
        told = [f"held out, {count} clips of {scenes} scenes: loss {self._means()}"]
        for span, lowest in SPANS.items():
            among = f"levels from {lowest}" if lowest else "all levels"
            told += [
                f"  {among}: " + "; ".join(f"{name} {percent(one)}" for name, one in gains[span].items())
            ]
        said = verdict(gains["all"], scenes)
        if self.before is not None:
            since = gain_differences(self.losses, self.before)
            told.append(
                "  own since step 0: " + "; ".join(f"{span} {percent(one)}" for span, one in since.items())
            )
            said += "" if since["all"].above_zero() else "; more than before learning is not shown"
        return [*told, f"  {said}"]

    def _means(self) -> str:
        means = self.losses.values.mean((1, 2)).tolist()
        return ", ".join(f"{shown} {mean:.4f}" for shown, mean in zip(REFERENCES, means, strict=True))


def verdict(gains: Mapping[str, Estimate], scenes: int) -> str:
    """Sentence on what the gains show. It claims nothing that an interval does not exclude zero for."""
    if not gains["own"].above_zero():
        return "nothing is shown yet: the gain of own references does not exclude zero"
    if scenes < 2:
        return "references help; whose they are is not told by held-out clips of one scene"
    if gains["own - other"].above_zero():
        return "own references help, and more than another's"
    return "references help, but another's as much as own ones: whom they show is not learned"


def percent(one: Estimate) -> str:
    """Gain in %, with its 95 % intervals: `+2.1 [+0.9, +3.3], by scene [+0.2, +4.0]`."""
    said = f"{100 * one.value:+.1f}"
    if one.clips is not None:
        said += f" [{100 * one.clips[0]:+.1f}, {100 * one.clips[1]:+.1f}]"
    if one.scenes is not None:
        said += f", by scene [{100 * one.scenes[0]:+.1f}, {100 * one.scenes[1]:+.1f}]"
    return said


def _plain(estimates: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: asdict(one) if isinstance(one, Estimate) else _plain(one) for name, one in estimates.items()
    }
