"""Settings as people write them: TOML, assignments, and what is refused."""

from dataclasses import dataclass, field

import pytest

from refvid.data.settings import assigned, filled, merged, read_toml, require_known


@dataclass(frozen=True)
class Inner:
    depth: int = 1


@dataclass(frozen=True)
class Options:
    rate: float = 1.0
    frames: tuple[int, ...] = (33, 81)
    name: str = ""
    on: bool = False
    free: tuple = ()
    table: dict = field(default_factory=dict)
    inner: Inner = Inner()


def test_toml_is_read_with_the_mark_and_line_ends_of_windows(tmp_path):
    (tmp_path / "a.toml").write_bytes("\ufeff[a]\r\nb = '一辆'\r\n".encode())
    assert read_toml(tmp_path / "a.toml", "--config") == {"a": {"b": "一辆"}}


@pytest.mark.parametrize("data", [b"a = ", "a = 'weiß'".encode("latin-1")])
def test_what_is_no_toml_is_refused_by_its_option(tmp_path, data):
    (tmp_path / "a.toml").write_bytes(data)
    with pytest.raises(ValueError, match=r"--config: .*a.toml is not TOML in UTF-8"):
        read_toml(tmp_path / "a.toml", "--config")
    with pytest.raises(ValueError, match=r"--config: there is no file .*b.toml; needed a TOML file"):
        read_toml(tmp_path / "b.toml", "--config")


def test_a_key_that_is_not_known_is_refused_with_the_nearest():
    require_known({"rate": 1}, ["rate", "frames"], "encode")
    with pytest.raises(
        ValueError, match=r"^encode: frame is not known; did you mean frames\? Known: rate, frames$"
    ):
        require_known({"frame": 1}, ["rate", "frames"], "encode")
    with pytest.raises(ValueError, match=r"^encode: xyz is not known. Known: rate, frames$"):
        require_known(["rate", "xyz"], ["rate", "frames"], "encode")


def test_given_values_take_the_place_of_defaults_in_their_types():
    given = {
        "rate": 2,
        "frames": [5, 9],
        "on": True,
        "inner": {"depth": 3},
        "free": ["a", 1],
        "table": {"a": 1},
    }
    options = filled(Options(), given, "encode")
    assert options == Options(2.0, (5, 9), "", True, ("a", 1), {"a": 1}, Inner(3))
    assert isinstance(options.rate, float) and filled(Options(), {"frames": 5}, "encode").frames == (5,)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"rates": 1}, r"encode: rates is not known; did you mean rate\?"),
        ({"rate": "fast"}, "encode: rate is 'fast'; needed a number"),
        ({"rate": True}, "encode: rate is True; needed a number"),
        ({"frames": [33, "x"]}, "encode: frames is 'x'; needed a whole number"),
        ({"frames": [True]}, "encode: frames is True; needed a whole number"),
        ({"on": 1}, "encode: on is 1; needed true or false"),
        ({"name": 3}, "encode: name is 3; needed a text"),
        ({"table": 3}, "encode: table is 3; needed a table"),
        ({"inner": 3}, "encode: inner is 3; needed a table"),
        ({"inner": {"dept": 3}}, r"encode: inner: dept is not known; did you mean depth\?"),
    ],
)
def test_wrong_values_are_refused_by_name(given, says):
    with pytest.raises(ValueError, match=says):
        filled(Options(), given, "encode")


def test_what_is_no_table_is_refused():
    with pytest.raises(ValueError, match="encode is 3; needed a table"):
        filled(Options(), 3, "encode")  # type: ignore[arg-type]


def test_an_assignment_is_a_table_in_tables_with_a_value_of_toml():
    assert assigned("cut.threshold=3") == {"cut": {"threshold": 3}}
    assert assigned("a.b.c = [1, 2]") == {"a": {"b": {"c": [1, 2]}}}
    assert assigned("data.path=/a b=c") == {"data": {"path": "/a b=c"}}
    for text in ("cut.threshold", "=3", "cut.=3", "cut..x=3"):
        with pytest.raises(ValueError, match=r"needed TABLE.KEY=VALUE"):
            assigned(text)


def test_tables_lie_over_one_another_and_stay_as_they_were():
    below, above = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}, "d": {"e": 5}}
    assert merged(below, above) == {"a": {"b": 4, "c": 2}, "d": {"e": 5}}
    assert merged(above, below) == {"a": {"b": 1, "c": 2}, "d": 3}
    assert (below["a"], above["a"]) == ({"b": 1, "c": 2}, {"b": 4})
