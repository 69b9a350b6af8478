"""`--help` of every command: its width, and what it says of defaults, choices and every option."""

import argparse
import dataclasses
import re
import shutil
from collections.abc import Iterator
from os import terminal_size

import pytest

from refvid import cli
from refvid.cli import model
from refvid.core.editing import Windows
from refvid.core.recipes import EDITING, RECIPES
from refvid.demo import models
from refvid.hosts.plain.pipeline import Settings, settings_of

VERBS = [
    "demo",
    "generate",
    "inspect",
    "identity",
    "edit",
    "long",
    "score",
    "convert",
    "comfyui-files",
    "data",
    "train",
    "ablate",
]  # as a newcomer needs them


def commands(parser, path: str = "refvid") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield path, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                yield from commands(command, f"{path} {name}")


PARSERS = dict(commands(cli._parser()))


def options(parser) -> list[argparse.Action]:
    return [
        one
        for one in parser._actions
        if not isinstance(one, argparse._HelpAction | argparse._SubParsersAction)
    ]


def told(parser, action) -> str:
    """What help says of one option, in one line."""
    formatter = parser._get_formatter()
    formatter.add_argument(action)
    return " ".join(formatter.format_help().split())


@pytest.mark.parametrize("command", PARSERS)
def test_every_option_has_a_word_and_tells_its_default_and_its_choices(command):
    for action in options(PARSERS[command]):
        said = told(PARSERS[command], action)
        assert action.help and action.help != argparse.SUPPRESS, action
        assert not re.search(r"default:? (None|False|\[\]|;|$)", said) and said.count("; default") <= 1, said
        for choice in action.choices or ():
            assert str(choice) in said, (choice, said)
        if action.required or action.default in (False, "", argparse.SUPPRESS) or action.default == []:
            continue
        if action.default is not None:
            assert said.endswith(f"; default {action.default}"), said
        elif action.type in (int, float) or action.choices:
            assert "default" in said, said


@pytest.mark.parametrize("columns", [80, 200])
def test_no_help_is_wider_than_its_terminal_nor_than_100_columns(columns, monkeypatch):
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_: terminal_size((columns, 24)))
    for parser in PARSERS.values():
        lines = parser.format_help().splitlines()
        assert max(map(len, lines)) <= min(columns, 100)
        assert [line for line in lines if line.endswith("-")] == []  # no name is broken at its hyphen


def test_verbs_come_in_the_order_in_which_a_newcomer_needs_them():
    said = PARSERS["refvid"].format_help()
    assert re.findall(r"^    (\S+)", said, re.MULTILINE) == VERBS


def test_numbers_that_help_names_are_those_that_act():
    here, demo = dataclasses.asdict(Settings()), dataclasses.asdict(settings_of(models.DIT))
    for name, said in model.RUN_HELP.items():
        other = "" if here[name] == demo[name] else f", of the demo model {demo[name]:g}"
        assert said.endswith(f"; default {here[name]:g}{other}"), said
    window = {field.name: field.default for field in dataclasses.fields(Windows)}
    said = PARSERS["refvid edit"].format_help()
    assert f"4k + 1; default {window['length']}" in " ".join(said.split())
    assert f"multiple of 4; default {window['overlap']}" in " ".join(said.split())


def test_the_recipes_that_help_lists_are_those_there_are():
    assert tuple(RECIPES) == model.RECIPE_NAMES
    (recipe,) = [one for one in options(PARSERS["refvid edit"]) if one.dest == "recipe"]
    assert all(name in recipe.help for name in EDITING)
