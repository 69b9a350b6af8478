"""Opening of clips: prepared ones as they were encoded, folders read and prepared, and settings as TOML."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import refvid_saber as small
from refvid_saber import a_clip, digests, prepared_clips, saber_settings, small_models

from refvid.data.index import HELD_OUT
from refvid.data.opening import MOST_HELD_OUT, encoding_given, is_prepared, opened_clips, split_clips
from refvid.data.settings import filled, read_toml, toml_text
from refvid.data.stages.encode import EncodeOptions
from refvid.training.methods.saber.config import SaberSettings


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepared_clips(folder, [a_clip(0), a_clip(1, 9)], digests(small_models()))
    return folder


def weights() -> dict[str, Path]:
    return {"vae": small_models().vae, "text_encoder": small_models().text_encoder}


def test_prepared_clips_are_told_from_folders_of_clips(place, tmp_path):
    assert is_prepared(str(place)) and is_prepared("s3://bucket/clips")
    assert not is_prepared(str(tmp_path)) and not is_prepared(str(tmp_path / "none"))


def test_prepared_clips_say_how_they_were_encoded(place):
    prepared = opened_clips(str(place), {"fps": 8.0, "frames": (5, 9), "held_out": 0}, weights())
    assert prepared.options == EncodeOptions(fps=8.0, frames=(5, 9), pixels=48 * 48, windows=3)
    assert prepared.weights == digests(small_models())
    assert [clip.id for clip in prepared.clips] == ["clip-0", "clip-1"]


@pytest.mark.parametrize(
    ("name", "value"), [("fps", 16.0), ("pixels", 6400), ("window", "head"), ("held_out", 4)]
)
def test_other_options_than_clips_were_encoded_with_are_refused_by_name(place, name, value):
    with pytest.raises(ValueError, match=rf"data.{name} is {value}; the clips in .* were encoded with"):
        opened_clips(str(place), {name: value}, weights())


@pytest.mark.parametrize("name", ["vae", "text_encoder"])
def test_other_weights_than_clips_were_encoded_by_are_refused_by_name(place, name, tmp_path):
    other = small.tiny.save_vae(tmp_path, width=4)
    with pytest.raises(ValueError, match=rf"models.{name}: the clips in .* were encoded by another than .*"):
        opened_clips(str(place), {}, {**weights(), name: other})


def test_the_name_of_prepared_clips_follows_what_was_encoded_and_how(tmp_path):
    names = [
        prepared_clips(tmp_path / f"{number}", clips, told, **options).name
        for number, (clips, told, options) in enumerate(
            [
                ([a_clip(0), a_clip(1)], {"vae": "a"}, {}),
                ([a_clip(0), a_clip(1)], {"vae": "b"}, {}),
                ([a_clip(0), a_clip(1)], {"vae": "a"}, {"quality": 90}),
                ([a_clip(0), a_clip(1, caption="other")], {"vae": "a"}, {}),
                ([a_clip(0)], {"vae": "a"}, {}),
                ([a_clip(0), a_clip(1)], {"vae": "a"}, {}),
            ]
        )
    ]
    assert len(set(names)) == 5 and names[0] == names[5]


def test_an_eighth_of_the_clips_is_held_out_but_no_more_than_sixteen_unless_it_is_said():
    for count, wanted in ((7, 0), (8, 1), (100, 12), (1000, MOST_HELD_OUT)):
        clips = [a_clip(one) for one in range(count)] + [a_clip(9).refused("no caption")] * 8
        assert encoding_given({}, clips)["held_out"] == wanted
    assert encoding_given({"held_out": 3, "fps": 8.0}, []) == {"held_out": 3, "fps": 8.0}


def test_clips_are_split_for_a_plan_by_whole_films_that_have_words():
    clips = [a_clip(0), a_clip(1, contents="film0"), a_clip(2), a_clip(3, caption="", contents="a")]
    split = split_clips(clips, EncodeOptions(held_out=1))
    assert [clip.split == HELD_OUT for clip in split] == [True, True, False, False]
    assert [clip.id for clip in split] == [clip.id for clip in clips]


# ---- settings as TOML


@dataclass(frozen=True)
class Inner:
    text: str = 'a "quoted" — one\\two\n'
    many: tuple[float, ...] = (0.5, 1e-7)
    options: dict[str, Any] = field(default_factory=lambda: {"betas": [0.9, 0.99], "a b": True})


@dataclass(frozen=True)
class Outer:
    number: int = 3
    left_out: float | None = None
    empty: tuple[str, ...] = ()
    inner: Inner = field(default_factory=Inner)


@pytest.mark.parametrize(
    "settings", [Outer(), Outer(7, 2.5, ("x", "y"), Inner("", (), {})), saber_settings({"seed": 5})]
)
def test_settings_as_toml_are_read_back_as_they_were(settings, tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(toml_text(settings), "utf-8")
    assert filled(type(settings), read_toml(path, "--config"), "--config") == settings


def test_a_table_within_a_table_has_its_own_head():
    settings = replace(SaberSettings(), seed=9)
    lines = toml_text(settings).splitlines()
    assert lines[:3] == ['method = "saber"', 'out = "runs/saber"', "seed = 9"]
    assert "[train]" in lines and lines.index("[train.noise]") > lines.index("[train]")


def test_a_table_of_a_run_file_and_a_key_that_is_not_known_are_refused_with_the_nearest():
    for table, said in (
        ({"trian": {}}, "trian is not known; did you mean train?"),
        ({"train": {"rnak": 4}}, "train: rnak is not known; did you mean rank?"),
        ({"train": {"noise": {"shfit": 4}}}, "noise: shfit is not known; did you mean shift?"),
        ({"references": {"drop_out": 0.1}}, "references: drop_out is not known; did you mean dropout?"),
        ({"train": {"steps": "many"}}, "train: steps is 'many'; needed a whole number"),
    ):
        with pytest.raises(ValueError, match=said.replace("?", r"\?")):
            filled(SaberSettings, table, "run.toml")
