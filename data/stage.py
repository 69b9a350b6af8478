"""Stages of data work: what one is, and how one is run."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from ..core.ranks import ALONE, Ranks
from .index import Clip, Refused
from .journal import Journal
from .weights import Weights

StageProgress = Callable[[int, int], None]
REFUSAL = "refused"  # in a result: [reason, detail]
PASSING = "passing"  # in a refusal's result: the next run looks again


@dataclass(frozen=True)
class StageContext:
    """Surroundings of a stage's work.

    options  of the stage
    weights  that lie here
    folder   of the data
    digests  of the weights that it uses, by name
    sources  clips before an edit, by id
    device   where models run
    """

    options: Any
    weights: Weights
    folder: Path
    digests: Mapping[str, str] = field(default_factory=dict)
    sources: Mapping[str, Clip] = field(default_factory=dict)
    device: str = "cpu"


class DataStage(Protocol):
    """Stage of data work. It looks at clips one by one, in any process, and then concludes from all of them.

    name        of the command
    version     to be raised where the same clip would give another result
    defaults    its options, a frozen dataclass
    concluding  names of options that only `conclude` reads: results stay where one of them changes
    basis       whether no other stage can work without its results
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def defaults(self) -> Any: ...

    @property
    def concluding(self) -> Sequence[str]: ...

    @property
    def basis(self) -> bool: ...

    def uses(self, options: Any, weights: Weights) -> Sequence[str]:
        """Names of the weights that it will use. ValueError where one is needed and was not given."""
        ...

    def require(self, clips: Sequence[Clip], context: StageContext) -> None:
        """ValueError, before any is looked at, where these clips cannot be worked on."""
        ...

    def depends(self, clip: Clip, options: Any) -> Any:
        """All of a clip that the result depends on, as JSON; None where this clip is not looked at."""
        ...

    def look(self, clip: Clip, context: StageContext) -> dict[str, Any]:
        """The result, as JSON. `Refused` where something speaks against the clip."""
        ...

    def standing(self, results: Mapping[str, Any], context: StageContext) -> Mapping[str, Any]:
        """Results by key, without those whose files are gone."""
        ...

    def settle(
        self, results: Mapping[str, dict[str, Any]], clips: Sequence[Clip], context: StageContext
    ) -> None:
        """Put files in order after all clips were looked at, in one process."""
        ...

    def finish(self, context: StageContext) -> None:
        """Write down what holds of the index, once that is written."""
        ...

    def conclude(
        self, clips: list[Clip], found: Mapping[str, dict[str, Any]], context: StageContext
    ) -> list[Clip]:
        """The index after the stage, from the one before it and the results by id. Nothing is written."""
        ...


class PlainStage:
    """Parts of a stage that most need not write: no weights, no files of its own."""

    concluding: Sequence[str] = ()
    basis: bool = False

    def uses(self, options: Any, weights: Weights) -> Sequence[str]:
        """None of the weights."""
        return ()

    def require(self, clips: Sequence[Clip], context: StageContext) -> None:
        """Nothing that clips need."""

    def standing(self, results: Mapping[str, Any], context: StageContext) -> Mapping[str, Any]:
        """All results: none has a file."""
        return results

    def settle(
        self, results: Mapping[str, dict[str, Any]], clips: Sequence[Clip], context: StageContext
    ) -> None:
        """Nothing to put in order."""

    def finish(self, context: StageContext) -> None:
        """Nothing to write down."""


@dataclass(frozen=True)
class Done:
    """Summary of a stage's run: clips it looked at now, and those whose results were there."""

    made: int
    kept: int


def keys_of(stage: DataStage, clips: Sequence[Clip], context: StageContext) -> dict[str, str]:
    """Key of the result of each clip that the stage looks at, by id: a digest of all that it depends on."""
    options = {name: one for name, one in asdict(context.options).items() if name not in stage.concluding}
    made_by = [stage.name, stage.version, options, dict(context.digests)]
    keys = {}
    for clip in clips:
        depends = stage.depends(clip, context.options) if clip.ok else None
        if depends is not None:
            before = context.sources.get(clip.source)
            shows = [before.contents, before.start, before.stop, before.crop, before.fps] if before else ""
            text = json.dumps([*made_by, depends, shows], sort_keys=True)
            keys[clip.id] = sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return keys


def sources_of(clips: Sequence[Clip]) -> dict[str, Clip]:
    """Clips before an edit, by id."""
    named = {clip.source for clip in clips if clip.source}
    return {clip.id: clip for clip in clips if clip.id in named}


def look_at_all(
    stage: DataStage, clips: Sequence[Clip], context: StageContext, journal: Journal, ranks: Ranks = ALONE,
    progress: StageProgress | None = None,
) -> Done:  # fmt: skip
    """Look at every clip whose result is not known; processes take turns."""
    keys = keys_of(stage, clips, context)
    results = {key: one for key, one in journal.results().items() if PASSING not in one}
    known = stage.standing(results, context)
    ranks.wait()  # none adds before all have read, so that all share out the same work
    todo = {keys[clip.id]: clip for clip in clips if clip.id in keys and keys[clip.id] not in known}
    mine = [pair for index, pair in enumerate(todo.items()) if ranks.owns(index)]
    for done, (key, clip) in enumerate(mine):
        if progress:
            progress(done, len(mine))
        journal.add(ranks.rank, key, _result(stage, clip, context))
    ranks.wait()
    return Done(len(todo), len(keys) - len(todo))


def unknown(
    stage: DataStage, clips: Sequence[Clip], context: StageContext, results: Mapping[str, Any]
) -> list[Clip]:
    """Clips whose results are missing."""
    keys, known = keys_of(stage, clips, context), stage.standing(results, context)
    return [clip for clip in clips if clip.id in keys and keys[clip.id] not in known]


def concluded(
    stage: DataStage, clips: list[Clip], context: StageContext, results: Mapping[str, dict[str, Any]]
) -> list[Clip] | None:
    """The index after a stage; None where the result of a clip is missing."""
    keys, results = keys_of(stage, clips, context), stage.standing(results, context)
    if any(key not in results for key in keys.values()):
        return None
    found = {name: results[key] for name, key in keys.items()}
    refusals = {name: one[REFUSAL] for name, one in found.items() if REFUSAL in one}
    kept = [clip.refused(*refusals[clip.id]) if clip.id in refusals else clip for clip in clips]
    return stage.conclude(kept, {name: one for name, one in found.items() if name not in refusals}, context)


def _result(stage: DataStage, clip: Clip, context: StageContext) -> dict[str, Any]:
    try:
        return stage.look(clip, context)
    except Refused as refusal:
        return {REFUSAL: [refusal.reason, refusal.detail], **({PASSING: True} if refusal.passing else {})}
