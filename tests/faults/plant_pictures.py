"""Faults of pictures as people have them: fitted, kept as references, and given on the command line."""

from plant_fault import Fault

_FIT, _FILES, _CLI = "core/fit.py", "media/reference_files.py", "cli/reference.py"
PICTURES = (
    Fault(
        "middle-off-by-one", "what is cut is a pixel off the middle", _FIT,
        "top, left = (rows - height) // 2, (columns - width) // 2",
        "top, left = (rows - height) // 2 + (rows > height), (columns - width) // 2 + (columns > width)",
        ("fit",),
    ),
    Fault("black-margins", "margins of pictures are black", _FIT, '"bicubic", GREY', '"bicubic", 0.0', ("fit",)),
    Fault("kept-margins", "margins of masks count", _FIT, '"bilinear", 0.0)[:, 0]', '"bilinear", 1.0)[:, 0]', ("fit",)),
    Fault("margins-aside", "all of the margin is on one side", _FIT,
          "top, left = (size[0] - values.shape[-2]) // 2, (size[1] - values.shape[-1]) // 2", "top, left = 0, 0", ("fit",)),
    Fault(
        "thin-masks-lost", "a mask thinner than a pixel is lost", _FIT,
        "had & peaks.le(0.5) & peaks.gt(0)", "had & peaks.le(0) & peaks.gt(0)",
        ("fit",),
    ),
    Fault(
        "faint-masks-raised", "a mask that had no pixel gets one", _FIT,
        "(had & peaks.le(0.5)", "(peaks.le(0.5)",
        ("fit",),
    ),
    Fault(
        "fit-silent", "nothing is said of another aspect", _FIT,
        "<= _SAME_ASPECT * max(", "<= 1 * max(",
        ("fit",),
    ),
    Fault(
        "never-inverted", "an inverted mask passes in silence", "core/masks.py",
        "mask[edge].mean() > 0.9 and", "mask[edge].mean() > 1 and",
        ("masks",),
    ),
    Fault(
        "always-inverted", "a mask that keeps all is called inverted", "core/masks.py",
        "0.9 and middle.mean() < 0.1", "0.9 and middle.mean() < 1.1",
        ("masks",),
    ),
    Fault(
        "saved-without-mask", "a saved reference has no mask", _FILES,
        "reference.mask[..., None].to(", "torch.ones_like(reference.mask)[..., None].to(",
        ("reference_files",),
    ),
    Fault(
        "any-version", "a file of a later version is read", _FILES,
        'or said["version"] != REFERENCE_VERSION', "or False",
        ("reference_files",),
    ),
    Fault(
        "saved-type", "a saved value of any type is taken", _FILES,
        "and not _like(value, known[key])", "and False",
        ("reference_files",),
    ),
    Fault(
        "saved-wins", "what a saved reference asks for stands above options", _CLI,
        "for name, value in said.items() if value is not None})",
        "for name, value in said.items() if value is not None and saved == Controls()})",
        ("cli_references",),
    ),
    Fault(
        "saved-unread", "what a saved reference asks for is ignored", _CLI,
        'read_controls(picture, "--reference") or Controls()', "Controls()",
        ("cli_references",),
    ),
    Fault("cli-fit-dropped", "--fit is ignored", _CLI, "            fit=options.fit,\n", "", ("cli_references",)),
    Fault(
        "over-turned", "saved controls stand above those that are asked for", "core/controls.py",
        "n: getattr(self, n) for n in names if getattr(self, n) != getattr(neutral, n)",
        "n: getattr(self, n) for n in names if getattr(saved, n) == getattr(neutral, n)",
        ("controls",),
    ),
    Fault(
        "given-fit-dropped", "given frames are cut whatever is asked for", "core/frames.py",
        "height, width, placed.fit)", "height, width)",
        ("frames",),
    ),
)  # fmt: skip
