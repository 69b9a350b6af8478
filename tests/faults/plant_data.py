"""Faults in data work: keys, order, what is held out, windows, pairs, and what is refused."""

from plant_fault import Fault

DATA = (
    Fault(
        "stale-results", "results are kept whatever the weights were", "data/stage.py",
        "options, dict(context.digests)]", "options, {}]",
        ("collection", "encoding"),
    ),
    Fault(
        "one-order", "every epoch sees its clips in the same order", "data/order.py",
        "generator(self.seed, what, turn)", "generator(self.seed, what, 0)",
        ("buckets",),
    ),
    Fault(
        "leaking-split", "held-out clips are trained on", "data/prepared.py",
        "if clip.split == split and clip.bucket", "if clip.bucket",
        ("encoding",),
    ),
    Fault(
        "edit-of-itself", "an edit's source is the edit", "data/stages/encode.py",
        'kinds["source"] = _before_edit(clip, context)', '_before_edit(clip, context)\n        kinds["source"] = clip',
        ("encoding",),
    ),
    Fault(
        "kept-words", "another short caption is not encoded again", "data/stages/encode.py",
        "clip.caption, clip.short_caption, clip.instruction]", "clip.caption, clip.instruction]",
        ("encoding",),
    ),
    Fault(
        "enlarged", "clips are enlarged as much as it takes", "data/buckets.py",
        "> MOST_SCALE:", "> 100 * MOST_SCALE:",
        ("buckets", "encoding"),
    ),
    Fault(
        "torn-line", "a result that a kill has cut is read", "data/journal.py",
        ' if one.endswith(b"\\n")', "",
        ("index",),
    ),
    Fault(
        "all-ranks", "every process looks at every clip", "data/stage.py",
        "if ranks.owns(index)]", "]",
        ("collection",),
    ),
    Fault(
        "unseen-flash", "flashing films are used", "data/stages/cut.py",
        "> MOST_FLASHES:", "> 100 * MOST_FLASHES:",
        ("cut",),
    ),
    Fault(
        "named-strangers", "clips that were given two names pair by features", "data/agreement.py",
        "shots.differ_in_name(one, two) | shots.are_copies(one, two)", "shots.are_copies(one, two)",
        ("agreement",),
    ),
)
