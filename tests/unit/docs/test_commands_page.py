"""The page of all commands."""

import os

import pytest

from _extension.commands_page import WIDTH, commands, environment, help_of, without_fields
from semisonic.cli import COMMANDS
from semisonic.daily.subcommands import SUBCOMMANDS


def test_every_command_has_its_help_on_the_page_without_the_fields_of_a_run():
    text = commands()
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert {f"## semisonic {name}" for name in COMMANDS} <= set(headings)
    assert {f"### semisonic daily PROJECT {name}" for name in SUBCOMMANDS} <= set(headings)
    assert len(headings) == len(set(headings))
    assert "\nFields\n" not in text and text.count("[Configuration](configuration.md)") == 3


def test_help_has_one_width_whatever_the_terminal_s(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "40")
    assert WIDTH - 20 < max(map(len, help_of(["predict"]).splitlines())) <= WIDTH
    assert os.environ["COLUMNS"] == "40"


def test_a_command_whose_help_fails_is_told():
    with pytest.raises(RuntimeError, match="semisonic study no-such --help ended with 2"):
        help_of(["study", "no-such"])


def test_fields_are_cut_off():
    assert without_fields("Options\n  --a\n\nFields\n  b") == "Options\n  --a"
    assert without_fields("no such part") == "no such part"


def test_the_environment_is_as_it_was():
    with environment(SEMISONIC_DOCS_TEST="1"):
        assert os.environ["SEMISONIC_DOCS_TEST"] == "1"
    assert "SEMISONIC_DOCS_TEST" not in os.environ
