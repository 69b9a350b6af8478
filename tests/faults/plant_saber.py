"""Faults of Saber's trainer: references, batches, loss, held-out clips, what a run goes on from, opening."""

from plant_fault import Fault

_SABER = "training/methods/saber"
SABER = (
    Fault(
        "other-moment", "references come from the whole clip, not from the window", f"{_SABER}/references.py",
        'pool if settings.moment == "clip" else', 'pool if settings.moment != "" else',
        ("saber_references",),
    ),
    Fault(
        "masks-of-another-picture", "a picture gets the subject's mask of the next one", f"{_SABER}/references.py",
        "_alpha(masks.get(number)", "_alpha(masks.get(number + 3)",
        ("saber_references",),
    ),
    Fault(
        "always-moved", "references are augmented where they are to stay in place", f"{_SABER}/references.py",
        "Augmentation(flip=settings.flip) if settings.augment else None", "Augmentation(flip=settings.flip)",
        ("saber_references",),
    ),
    Fault(
        "one-place", "rows of a batch draw the same numbers", f"{_SABER}/batch.py",
        "row_generator(settings.seed, turn, place)", "row_generator(settings.seed, turn, 0)",
        ("saber_batch",),
    ),
    Fault(
        "one-window", "the first window alone is seen", f"{_SABER}/batch.py",
        "torch.randint(clip.windows, (1,)", "torch.randint(1, (1,)",
        ("saber_batch",),
    ),
    Fault(
        "count-off", "a step has one reference fewer", f"{_SABER}/batch.py",
        "else 1 + int(torch.multinomial", "else int(torch.multinomial",
        ("saber_batch",),
    ),
    Fault(
        "padding-once", "padding counts as one token", f"{_SABER}/batch.py",
        "torch.tensor(float(CONTEXT_LENGTH - count)).clamp_min(0).log()", "0.0",
        ("saber_batch",),
    ),
    Fault(
        "backwards", "the velocity goes from noise to the clip", f"{_SABER}/losses.py",
        "(batch.noise - batch.latent)", "(batch.latent - batch.noise)",
        ("saber_losses",),
    ),
    Fault(
        "all-tokens-seen", "rows see the tokens that other rows keep", "hosts/plain/references.py",
        "seen=None if own.all() else own", "seen=None",
        ("saber_losses",),
    ),
    Fault(
        "own-for-other", "a held-out clip's other reference is its own", f"{_SABER}/held_out.py",
        "self.row(self._others[row])", "self.row(row)",
        ("saber_method",),
    ),
    Fault(
        "noise-of-all", "held-out clips share their noise over levels", f"{_SABER}/held_out.py",
        "self.rows[row].id, index)", "self.rows[row].id)",
        ("saber_method",),
    ),
    Fault(
        "average-stays", "averages stay in the place of the weights", "training/engine/average.py",
        "mine.copy_(last)", "pass",
        ("saber_method",),
    ),
    Fault(
        "last-measured", "the last weights are measured, not the average", f"{_SABER}/report.py",
        "with self._average.in_place(), torch", "with torch",
        ("saber_method",),
    ),
    Fault(
        "any-references", "a run goes on with references made otherwise", f"{_SABER}/method.py",
        '"references": {**asdict(config.references), "version": MASK_VERSION}',
        '"references": {"version": MASK_VERSION}',
        ("saber_method",),
    ),
    Fault(
        "any-seed", "a run goes on with another seed", f"{_SABER}/method.py",
        '"seed": config.seed,', "",
        ("saber_method",),
    ),
    Fault(
        "any-encoding", "prepared clips of other options are taken", "data/opening.py",
        'if told[name] != value:', "if False:",
        ("opening",),
    ),
    Fault(
        "any-vae", "prepared clips of another VAE are taken", "data/opening.py",
        "local.digest(name, \"models\") != prepared.weights[name]", "False",
        ("opening",),
    ),
    Fault(
        "unnamed-encoding", "the name of prepared clips does not tell how they were encoded", "data/prepared.py",
        "for clip in self.clips], self._encoding]", "for clip in self.clips], {}]",
        ("opening",),
    ),
)  # fmt: skip
