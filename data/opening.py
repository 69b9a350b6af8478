"""Clips to train on: prepared ones, or folders of clips, which are prepared first."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .collection import Collection
from .index import HELD_OUT, Clip
from .prepare import stages_for
from .prepared import Prepared
from .stage import StageProgress, sources_of
from .stages import STAGES
from .stages.encode import Encode, EncodeOptions, held_out
from .weights import Weights

MOST_HELD_OUT = 16  # clips, where nothing else is said; an eighth of them at most [choice: held-out-share]
_VAE, _TEXT = "vae", "text_encoder"
StageBar = Callable[[str], AbstractContextManager[StageProgress]]  # progress of a stage, by its name


def is_prepared(path: str) -> bool:
    """True for a folder of prepared clips, and for an address in object storage."""
    return "://" in path or (Path(path) / "index.jsonl").is_file()


def opened_clips(path: str, options: Mapping[str, Any], weights: Mapping[str, Path]) -> Prepared:
    """Prepared clips at an address. ValueError where they were encoded with other options than those given,
    or by another VAE or text encoder."""
    prepared = Prepared(path)
    told = asdict(prepared.options)
    for name, value in options.items():
        if told[name] != value:
            raise ValueError(
                f"data.{name} is {value}; the clips in {path} were encoded with {told[name]}: leave it out, or "
                "encode them again"
            )
    local = Weights(weights)
    for name in (_VAE, _TEXT):
        if name in weights and local.digest(name, "models") != prepared.weights[name]:
            raise ValueError(
                f"models.{name}: the clips in {path} were encoded by another than {weights[name]}; give that one, or "
                "encode them again"
            )
    return prepared


def scanned_clips(
    folders: Sequence[str], work: Path, method: str, options: Mapping[str, Any], weights: Mapping[str, Path],
    progress: StageBar, device: str = "cpu", encode: bool = True,
) -> Collection:  # fmt: skip
    """Folders of clips, read and prepared for a method in `work`; what was made there before is used. Without
    `encode` no weights are needed. ValueError as stages say."""
    collection = Collection(work, "data.path")
    collection.read([("folder", Path(folder)) for folder in folders])
    collection.remember(weights)
    local = collection.weights()
    with progress("scan") as told:
        collection.run("scan", {}, local, progress=told, device=device)
    names = stages_for(method, collection.clips(), local, [one.name for one in STAGES])
    given = {Encode.name: encoding_given(options, collection.clips())}
    if encode:
        collection.require(names, given, local)
    for name in names:
        if name != Encode.name or encode:
            with progress(name) as told:
                collection.run(name, given.get(name, {}), local, progress=told, device=device)
    return collection


def encoding_given(options: Mapping[str, Any], clips: Sequence[Clip]) -> dict[str, Any]:
    """Options of `encode`, with clips held out where nothing else is said."""
    usual = min(MOST_HELD_OUT, sum(clip.ok for clip in clips) // 8)
    return {"held_out": usual, **options}


def split_clips(clips: Sequence[Clip], options: EncodeOptions) -> list[Clip]:
    """Clips that are not encoded yet, split as `encode` would."""
    said = [clip for clip in clips if clip.ok and (clip.caption or clip.instruction)]
    held = held_out(said, sources_of(clips), options.held_out)
    return [replace(clip, split=HELD_OUT) if clip.id in held else clip for clip in clips]
