"""Records in a file's metadata: a field says its bounds once, and what is beyond them is named."""

import json
import math
from dataclasses import asdict, dataclass

import pytest

from refvid.backbones.wan.geometry import WAN_2_1
from refvid.backbones.wan.slots import slots_1_3b, slots_5b, slots_14b
from refvid.core.records import bounded, read_object, read_record, require_bounds
from refvid.core.slots import SlotsConfig
from refvid.demo.runs import demo_slots
from refvid.hosts.plain.pipeline import SETTINGS, Settings


@dataclass(frozen=True)
class Record:
    count: int = bounded(1, 9)
    share: float = bounded(0, 1.5, 0.5)
    free: str = "any"

    def __post_init__(self) -> None:
        require_bounds(self)


def read(said) -> Record:
    text = said if isinstance(said, str) else json.dumps(said)
    return read_record(Record, {"about": text}, "about", "the input: one.safetensors")


@pytest.mark.parametrize(
    "said", [{"count": 1}, {"count": 9, "share": 0}, {"count": 3, "share": 1.5, "free": "x"}]
)
def test_what_lies_within_comes_back(said):
    assert asdict(read(said)) == {"share": 0.5, "free": "any", **said}


@pytest.mark.parametrize(
    "value", [0, 10, -1, 10**400, 1.0, 2.5, True, None, "3", [3], {}, math.inf, math.nan]
)
def test_a_count_beyond_its_bounds_or_of_another_type_is_named(value):
    with pytest.raises(
        ValueError,
        match=r'one\.safetensors: its metadata "about" .*count is .*; needed a whole number, 1 to 9',
    ):
        read({"count": value})


@pytest.mark.parametrize("value", [-0.1, 1.6, True, None, "1", [1.0], math.inf, -math.inf, math.nan, "1e400"])
def test_a_share_beyond_its_bounds_or_of_another_type_is_named(value):
    with pytest.raises(ValueError, match=r"share is .*; needed a number, 0 to 1\.5"):
        read({"count": 1, "share": value})


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({}, "has no count; needed count, share, free"),
        ({"count": 1, "colour": 2}, "says 'colour'; needed count, share, free"),
        ([1], r"is \[1\]; needed a JSON object"),
        ("null", "is None; needed a JSON object"),
        ("{", "no JSON"),
        ("[" * 100_000, "nests too deep"),
        ('{"count": 1e400}', "count is inf"),
        ("[" + "1," * 2**20 + "1]", "letters; needed at most"),
    ],
)
def test_what_is_no_such_record_is_named(said, says):
    with pytest.raises(ValueError, match=rf'^the input: one\.safetensors: its metadata "about" .*{says}'):
        read(said)


def test_a_record_that_is_not_there_has_no_fields():
    assert read_object({}, "about", "x") == {}


@pytest.mark.parametrize("build", [lambda: demo_slots().slots, slots_1_3b, slots_14b, slots_5b])
def test_the_encoders_we_name_lie_within_their_bounds(build):
    assert SlotsConfig(**json.loads(json.dumps(asdict(build())))) == build()


@pytest.mark.parametrize(
    "change",
    [
        {"place_width": 15},
        {"frames": 16},
        {"size": 81},
        {"rounds": 0},
        {"rounds": 10**9},
        {"epsilon": 0},
        {"epsilon": -0.1},
        {"gate": math.nan},
    ],
)
def test_an_encoder_that_could_not_read_is_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        SlotsConfig(**{**asdict(demo_slots().slots), **change}).require(WAN_2_1)


@pytest.mark.parametrize(
    "said",
    [
        {"width": 0}, {"height": 8193}, {"frames": -1}, {"steps": 0}, {"scale": -0.5}, {"scale": 1e9}, {"shift": 0}, {"fps": 0},
        {"fps": 24.5}, {"seed": 2**64}, {"seed": None},
    ],
)  # fmt: skip
def test_settings_that_no_run_could_have_are_refused(said):
    (key,) = said
    with pytest.raises(ValueError, match=rf'^it: its metadata "{SETTINGS}" cannot be used \({key} is '):
        read_record(Settings, {SETTINGS: json.dumps(said)}, SETTINGS, "it")
    assert read_record(Settings, {}, SETTINGS, "it") == Settings()
