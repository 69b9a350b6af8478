"""Identities on the command line: `refvid identity make`, and `--identity` of `refvid generate`."""

import argparse
import sys
from pathlib import Path
from typing import Any

from ..core.controls import IDENTITY_PARTS, MOST_STRENGTH
from .cutout import add_cutout, cut_subjects, require_cutter
from .model import add_files, load_files, runs_on
from .outputs import add_output
from .refusals import refuse

IDENTITY_NEEDS = dict.fromkeys(("identity_strength", "identity_parts", "adapter"), ("identity",))


def add_identity(commands) -> None:
    """Add the command `refvid identity make`."""
    command = commands.add_parser("identity", help="read who is in a video, and keep it as a small file")
    actions = command.add_subparsers(required=True, metavar="action")
    make = actions.add_parser("make", help="a video of one subject to an identity file")
    make.set_defaults(run=_make)
    add = make.add_argument
    add(
        "--video",
        required=True,
        metavar="FILE",
        help="MP4, WebM, GIF or a folder of PNGs; one subject, 2 frames or more",
    )
    add(
        "--mask",
        metavar="FILE",
        help="where the subject is, white: a picture, a video, or a folder of PNGs; without it everywhere",
    )
    add_cutout(make, "every picture of --video, in place of --mask")
    add(
        "--anchor",
        type=int,
        metavar="FRAME",
        help="the frame that shows it best, counted from 0; default a sharp, symmetric one",
    )
    add_output(make, "--out", "TENSORS", required=True, metavar="FILE.safetensors",
               help="the identity file")  # fmt: skip
    add_output(make, "--routing", "PICTURE", metavar="FILE.png", help="also draw what each slot looked at")
    _add_adapter(make)
    add_files(make)


def add_identity_options(command: argparse.ArgumentParser) -> None:
    """Add `--identity` and its options."""
    group = command.add_argument_group("identity", "who is in the video, beside or instead of references")
    group.add_argument("--identity", type=Path, metavar="FILE", help="made by `refvid identity make`")
    group.add_argument(
        "--identity-strength",
        type=float,
        metavar="NUMBER",
        help=f"0 (off) to {MOST_STRENGTH:g}; default 1, which leaves it untouched",
    )
    group.add_argument(
        "--identity-parts",
        choices=IDENTITY_PARTS,
        help=f"which of its tokens are read; default {IDENTITY_PARTS[0]}",
    )
    _add_adapter(group)


def read_people(options: argparse.Namespace, backbone: Any) -> Any:
    """The identity of a run, with the adapter's LoRA put on the backbone. None where none is asked for, or
    its strength is 0."""
    if options.identity is None:
        return None
    from ..backbones.wan.lora import merge_lora
    from ..core.adapter import require_fit
    from ..core.identity import load_identity, require_adapter
    from ..hosts.plain.identities import PeopleRider, Person

    adapter, identity = read_adapter(options), load_identity(options.identity, "--identity")
    require_adapter(identity, adapter.fingerprint, "--identity")
    strength = 1.0 if options.identity_strength is None else options.identity_strength
    person = Person(identity.tokens(options.identity_parts or IDENTITY_PARTS[0]), strength)
    if strength == 0:
        return None
    require_fit(adapter.config, backbone.dit.width, backbone.dit.geometry.channels, "--adapter")
    merge_lora(backbone.dit, adapter.lora, what="--adapter")
    return PeopleRider((person,), adapter.nobody)


def _add_adapter(group) -> None:
    group.add_argument(
        "--adapter", type=Path, metavar="FILE", help="a Slot-ID adapter (.safetensors); default: the demo's"
    )


def read_adapter(options: argparse.Namespace) -> Any:
    """The Slot-ID adapter that is asked for, or the demo's."""
    from ..backbones.wan.geometry import WAN
    from ..core.adapter import load_adapter
    from ..demo import models

    return load_adapter(options.adapter or models.SLOT_ID, WAN, "--adapter")


def _make(options: argparse.Namespace) -> None:
    import torch

    from .. import media
    from ..core.identity import save_identity
    from ..drawing.routing import routing_rows
    from ..drawing.sheet import contact_sheet
    from ..hosts.plain.identities import encode_identity

    refuse(options, {"lora": "an identity is read with the VAE and the adapter alone"})
    if options.cutout is not None:
        refuse(options, {"mask": "--cutout finds the subject"})
        require_cutter(options.cutout)
    runs_on(options)
    adapter, clip = read_adapter(options), media.read_video(options.video, "--video")
    masks = None if options.mask is None else media.read_masks(options.mask, "--mask")
    if options.cutout is not None:
        masks = torch.stack(cut_subjects(options, list(clip)))
    if masks is None:
        print(
            "refvid: without --mask and --cutout all of every picture is taken as the subject",
            file=sys.stderr,
        )
    identity, video, encoded = encode_identity(adapter, load_files(options).vae, clip, masks, options.anchor)
    save_identity(identity, options.out)
    if options.routing is not None:
        options.routing.parent.mkdir(parents=True, exist_ok=True)
        rows, titles, captions = routing_rows(video, encoded, adapter.geometry.group)
        contact_sheet(rows, titles, options.routing, captions, scale=1)
        print(options.routing.resolve())
    print(
        f"{options.out}: {len(identity.tokens('both'))} tokens, read by adapter {identity.adapter}, anchor "
        f"at picture {video.anchor} of {len(video.pictures)}"
    )
