"""Values on ComfyUI's two wires: dataclasses there and back, by names that follow from them, and those
that 0.1.0 saved."""

import math
from dataclasses import fields, replace

import comfy.conds
import pytest
import torch
from refvid_in_process import text
from refvid_kept import DATA, Kept
from refvid_kept_conditioning import read_conditioning

from refvid.core import controls
from refvid.core.controls import SEES, Controls, FrameWindow, StepWindow
from refvid.core.identity import Bound
from refvid.core.layout import Layout
from refvid.core.recipes import saber
from refvid.hosts.comfy import wire
from refvid.hosts.comfy.evaluation import TailRule, kinds
from refvid.hosts.comfy.frames import AttachedFrames, Frames
from refvid.hosts.comfy.identities import AttachedIdentities, People
from refvid.hosts.comfy.install import install
from refvid.hosts.comfy.masked_input import AttachedImage
from refvid.hosts.comfy.references import AttachedReferences, References
from refvid.hosts.comfy.source.rider import AttachedSource, Source
from refvid.kernels.grouped import Groups

pytestmark = pytest.mark.comfy

WIDE, HIGH = torch.arange(6.0).view(1, 1, 1, 2, 3), torch.arange(6.0).view(1, 1, 1, 3, 2)
MASK, EVERYWHERE = torch.ones(32, 48), torch.ones(1, 1, 1, dtype=torch.bool)
ASKED = (
    Controls(),
    Controls(0.4, StepWindow(0.1, 0.9, 0.2, 0.3), FrameWindow(3, 7), "frames", True),
)
SPANS = (((0, 4), (6, 8)), ((0, 8),))
GROUPS = Groups(
    SPANS,
    (torch.arange(4), torch.arange(4, 8)),
    torch.arange(8),
    4,
    (torch.arange(2), torch.zeros(2, 3).long()),
)
ATTACHED = {
    "references": AttachedReferences(
        "saber",
        (WIDE, HIGH),
        (MASK, MASK),
        ASKED,
        (EVERYWHERE, EVERYWHERE),
        "eager",
        True,
        ("keep", "recipe"),
    ),
    "references by their defaults": AttachedReferences("saber", (WIDE,), (MASK,), ASKED[:1], (EVERYWHERE,)),
    "identities": AttachedIdentities(
        (WIDE[0, 0],), (Bound(2, 0.3, True),), (EVERYWHERE,), (WIDE[0, 0],), "abc"
    ),
    "nobody": AttachedIdentities((WIDE[0, 0],), (Bound(2),), (EVERYWHERE,)),
    "frames": AttachedFrames(WIDE, torch.tensor([True, False]), "shared"),
    "source": AttachedSource(WIDE, "sama"),
    "image": AttachedImage(False),
}
HANDED = {
    "references": References((WIDE, HIGH), torch.arange(3)[None], Layout(saber(), (), None), WIDE, WIDE.long(), "sdpa"),
    "identities": People(WIDE[0, 0], (Bound(2, 0.3, True),), (WIDE[0, 0],)),
    "frames": Frames(WIDE, WIDE > 2, "own", torch.ones(1, 2).long()),
    "source": Source(WIDE, saber()),
    "the tail": TailRule(torch.arange(3)[None], Layout(saber(), (), None), "auto", "sdpa", None, GROUPS),
}  # fmt: skip


def same(one, other) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "__dataclass_fields__"):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize(
    "part", [*ATTACHED.values(), *HANDED.values()], ids=[*ATTACHED, *(f"handed {n}" for n in HANDED)]
)
def test_a_part_comes_back_as_it_was_and_takes_its_own_keys_alone(part):
    packed = {**wire.pack(part), "strength": 0.5}
    assert same(wire.unpack(type(part), packed), part)
    assert packed == {"strength": 0.5} and wire.unpack(type(part), packed) is None


@pytest.mark.parametrize("part", ATTACHED.values(), ids=ATTACHED)
def test_conditioning_holds_what_cores_node_can_save(part):
    for value in wire.pack(part).values():
        listed = isinstance(value, list) and all(isinstance(one, torch.Tensor) for one in value)
        assert listed or isinstance(value, torch.Tensor | str | float | bool | int)


def test_no_name_means_two_things():
    every = {*(type(part) for part in (*ATTACHED.values(), *HANDED.values())), *kinds()}
    names = [wire.key(kind, one.name) for kind in every for one in fields(kind)]
    assert len(set(names)) == len(names)


def test_what_is_saved_is_named_and_no_number_of_a_list(monkeypatch):
    """SEES in another order, as a later version may have it, is no other conditioning."""
    packed = wire.pack(ATTACHED["references"])
    assert packed["refvid.attached_references.controls.sees"] == "recipe frames"
    assert packed["refvid.attached_references.controls.steps.fade_in"].tolist() == [0.0, 0.2]
    assert math.isnan(packed["refvid.attached_references.controls.frames.last"][0])
    monkeypatch.setattr(controls, "SEES", SEES[::-1])
    assert same(wire.read(AttachedReferences, packed), ATTACHED["references"])


def test_conditions_have_the_type_of_their_field():
    found = {name.rpartition(".")[2]: type(one) for name, one in wire.conds(HANDED["references"]).items()}
    assert found == {
        "inputs": comfy.conds.CONDList, "keep": comfy.conds.CONDRegular, "layout": comfy.conds.CONDConstant,
        "soft": comfy.conds.CONDRegular, "cells": wire.Cells, "attention": comfy.conds.CONDConstant,
    }  # fmt: skip
    given = wire.conds(HANDED["frames"])
    assert type(given[wire.key(Frames, "latent")]) is comfy.conds.CONDNoiseShape
    assert same(wire.of_conds(Frames, {"model_conds": given}), HANDED["frames"])


def test_a_part_that_lacks_something_is_refused_by_its_name():
    packed = wire.pack(ATTACHED["references"])
    del packed["refvid.attached_references.masks"]
    with pytest.raises(ValueError, match=r"refvid\.attached_references\.masks came not"):
        wire.read(AttachedReferences, packed)


@pytest.mark.parametrize("column", ["strength", "sees", "frames.last"])
def test_a_control_that_is_lost_is_no_default(column):
    packed = wire.pack(ATTACHED["references"])
    del packed[f"refvid.attached_references.controls.{column}"]
    with pytest.raises(ValueError, match=f"{column} came not, but other columns"):
        wire.read(AttachedReferences, packed)


def test_a_part_put_on_options_leaves_them_and_takes_the_place_of_its_kind():
    before = {"strength": 0.5, **wire.pack(ATTACHED["references"])}
    held = dict(before)
    after = wire.onto(before, ATTACHED["references by their defaults"])
    assert before == held and after["strength"] == 0.5
    assert same(wire.read(AttachedReferences, after), ATTACHED["references by their defaults"])
    assert wire.without(AttachedReferences, after) == {"strength": 0.5}


def test_every_name_of_0_1_0_is_that_of_a_field():
    attached = {*(kind.attached for kind in kinds()), AttachedImage}
    names = {wire.key(kind, one.name) for kind in attached for one in fields(kind)}
    assert {f"refvid.{name}" for name in wire._OLD.values()} <= names


@pytest.mark.parametrize("number", range(4))
def test_a_row_of_controls_that_0_1_0_saved_is_read(number):
    kept = Kept(DATA / "0.1.0")
    (file,) = [file for file in kept.conditionings if file.stem == "references-weak-positive"]
    options = read_conditioning(file)[0][1]
    row = [0.4, 0.1, 0.9, 0.2, 0.3, 3, -1 if number else 7, number, 1]
    options["refvid_controls"] = torch.tensor([row] * 2, dtype=torch.float64)
    found = wire.read(AttachedReferences, options)
    steps, frames = StepWindow(0.1, 0.9, 0.2, 0.3), FrameWindow(3, None if number else 7)
    sees = ("all", "video", "itself", "frames")[number]
    assert found.controls == (Controls(0.4, steps, frames, sees, True),) * 2
    assert "refvid_controls" in options, "what came in is as it was"
    saved = wire.onto(options, replace(found, zero=True))
    assert not [name for name in saved if name.startswith("refvid_")]


@pytest.mark.parametrize(
    "part",
    [
        References((torch.zeros(1, 16, 1, 8, 8),)),
        People(torch.zeros(1, 2, 96), (Bound(2, 0.5),)),
        People(torch.zeros(1, 2, 96), (Bound(2),), cells=torch.zeros(1, 1, 3, 8, 8).long()),
    ],
    ids=["references", "a weaker identity", "an identity in a region"],
)
def test_a_call_of_the_module_past_apply_model_is_refused(t2v, part):
    """What they do is worked out there."""
    patched = install(t2v, References)
    options = {**patched.model_options["transformer_options"], "wrappers": patched.wrappers}
    given = torch.zeros(1, 16, 3, 8, 8), torch.full((1,), 500.0), text(1)
    with pytest.raises(RuntimeError, match="called past ComfyUI's apply_model"):
        patched.model.diffusion_model(*given, transformer_options=options, **wire.pack(part))
