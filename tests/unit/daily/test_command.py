"""The command line of `semisonic daily`: which sub-command, which options, who, and which may run as ranks."""

import argparse
import getpass
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from semisonic import cli
from semisonic.daily import command
from semisonic.daily.subcommands import NEW, SUBCOMMANDS
from semisonic.schema import UserError


def test_the_help_names_every_sub_command_and_an_example_of_each(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        command.main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"\n  {name} " in shown and row.about in shown for name, row in SUBCOMMANDS.items())
    for name, row in SUBCOMMANDS.items():
        with pytest.raises(SystemExit) as end:
            command.main(["project", name, "--help"])
        shown = capsys.readouterr().out
        assert end.value.code == 0 and row.about in shown
        assert f"semisonic daily my-project {name} {row.example}".rstrip() in shown


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_example_is_a_valid_command(name: str):
    args = command.parse_options(name, SUBCOMMANDS[name].example.split())
    assert args.command == name and args.who


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_paths_are_expanded(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", "/home/me")
    parser = command.parser_of(name)
    for action in parser._actions:
        words = str(action.metavar)
        if any(part in words for part in ("FOLDER", "FILE", "PATH", "CSV")):
            assert action.type is Path and parser._get_value(action, "~/x") == Path("/home/me/x")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("p", "required: COMMAND (semisonic daily --help"),
        ("p classes", "required: list|add|rename|merge|split|retire (semisonic"),
        ("p adx", "invalid choice: 'adx'"),
        ("p add", "FOLDER|CSV"),
        ("p add a b", "unrecognized arguments: b"),
        ("p label --steps 4", "unrecognized arguments: --steps 4"),
        ("p choose none", "'none' is not a whole number above 0"),
        ("p choose 3 --how best", "invalid choice: 'best'"),
        ("p page --port 70000", "'70000' is no port"),
        ("p accept --at-least 98", "'98' is no share"),
        ("p export", "--to"),
        ("p export --to csv --at-least 0.9 --states given", "not allowed with"),
        ("p export --to csv --states given,,auto", "has an empty name"),
        ("p import f.csv", "--who"),
        ("p import f.csv --who \x1b[1m", "is no name"),
        ("p init --classes a,b --classes-from c", "not allowed with"),
    ],
)
def test_a_mistake_is_one_line(line: str, told: str, capsys: pytest.CaptureFixture):
    assert cli.daily(line.split(" ")) == 2
    (shown,) = capsys.readouterr().err.splitlines()
    assert shown.startswith("error: ") and told in shown


def test_fields_of_a_training_are_passed_on_as_they_were_typed():
    args = command.parse_options("train", ["--steps", "5", "--folds", "4", "--no-compile", "--debug", "--model=small"])
    assert args.fields == ["--steps", "5", "--no-compile", "--model=small"] and args.folds == 4 and args.debug


def test_who_is_the_login_name_where_it_can_be_shown(monkeypatch: pytest.MonkeyPatch):
    for name, who in (("ann", "ann"), ("\x1b[1m", "unknown"), (" ", "unknown")):
        monkeypatch.setattr(getpass, "getuser", lambda name=name: name)
        assert command.parse_options("undo", ["3"]).who == who
    assert command.parse_options("undo", ["3", "--who", " bob "]).who == "bob"

    def nobody() -> str:
        raise KeyError("uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert command.parse_options("undo", ["3"]).who == "unknown"


def test_only_the_heavy_steps_run_as_ranks(monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "here",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    for name, row in SUBCOMMANDS.items():
        if row.ranks:
            command._check_ranks(name, row)
        else:
            with pytest.raises(UserError, match=f"{name}: runs in one process; .* start choose, train, label"):
                command._check_ranks(name, row)
    monkeypatch.delenv("RANK")
    with pytest.raises(UserError, match="set without RANK"):
        command._check_ranks("train", SUBCOMMANDS["train"])


def test_a_sub_command_gets_the_opened_project_and_its_options(monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[object, argparse.Namespace]] = []

    def module(name: str, **content: object) -> None:
        made = ModuleType(name)
        made.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, made)

    module("semisonic.daily.project", Project=type("Project", (), {"open": staticmethod(lambda folder: folder)}))
    module("semisonic.daily.choosing", run=lambda project, args: seen.append((project, args)) or 7)
    assert command.main(["here", "choose", "3"]) == 7
    ((project, args),) = seen
    assert project == Path("here") and (args.command, args.count, args.how) == ("choose", 3, None)


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_sub_command_has_its_code(name: str):
    module, _, function = SUBCOMMANDS[name].module.partition(":")
    assert callable(getattr(import_module(module), function or ("begin" if name == NEW else "run")))
