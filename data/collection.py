"""A folder of prepared clips: where they come from, which stages were run, and the index that follows."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Any

from ..core.files import claim, clear_left, is_ours, read_mark, write_text
from ..core.ranks import ALONE, Ranks
from . import readers
from .hold import held
from .index import Clip, read_index, write_index, write_rows
from .journal import Journal
from .record import RECORD, load_record
from .settings import filled, merged
from .stage import DataStage, Done, StageContext, StageProgress, concluded, look_at_all, sources_of, unknown
from .stages import STAGES, stage_named
from .weights import Weights

logger = logging.getLogger(__name__)
_KIND = "prepared clips"
WORK = "work"
TOLD = 3  # files of those that have changed, in a refusal


class Collection:
    """Prepared clips in a folder. The index is a pure function of the rows that readers found and of the
    stages' results; it is written anew after each stage.

    data.json  roots (layout and path of what is read), settings (of layouts), models (paths of local
               weights), stages (of each that was run: its options, those that were given, digests of weights)
    work/      found.jsonl (rows as readers gave them), and a folder of results for each stage
    """

    def __init__(self, folder: Path, what: str = "--data"):
        self.folder = folder
        self.what = what

    @classmethod
    def opened(cls, folder: Path, what: str = "--data") -> "Collection":
        """A collection that is there. ValueError where there is none."""
        if read_mark(folder) is None or not is_ours(folder, _KIND, "", what):
            raise ValueError(
                f"{what}: {folder} holds no prepared clips; make them by `refvid data scan FOLDER --out {folder}`"
            )
        return cls(folder, what)

    @property
    def record(self) -> dict[str, Any]:
        """Contents of data.json. ValueError where it is damaged."""
        return load_record(self.folder, self.what)

    def read(
        self, roots: list[tuple[str, Path]], ranks: Ranks = ALONE, forgotten: Sequence[Path] = ()
    ) -> "readers.Reading":
        """Read roots, and those that were read before but for forgotten ones. Found rows are written down.
        ValueError as the readers say, and for a root that is gone; nothing is written then."""
        record = self.record
        given = [[layout, path.absolute().as_posix()] for layout, path in roots]
        before = self._kept_roots(record["roots"], forgotten)
        every = before + [one for one in given if one not in before]
        if not every:
            raise ValueError(f"{self.what}: {self.folder} was made of no folder; give one to scan")
        reading = readers.read_roots([(layout, Path(path)) for layout, path in every])
        ranks.wait()  # all have read the record before it changes
        if ranks.first:
            claim(self.folder, _KIND, "", "--out")
            with held(self.folder, self.what):
                now = self.record  # reading takes long: a stage may have been run meanwhile
                if now["roots"] != record["roots"]:
                    raise ValueError(f"{self.what}: another command scanned into {self.folder}; scan again")
                write_rows(reading.clips, self.folder / WORK / "found.jsonl")
                self._write({**now, "roots": every, "settings": reading.settings})
        ranks.wait()
        return reading

    def run(
        self, name: str, given: Mapping[str, Any], weights: Weights, ranks: Ranks = ALONE,
        progress: StageProgress | None = None, device: str = "cpu",
    ) -> Done:  # fmt: skip
        """Run a stage on the clips that the stages before it left, and write the index. Its options: as
        given now (a table), else as given before, else as the layouts say. ValueError before any work for
        an option that is wrong, for weights that are missing, and where another command is at work here."""
        with held(self.folder, self.what) if ranks.first else nullcontext():
            return self._run(stage_named(name), given, weights, ranks, progress, device)

    def _run(
        self, stage: DataStage, given: Mapping[str, Any], weights: Weights, ranks: Ranks,
        progress: StageProgress | None, device: str,
    ) -> Done:  # fmt: skip
        name = stage.name
        clips, _ = self._index(upto=name)
        options = self._options(stage, given)
        digests = {one: weights.digest(one, name) for one in stage.uses(options, weights)}
        context = StageContext(options, weights, self.folder, digests, sources_of(clips), device)
        journal = Journal(self.folder / WORK / name)
        stage.require(clips, context)
        done = look_at_all(stage, clips, context, journal, ranks, progress)
        if ranks.first:
            stage.settle(journal.results(), clips, context)
            journal.settle()
            told = {
                "options": asdict(options), "given": merged(self._given(name), given), "weights": digests
            }  # fmt: skip
            record = self.record  # weights may have been named meanwhile
            self._write({**record, "stages": {**record["stages"], name: told}})
            self.write()
            stage.finish(context)
            for folder in (self.folder, self.folder / WORK):
                clear_left(folder / "*")
        ranks.wait()
        return done

    def write(self) -> None:
        """Write the index as it follows from what is known."""
        clips, stale = self._index()
        for name in stale:
            logger.warning("%s: clips have changed since it was run; run it again", name)
        write_index(clips, self.folder)

    def clips(self) -> list[Clip]:
        """The rows of the index."""
        return read_index(self.folder, self.what)

    def remember(self, paths: Mapping[str, Path]) -> None:
        """Keep where local weights lie, for this stage and later ones, in the place of what was kept."""
        self._write({**self.record, "models": {name: str(path) for name, path in paths.items()}})

    def weights(self) -> Weights:
        """Local weights as they were told."""
        paths = {name: Path(path) for name, path in self.record["models"].items()}
        return Weights(paths, self.folder / WORK / "digests.json")

    def require(self, names: Sequence[str], given: Mapping[str, Any], weights: Weights) -> None:
        """ValueError where one of several stages could not be run: its options are wrong, or weights are
        missing."""
        for name in names:
            stage = stage_named(name)
            stage.uses(self._options(stage, given.get(name, {})), weights)

    def options(self, name: str) -> Any:
        """Options that a stage was run with. ValueError where it was not run."""
        stages = self.record["stages"]
        if name not in stages:
            raise ValueError(f"{self.what}: {self.folder}: `{name}` was not run; run `refvid data {name}`")
        return filled(stage_named(name).defaults, stages[name]["options"], name)

    def options_now(self, name: str) -> Any:
        """Options that a stage would be run with, where none is given."""
        return self._options(stage_named(name), {})

    def _options(self, stage: DataStage, given: Mapping[str, Any]) -> Any:
        layouts = self.record["settings"].get(stage.name, {})
        return filled(stage.defaults, merged(layouts, self._given(stage.name), given), stage.name)

    def _given(self, name: str) -> Mapping[str, Any]:
        """Options that a stage was ever given."""
        return self.record["stages"].get(name, {}).get("given", {})

    def _index(self, upto: str | None = None) -> tuple[list[Clip], list[str]]:
        """The index after all stages, or before one, and the stages that have to be run again first."""
        done, clips, stale = self.record["stages"], self._found(), []
        for stage in STAGES:
            if stage.name == upto:
                break
            if stage.name not in done:
                self._require_basis(stage, "no run of it has ended")
                continue
            told = done[stage.name]
            options = filled(stage.defaults, told["options"], stage.name)
            context = StageContext(options, Weights({}), self.folder, told["weights"], sources_of(clips))
            results = Journal(self.folder / WORK / stage.name).results()
            after = concluded(stage, clips, context, results)
            if after is None:
                self._require_basis(stage, _changed(unknown(stage, clips, context, results)))
                stale.append(stage.name)
            else:
                clips = after
        return clips, stale

    def _kept_roots(self, roots: list[list[str]], forgotten: Sequence[Path]) -> list[list[str]]:
        """Roots that were read before, without forgotten ones. ValueError for one that is gone, and for a
        forgotten one that there is not."""
        names = [os.path.abspath(path) for _, path in roots]
        left = [os.path.abspath(path) for path in forgotten]
        for path in (one for one in left if one not in names):
            raise ValueError(f"--forget: {path} was not scanned; needed one of {', '.join(names)}")
        for path in (one for one in names if one not in left and not os.path.exists(one)):
            raise ValueError(
                f"{self.what}: {path} was scanned before and is gone; bring it back, or leave it out: "
                f"refvid data scan --out {quote(str(self.folder))} --forget {quote(path)}"
            )
        return [root for root, name in zip(roots, names, strict=True) if name not in left]

    def _require_basis(self, stage: DataStage, why: str) -> None:
        """ValueError where a stage without whose results no other can work has to be run again."""
        if stage.basis:
            raise ValueError(
                f"{self.what}: {stage.name}: {why}; run `refvid data {stage.name} --out {self.folder}` again, "
                "which keeps all that was worked out"
            )

    def _found(self) -> list[Clip]:
        path = self.folder / WORK / "found.jsonl"
        if not path.is_file():
            raise ValueError(f"{self.what}: {path} is gone; run `refvid data scan --out {self.folder}` again")
        return read_index(path, self.what)

    def _write(self, record: dict[str, Any]) -> None:
        write_text(self.folder / RECORD, json.dumps(record, ensure_ascii=False, indent=1))


def _changed(clips: Sequence[Clip]) -> str:
    """Sentence of files that are not as they were."""
    paths = list(dict.fromkeys(clip.path for clip in clips))
    rest = f" and {len(paths) - TOLD} more" if len(paths) > TOLD else ""
    return f"changed since, moved or gone: {', '.join(paths[:TOLD])}{rest}"
