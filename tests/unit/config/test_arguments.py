"""`~` is a home folder in every path that a user gives: in the fields of a configuration and on all command lines."""

import argparse
import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

import semisonic
from semisonic import cli, plugins
from semisonic.addons.registry import ADD_ONS
from semisonic.algorithms.registry import ALGORITHMS
from semisonic.config.arguments import Parser, check_folder, check_new_file
from semisonic.config.command_line import parse_arguments, resolve
from semisonic.config.fields import RECORDED, walk_fields
from semisonic.config.run_config import RunConfig
from semisonic.plugins import load_plugins
from semisonic.schema import UserError

ENGINE = Path(semisonic.__file__).parent
NAMES_A_PATH = ("file", "folder", "root", "out", "run", "checkpoint", "plugin", "golden", "csv")
LATER = ("plugin",)
"""Options whose values are expanded where they are read."""


def kinds(annotation: Any) -> set[Any]:
    return {annotation}.union(*map(kinds, get_args(annotation)), set())


def path_fields() -> list[tuple[str, str]]:
    found = {
        (algorithm, name)
        for algorithm in ALGORITHMS
        for name, info, annotation in walk_fields(RunConfig, algorithm)
        if Path in kinds(annotation) | kinds(info.annotation) and name not in RECORDED
    }
    return sorted({name: algorithm for algorithm, name in sorted(found)}.items())


@pytest.mark.parametrize("name, algorithm", path_fields())
def test_every_path_of_a_configuration_is_expanded_in_its_schema(
    name: str, algorithm: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", "/home/me")
    fields: dict[str, Any] = {"algorithm": {"name": algorithm}}
    *sections, leaf = name.split(".")
    target = fields
    for section in sections:
        target = target.setdefault(section, {})
    target[leaf] = "~/of $MINE"
    value: Any = RunConfig.model_validate(fields)
    for part in name.split("."):
        value = getattr(value, part)
    assert value == Path("/home/me/of $MINE"), "a field of a path is a UserPath; $ may stand in a name"


def test_the_fields_are_the_known_ones_and_more():
    assert {"out", "init", "data.root", "data.csv", "model.weights", "algorithm.predictions", "parallel.deepspeed"} <= {
        name for name, _ in path_fields()
    }
    assert ADD_ONS, "whose fields are among them"


def test_no_such_home_is_a_mistake_like_others():
    with pytest.raises(UserError) as error:
        resolve(["--out=~nobody-here/run", "--data.root", "~nobody-here/d", "--config", "~nobody-here/c", "--resume"])
    assert [line.partition(" ")[0] for line in error.value.messages] == ["--config:", "out:", "data.root:"]
    assert all("a path without ~" in line for line in error.value.messages)
    parser = Parser("x")
    parser.add_argument("--out", type=Path)
    with pytest.raises(UserError, match="--out: '~nobody-here/x' is not valid"):
        parser.parse_args(["--out", "~nobody-here/x"])


def test_an_output_that_cannot_be_is_told_before_the_work(tmp_path: Path):
    (tmp_path / "there.json").write_text("kept")
    check_new_file("--out", tmp_path / "new" / "x.json", (".json",))
    check_folder("--out", tmp_path / "new", "tables", "*.csv")
    for path, problem in (
        (tmp_path / "there.json", "already exists; name another file"),
        (tmp_path / "x.txt", "the file must end in .json"),
        (tmp_path / "there.json" / "x.json", f"{tmp_path}/there.json is no folder"),
    ):
        with pytest.raises(UserError, match=problem):
            check_new_file("--out", path, (".json",))
    for path, problem in ((tmp_path / "there.json", "is no folder"), (tmp_path, "holds tables already")):
        with pytest.raises(UserError, match=problem):
            check_folder("--out", path, "tables", "*.json")


def test_what_was_typed_is_shown_and_acts_on_no_terminal():
    with pytest.raises(UserError) as error:
        Parser("x").parse_args(["--\x1b[1mout"])
    assert error.value.messages == ["unrecognized arguments: --\\x1b[1mout (x --help shows all)"]


class Seen(Exception):
    """Carries a command's parser."""


@pytest.mark.parametrize("command", sorted(set(cli.COMMANDS) - {"train", "pretrain", "views"}))
def test_every_path_of_a_command_line_is_expanded(command: str, monkeypatch: pytest.MonkeyPatch):
    def seen(self: argparse.ArgumentParser, *_: Any, **__: Any):
        raise Seen(self)

    for way in ("parse_args", "parse_known_args", "parse_intermixed_args", "parse_known_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, way, seen)
    monkeypatch.setenv("HOME", "/home/me")
    with pytest.raises(Seen) as found:
        cli.COMMANDS[command](["labels"] if command == "study" else [])
    (parser,) = found.value.args
    assert isinstance(parser, Parser)
    paths = 0
    for action in parser._actions:
        words = f"{action.dest} {action.metavar}".lower()
        if action.nargs == 0 or action.dest in LATER or not any(name in words for name in NAMES_A_PATH):
            continue
        if action.type is None and action.choices is None:
            pytest.fail(f"{command} {action.dest}: a path needs type=Path, or is named otherwise")
        if action.type is Path:
            assert parser._get_value(action, "~/x") == Path("/home/me/x")
            paths += 1
    assert paths


def test_a_train_command_and_its_plugins_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.yaml").write_text("steps: 7\n")
    (tmp_path / "p.py").write_text("")
    for name in ("_modules", "_loaded"):  # what was run here is forgotten
        monkeypatch.setattr(plugins, name, {})
    assert parse_arguments(["--config=~/c.yaml"])[0].config == tmp_path / "c.yaml"
    assert resolve(["--config=~/c.yaml", "--out=~/run"])[1].run_folder == tmp_path / "run"
    assert load_plugins(["~/p.py"])[-1].path == str(tmp_path / "p.py")


def parsers_made(source: str) -> Sequence[str]:
    calls = [node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [ast.unparse(call) for call in calls if ast.unparse(call).endswith("ArgumentParser")]


def test_no_command_has_a_parser_of_another_kind():
    made = {file.name for file in ENGINE.rglob("*.py") if parsers_made(file.read_text())}
    assert not made, "config.arguments.Parser knows what ~ is"


def test_no_path_is_expanded_twice():
    assert {file.name for file in ENGINE.rglob("*.py") if "expanduser" in file.read_text()} == {"schema.py"}
