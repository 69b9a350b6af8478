"""Plan of a training run in words, and the first setting that makes one fit that does not."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from .plan import GIB, PlannedClips, TrainingPlan, TrainingShape

_INDENT = 8  # letters before the text of a line
_SHORTEST, _SMALLEST = 17, 256  # pictures and pixels on a side below which nothing is proposed


@dataclass(frozen=True)
class Remedy:
    """Change of a run's settings: in words, and the plan with it."""

    words: str
    plan: TrainingPlan


def plan_lines(plan: TrainingPlan) -> list[str]:
    """Lines of a plan: what learns, steps, memory, time, and where it does not fit what would."""
    lines = [_line("model", _model(plan.shape))]
    lines += _both("step", _tokens(plan.shape), _batches(plan.shape))
    lines += _both("memory", _memory(plan), _hint(plan))
    lines += _both("time", _time(plan), _disk(plan))
    return lines


def _hint(plan: TrainingPlan) -> str:
    """Setting that makes a run fit which does not, or that uses what is left where it does."""
    if not plan.fits:
        return f"does not fit: {plan.missing:.1f} GiB are missing; {_remedy_words(plan)}"
    found = better(plan)
    return "" if found is None else f"could be: {found.words}{_price(plan, found.plan)}"


def _remedy_words(plan: TrainingPlan) -> str:
    found = remedy(plan)
    if found is None:
        return "no setting here makes it fit: give a smaller model, or a larger card"
    return f"{found.words} makes it fit ({found.plan.memory.total / GIB:.1f} GiB{_price(plan, found.plan)})"


def remedy(plan: TrainingPlan) -> Remedy | None:
    """The first change that makes a run fit: blocks computed again, smaller batches, shorter clips, smaller
    pictures. Each comes on top of those before it, where they do not suffice. None where all do not."""
    words, shape = [], plan.shape
    for changes in _CHANGES:
        tried = [Remedy(said, TrainingPlan(changed)) for said, changed in changes(shape)]
        if not tried:
            continue
        chosen = next((one for one in tried if one.plan.fits), tried[-1])
        words.append(chosen.words)
        shape = chosen.plan.shape
        if chosen.plan.fits:
            return Remedy(" and ".join(words), chosen.plan)
    return None


def better(plan: TrainingPlan) -> Remedy | None:
    """A change that makes steps faster and still fits: nothing computed again, or larger batches in place of
    accumulated ones."""
    shape = plan.shape
    if shape.checkpointing == "blocks":
        kept = TrainingPlan(replace(shape, checkpointing="none"))
        if kept.fits:
            return Remedy("checkpointing = none", kept)
    together = shape.batch * shape.accumulate
    for batch in range(together, shape.batch, -1):
        if together % batch == 0:
            larger = TrainingPlan(replace(shape, batch=batch, accumulate=together // batch))
            if larger.fits:
                return Remedy(_batch_words(larger.shape), larger)
    return None


def _checkpointed(shape: TrainingShape) -> Iterator[tuple[str, TrainingShape]]:
    if shape.checkpointing != "blocks":
        yield "checkpointing = blocks", replace(shape, checkpointing="blocks")


def _smaller_batches(shape: TrainingShape) -> Iterator[tuple[str, TrainingShape]]:
    together = shape.batch * shape.accumulate
    for batch in range(shape.batch - 1, 0, -1):
        if together % batch == 0:
            changed = replace(shape, batch=batch, accumulate=together // batch)
            yield _batch_words(changed), changed


def _batch_words(shape: TrainingShape) -> str:
    return f"batch {shape.batch} x accumulate {shape.accumulate}"


def _shorter_clips(shape: TrainingShape) -> Iterator[tuple[str, TrainingShape]]:
    geometry, longest = shape.model.geometry, max(bucket.frames for bucket in shape.buckets)
    for frames in range(geometry.frames(longest) - 1, geometry.frames(_SHORTEST) - 1, -1):
        most = geometry.pictures(frames)
        buckets = (replace(bucket, frames=min(bucket.frames, most)) for bucket in shape.buckets)
        yield f"frames = {most}", replace(shape, buckets=_merged(buckets))


def _smaller_pictures(shape: TrainingShape) -> Iterator[tuple[str, TrainingShape]]:
    """Pictures of the same form, of whole tokens; references are of the video's size."""
    token, widest = shape.model.geometry.token, max(bucket.width for bucket in shape.buckets)
    for width in range(widest - token, 0, -token):
        buckets = tuple(_scaled(bucket, width / widest, token) for bucket in shape.buckets)
        if min(min(bucket.height, bucket.width) for bucket in buckets) < _SMALLEST:
            return
        largest = max(buckets, key=lambda bucket: bucket.height * bucket.width)
        yield f"width = {largest.width}, height = {largest.height}", replace(shape, buckets=buckets)


_CHANGES = (_checkpointed, _smaller_batches, _shorter_clips, _smaller_pictures)


def _scaled(bucket: PlannedClips, by: float, token: int) -> PlannedClips:
    width, height = (max(1, int(side * by / token)) * token for side in (bucket.width, bucket.height))
    references = bucket.references * width * height // (bucket.width * bucket.height)
    return replace(bucket, width=width, height=height, references=references)


def _merged(buckets: Iterator[PlannedClips]) -> tuple[PlannedClips, ...]:
    """Buckets of one size and length as one."""
    shares: dict[PlannedClips, float] = {}
    for bucket in buckets:
        one = replace(bucket, share=1.0)
        shares[one] = shares.get(one, 0.0) + bucket.share
    return tuple(replace(one, share=share) for one, share in shares.items())


def _price(before: TrainingPlan, after: TrainingPlan) -> str:
    """Change of the duration of a step, in words."""
    share = after.seconds / before.seconds - 1
    return f", {share:+.0%} time" if abs(share) >= 0.005 else ""


def _model(shape: TrainingShape) -> str:
    model = shape.model
    return (
        f"LoRA rank {shape.rank} on {len(shape.changed)} layers of {len(model.linear)}: "
        f"{_count(shape.trainable)} of {_count(model.parameters)} learn; {model.layers} blocks of width {model.width}"
    )


def _tokens(shape: TrainingShape) -> str:
    def of(bucket: PlannedClips) -> str:
        beside = f" + ~{bucket.references:,} reference" if bucket.references else ""
        return f"{bucket}: {bucket.video(shape.model.geometry):,} video{beside} tokens"

    # A bucket without a share stands for the most that a step may hold: it counts for memory alone.
    return "; ".join(of(bucket) for bucket in shape.buckets if bucket.share)


def _batches(shape: TrainingShape) -> str:
    clips = shape.batch * shape.accumulate
    said = f"{_batch_words(shape)} = {clips} {'clip' if clips == 1 else 'clips'}"
    if not shape.clips:
        return f"{said}; {shape.steps:,} steps"
    return (
        f"{said}; {shape.clips / clips:,.3g} steps an epoch; {shape.steps:,} steps = "
        f"{shape.steps * clips / shape.clips:,.3g} epochs"
    )


def _memory(plan: TrainingPlan) -> str:
    shape, memory = plan.shape, plan.memory
    kept = "block inputs" if shape.checkpointing == "blocks" else "all blocks"
    names = ("weights", kept, "one block", "learning", "VAE", "CUDA")
    parts = [
        f"{name} {value / GIB:.1f}" for name, value in zip(names, vars(memory).values(), strict=True) if value
    ]
    return f"{' · '.join(parts)} = {memory.total / GIB:.1f} of {shape.card:.1f} GiB  ({shape.largest})"


def _time(plan: TrainingPlan) -> str:
    average = " on average" if len(plan.shape.buckets) > 1 else ""
    return (
        f"{plan.work / 1e15:.3g} PFLOP a step{average}: ~{_seconds(plan.seconds)} at "
        f"{plan.shape.teraflops:g} TFLOP/s; {_hours(plan.hours)} for {plan.shape.steps:,} steps"
    )


def _disk(plan: TrainingPlan) -> str:
    loras = "" if plan.shape.exports == 1 else f" x {plan.shape.exports}"
    return f"disk {plan.state_bytes / 1e9:.2g} GB a state, {plan.lora_bytes / 1e9:.2g} GB a LoRA{loras}"


def _seconds(value: float) -> str:
    return f"{value:.2g} s" if value < 99.5 else f"{value:,.0f} s"


def _hours(value: float) -> str:
    return f"{value:.1f} h" if value >= 1 else f"{value * 60:.0f} min"


def _count(number: int) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {letter}"
    return str(number)


def _both(name: str, first: str, second: str) -> list[str]:
    return [_line(name, first), *([_line("", second)] if second else [])]


def _line(name: str, text: str) -> str:
    return f"{name:<{_INDENT}}{text}"
