"""Our nodes in other languages: nothing is missing or stale, and nothing breaks the frontend's messages."""

import json
import re

import pytest
import refvid_locales as locales

TRANSLATED = [one for one in locales.LANGUAGES if one != locales.ENGLISH]
RENEW = "to renew them, run: .venv/bin/python tests/support/refvid_locales.py"
# What must come through untouched: file types, paths, folders, numbers, choices in words before a colon.
KEPT = re.compile(r"\.safetensors|models/[a-z_]+|arXiv \d+\.\d+|https?://\S+|\d+")


@pytest.mark.parametrize("language", TRANSLATED)
def test_each_text_is_translated_once_and_no_other(language):
    assert locales.missing(language) == []
    assert sorted(set(locales.translations(language)) - set(locales.all_texts())) == []


@pytest.mark.parametrize("language", locales.LANGUAGES)
def test_the_files_that_comfyui_reads_are_made_of_them(language):
    for file, text in locales.files_of(language).items():
        assert file.is_file() and file.read_text("utf-8") == text, RENEW


def test_no_language_lies_there_that_nobody_keeps():
    assert sorted(one.name for one in locales.LOCALES.iterdir()) == sorted(locales.LANGUAGES)
    assert sorted(one.stem for one in locales.TRANSLATIONS.iterdir()) == sorted(TRANSLATED)


@pytest.mark.parametrize("language", locales.LANGUAGES)
def test_no_sign_has_a_meaning_to_the_frontends_messages(language):
    """vue-i18n reads {name}, @:link and one | other as its own."""
    assert [text for text in locales.translations(language).values() if set("{}@|") & set(text)] == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_numbers_files_and_folders_stay_what_they_are(language):
    for english, told in locales.translations(language).items():
        assert told.strip() == told and told, english
        assert sorted(KEPT.findall(told)) == sorted(KEPT.findall(english)), english


@pytest.mark.parametrize("language", TRANSLATED)
def test_choices_that_a_tooltip_explains_keep_the_names_on_the_node(language):
    table = locales.translations(language)
    said = json.loads(locales.OBJECT_INFO.read_text("utf-8"))
    for name in (name for name in said if name.startswith(locales.OURS)):
        for group in said[name]["input"].values():
            for options in (spec[1] for spec in group.values() if len(spec) > 1):
                for choice in (one for one in options.get("options") or () if isinstance(one, str)):
                    explained = f"{choice}: " in options.get("tooltip", "")
                    assert not explained or choice in table[options["tooltip"]], (name, choice)
